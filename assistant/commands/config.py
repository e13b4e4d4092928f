"""`onlooker config path|check|show`: where the configuration lies, whether it is right, what is in effect."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from assistant.commands.common import add_config_option, settings_of


def add_parser(commands) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "config", help="where the configuration lies, and whether it is right"
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    path = actions.add_parser("path", help="print the file in effect, or where yours would lie")
    path.set_defaults(run=run_path)
    check = actions.add_parser("check", help="report every mistake; exit code 2 if there is one")
    check.add_argument("file", nargs="?", metavar="FILE", type=Path, help="another file than the one in effect")
    check.set_defaults(run=run_check)
    show = actions.add_parser("show", help="print every key with its value in effect, and who set it")
    show.add_argument("--json", action="store_true", help="as one JSON object")
    show.set_defaults(run=run_show)
    for action in (path, check, show):
        add_config_option(action)


def run_path(args: argparse.Namespace) -> int:
    import os

    from assistant.settings import find_config, user_config_path

    print(find_config(args.config, os.environ) or user_config_path())
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Raises ConfigError with all mistakes."""
    args.config = args.file or args.config
    settings = settings_of(args)
    print(f"{settings.path}: ok" if settings.path else "no configuration file; the defaults are in effect")
    return 0


def run_show(args: argparse.Namespace) -> int:
    """The values in effect, in TOML: what is printed can be saved as a configuration file."""
    settings = settings_of(args)
    values = settings.config.model_dump()
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
