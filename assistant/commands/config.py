"""`onlooker config path|check|show|edit`: where the configuration lies, whether it is right, what it says."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from assistant.commands.common import add_config_option, confirms, settings_of
from assistant.errors import ConfigError, UsageError
from assistant.runtime.folders import absolute


def add_parser(commands) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "config", help="where the configuration lies, and whether it is right"
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    path = actions.add_parser("path", help="print the file in effect, or where yours would lie")
    path.set_defaults(run=run_path)
    check = actions.add_parser("check", help="report every mistake; exit code 2 if there is one")
    check.add_argument("file", nargs="?", metavar="FILE", type=absolute, help="another file than the one in effect")
    check.set_defaults(run=run_check)
    show = actions.add_parser("show", help="print every key with its value in effect, and who set it")
    show.add_argument("--json", action="store_true", help="as one JSON object")
    show.add_argument("--secrets", action="store_true", help="addresses with their passwords, too")
    show.set_defaults(run=run_show)
    edit = actions.add_parser("edit", help="open the file in your editor; what is wrong in it is not taken over")
    edit.set_defaults(run=run_edit)
    for action in (path, check, show, edit):
        add_config_option(action)


def run_path(args: argparse.Namespace) -> int:
    import os

    from assistant.config.settings import find_config, user_config_path

    print(find_config(args.config, os.environ) or user_config_path())
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Raises ConfigError with all mistakes."""
    from assistant.config.settings import exposed

    args.config = args.file or args.config
    settings = settings_of(args)
    warning = exposed(settings)
    if warning:
        print(f"onlooker: {warning}", file=sys.stderr)
    print(f"{settings.path}: ok" if settings.path else "no configuration file; the defaults are in effect")
    return 0


def run_edit(args: argparse.Namespace) -> int:
    """Edit a copy until it is right, and put it in the file's place. Raises ConfigError, UsageError, OutputError."""
    import shlex
    import subprocess
    import tempfile

    from assistant.config.settings import find_config, load_settings, read_config, user_config_path, write_config

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "nano"
    path = (find_config(args.config, os.environ) or user_config_path()).resolve()  # where a link leads to
    try:
        text = read_config(path) if path.exists() else defaults()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "config.toml"
        draft.write_text(text, encoding="utf-8")
        while True:
            try:
                program, *options = shlex.split(editor)
                program = str(absolute(program)) if os.sep in program else program
                code = subprocess.run([program, *options, str(draft)], check=False).returncode
            except ValueError as error:  # quotes without an end
                raise UsageError(f"$EDITOR = {editor!r}: cannot be understood: {error}; set it to yours") from None
            except OSError as error:
                raise UsageError(
                    f"$EDITOR = {editor!r}: cannot be started: {error.strerror}; set it to yours"
                ) from None
            if code:
                raise UsageError(f"$EDITOR = {editor!r}: ended with code {code}; {path} is as it was")
            if not draft.is_file():
                raise ConfigError([f"your editor left no file behind; {path} is as it was"])
            try:
                edited = draft.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError([f"what your editor wrote cannot be read: {error}; {path} is as it was"]) from None
            if edited == text:
                print("nothing changed")
                return 0
            try:
                load_settings(draft, environ={})
                break
            except ConfigError as error:
                print(str(error).replace(str(draft), str(path)))
                if not confirms("Edit again? [Y/n] ", "y"):
                    return error.exit_code
    write_config(path, edited)
    print(f"{path}: written; a running daemon takes it over within seconds")
    return 0


def defaults() -> str:
    """All keys with what they must be, commented out: a file to begin with."""
    from assistant.config.keys import Config, all_keys
    from assistant.config.migration import FORMAT

    must_be, lines = all_keys(), [f"format = {FORMAT}", ""]
    for section, keys in Config().model_dump().items():
        lines.append(f"[{section}]")
        for key, value in keys.items():
            lines += [f"# {must_be[f'{section}.{key}']}", f"# {key} = {json.dumps(value, ensure_ascii=False)}"]
        lines.append("")
    return "\n".join(lines)


def run_show(args: argparse.Namespace) -> int:
    """The values in effect, in TOML: what is printed can be saved as a configuration file."""
    from assistant.config.addresses import shown_name, without_secrets

    settings = settings_of(args)
    values = settings.config.model_dump()
    if not args.secrets:
        values["capture"]["source"] = shown_name(values["capture"]["source"])
        values["sources"] = {name: shown_name(address) for name, address in values["sources"].items()}
        for keys in values.values():
            keys.update({key: without_secrets(value) for key, value in keys.items() if isinstance(value, str)})
    if args.json:
        origins = {key: settings.origins.get(key, "default") for section in values for key in _keys(section, values)}
        path = str(settings.path) if settings.path else None
        print(json.dumps({"path": path, "values": values, "origins": origins}, indent=2))
        return 0
    for section, keys in values.items():
        print(f"[{section}]")
        for key, value in keys.items():
            shown = json.dumps(value, ensure_ascii=False)  # the same as TOML for what we have: text, numbers, booleans
            print(f"{key} = {shown}  # {settings.origins.get(f'{section}.{key}', 'default')}")
        print()
    return 0


def _keys(section: str, values: dict) -> list[str]:
    return [f"{section}.{key}" for key in values[section]]
