"""Reads the configuration: finds the file, merges file, environment and command line, and reports every mistake.

Precedence: defaults < file < environment (`ONLOOKER_STREAM__FPS`) < command line. Runs on the main thread.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shutil
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from assistant.config import migration
from assistant.config.keys import A_SOURCE_NAME, Config, all_keys
from assistant.errors import ConfigError, OutputError
from assistant.runtime.folders import PATH_VARIABLES, absolute

ENV_PREFIX = "ONLOOKER_"
MAX_BYTES = 1 << 20
LOCK_TIMEOUT_S = 10.0
_LIKE_AN_ADDRESS = re.compile(r"//|\\|@|\w/.*[?&=]|\b(?:\d+\.){3}\d+\b", re.DOTALL)
LISTS = frozenset({"policy.quiet_hours"})


@dataclass(frozen=True)
class Settings:
    """The configuration in effect. origins: for each "section.key" that is not the default, who set it."""

    config: Config
    path: Path | None
    origins: Mapping[str, str]


def user_config_path() -> Path:
    """Where this user's own file lies, or would."""
    import platformdirs

    return Path(platformdirs.user_config_dir("onlooker", appauthor=False)) / "config.toml"


def find_config(explicit: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file in effect: `--config`, then `$ONLOOKER_CONFIG`, then the user's own; None: no file, the defaults.

    A file that was named must exist; ConfigError otherwise.
    """
    for path, named_by in ((explicit, "--config"), (environ.get("ONLOOKER_CONFIG"), "$ONLOOKER_CONFIG")):
        if path:
            path = absolute(path)
            if not path.exists():
                what = "is a link that leads nowhere" if os.path.lexists(path) else "no such file"
                raise ConfigError([f"{named_by} = {path}: {what}; `onlooker config path` says where yours lies"])
            return path
    path = user_config_path()
    return path if os.path.lexists(path) else None  # a link that leads nowhere is a mistake to be told of


def load_settings(
    explicit: Path | None = None,
    overrides: Mapping[str, tuple[str, Any]] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read and check everything.

    overrides: "section.key" → (option as typed, value), from the command line. environ: `os.environ` if not given.
    Raises ConfigError with every problem at once, each naming file (or variable, or option), key, value and range.
    """
    environ = os.environ if environ is None else environ
    path = find_config(explicit, environ)
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    problems: list[str] = []
    if path is not None:
        document = read_toml(path)
        try:
            migration.migrate(document)
        except ValueError as error:
            problems.append(f"{path}: {error}")
        document.pop("format", None)
        for section, table in document.items():
            if isinstance(table, dict):
                for key, value in table.items():
                    _place(merged, origins, f"{section}.{key}", value, str(path))
            else:
                remedy = f"must be a table, [{section}]" if section in Config.model_fields else _unknown(section)
                problems.append(f"{path}: {_show_key(section)} = {_show_as(section, table)}: {remedy}")
    try:
        for name, value in read_sources(sources_path()).items():
            _place(merged, origins, f"sources.{name}", value, str(sources_path()))
    except ConfigError as error:
        problems += error.problems
    for variable, value in sorted(environ.items()):
        if variable.startswith(ENV_PREFIX) and "__" in variable:
            dotted = variable.removeprefix(ENV_PREFIX).lower().replace("__", ".", 1)
            _place(merged, origins, dotted, _from_environment(dotted, value), f"${variable}")
        elif variable.startswith(ENV_PREFIX) and (meant := _misspelt(variable)):
            problems.append(f"${variable} = {_show_as(variable, value)}: is no variable; did you mean ${meant}?")
    for dotted, (option, value) in (overrides or {}).items():
        _place(merged, origins, dotted, value, option)
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        config = Config()
        problems += _explain(error, merged, origins)
    if problems:
        raise ConfigError(problems)
    return Settings(config, path, origins)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of one file. ConfigError names the file, and the line where it is not TOML."""
    try:
        return tomllib.loads(read_config(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from None
    except (RecursionError, ValueError) as error:  # numbers of thousands of digits
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from None


def read_config(path: Path) -> str:
    """The text of a configuration file, with or without a byte order mark. Raises ConfigError."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            kind = "a folder" if stat.S_ISDIR(about.st_mode) else "a pipe or device"
            raise ConfigError([f"{path}: is {kind}, where the configuration file should be"])
        if about.st_size > MAX_BYTES:
            raise ConfigError([f"{path}: has {about.st_size:,} bytes; a configuration has at most {MAX_BYTES:,}"])
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        kind = "UTF-16" if error.object[:2] in (b"\xff\xfe", b"\xfe\xff") else "text of another encoding"
        raise ConfigError([f"{path}: not UTF-8 text but {kind}; save it as UTF-8"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None


def exposed(settings: Settings) -> str:
    """A warning where others may read a configuration file that holds addresses; "" otherwise."""
    from assistant.config.addresses import shown_name

    path, config = settings.path, settings.config
    held = {"capture.source": config.capture.source, **{f"sources.{k}": text for k, text in config.sources.items()}}
    keys = [key for key, text in held.items() if settings.origins.get(key) == str(path) and shown_name(text) != text]
    if path is None or not keys or os.name != "posix" or not path.stat().st_mode & 0o077:
        return ""
    return (
        f"{path}: others may read it, and {keys[0]} is an address, perhaps with a password; use `chmod 600 {path}`, or "
        "keep it with `onlooker source add`"
    )


def sources_path() -> Path:
    """Where this user's sources lie that only they may read, or would."""
    return user_config_path().with_name("sources.toml")


def read_sources(path: Path) -> dict[str, Any]:
    """The names in a file of `onlooker source add`; none where there is no file. Raises ConfigError."""
    if not os.path.lexists(path):
        return {}
    names = read_toml(path)
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise ConfigError([f"{path}: others may read it, and it holds addresses; use `chmod 600 {path}`"])
    return names


def write_sources(names: Mapping[str, str]) -> None:
    """Keep these names, and no others, in a file that only this user can read. Raises OutputError."""
    import tomlkit

    path = sources_path()
    write_config(path, tomlkit.dumps(dict(names)))
    with contextlib.suppress(OSError):
        path.chmod(0o600)


@contextlib.contextmanager
def only_one_writer() -> Iterator[None]:
    """For who reads the names, changes them and writes them: nobody else does so meanwhile. Raises OutputError."""
    from filelock import FileLock, Timeout

    path = sources_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_TIMEOUT_S, mode=0o600):
            yield
    except Timeout:
        raise OutputError(f"{path}: is being written by another program; try again") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None


def _place(merged: dict[str, Any], origins: dict[str, str], dotted: str, value: Any, origin: str) -> None:
    section, _, key = dotted.partition(".")
    merged.setdefault(section, {})[key] = value
    origins[dotted] = origin


def _from_environment(dotted: str, value: str) -> Any:
    """A variable's text as the key wants it: lists as in TOML, or their items with commas between."""
    if dotted not in LISTS:
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except ValueError:
        return [item.strip() for item in value.split(",") if item.strip()]


def _misspelt(variable: str) -> str | None:
    """The variable that was meant by one that is none: a single underscore between section and key, no section, or a
    letter or two wrong. None for what is like none of ours.
    """
    paths = [name for name in PATH_VARIABLES if name.startswith(ENV_PREFIX)]
    if variable in paths:
        return None
    name = variable.removeprefix(ENV_PREFIX).lower()
    by_form: dict[str, str] = {}
    for dotted in all_keys():
        for form in (dotted.partition(".")[2], dotted.replace(".", "_")):
            by_form[form] = _variable(dotted)
    by_form |= {path.removeprefix(ENV_PREFIX).lower(): path for path in paths}
    close = [name] if name in by_form else difflib.get_close_matches(name, by_form, n=1, cutoff=0.85)
    return by_form[close[0]] if close else None


def _variable(dotted: str) -> str:
    """The variable of the environment that sets a key."""
    return ENV_PREFIX + dotted.upper().replace(".", "__")


def _explain(error: ValidationError, merged: dict[str, Any], origins: Mapping[str, str]) -> list[str]:
    """One line a wrong key, in the order of the keys."""
    must_be = all_keys()
    lines: dict[str, str] = {}
    for detail in error.errors():
        dotted = ".".join(str(part) for part in detail["loc"][:2])
        section, _, key = dotted.partition(".")
        if section == "sources" and key:
            lines.setdefault(dotted, f"must be {A_SOURCE_NAME}")
        elif not key:  # a whole section that does not exist: report what the user wrote in it
            for inner in merged[section]:
                lines.setdefault(f"{section}.{inner}", _unknown(f"{section}.{inner}"))
        elif detail["type"] == "extra_forbidden":
            lines.setdefault(dotted, _unknown(dotted))
        else:
            lines.setdefault(dotted, f"must be {must_be[dotted]}")
    problems = []
    for dotted, remedy in lines.items():
        section, _, key = dotted.partition(".")
        origin = origins[dotted]
        named = f"{origin}" if origin.startswith(("$", "-")) else f"{origin}: {_show_key(dotted)}"
        problems.append(f"{named} = {_show_as(dotted, merged[section][key])}: {remedy}")
    return problems


def _show_key(dotted: str) -> str:
    """A key as it may be shown: an address that stands in a key's place is not."""
    return ".".join("…" if _LIKE_AN_ADDRESS.search(part) else part for part in dotted.split(".", 1))


def _show_as(dotted: str, value: Any) -> str:
    """A value as it may be shown: nothing of what may be an address, under its own key or a mistyped one."""
    if dotted.startswith(("capture.source", "sources.")) or (isinstance(value, str) and dotted not in all_keys()):
        return "…"
    return _show(value)


def _unknown(dotted: str) -> str:
    known = all_keys()
    same_key = [name for name in known if name.partition(".")[2] == dotted.partition(".")[2]]
    close = same_key or difflib.get_close_matches(dotted, known, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else "`onlooker config show` lists all keys"
    return f"unknown key; {hint}"


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_show, value))}]"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, str) and _LIKE_AN_ADDRESS.search(value):  # in the wrong place, perhaps with a password
        return '"…"'
    return f'"{value}"' if isinstance(value, str) else str(value)


def set_keys(path: Path, values: Mapping[tuple[str, str], str | float | bool]) -> None:
    """Write keys into a configuration file, keeping comments and order; makes the file if there is none.

    values: by (section, key). Atomic. Raises ConfigError (not TOML) or OutputError (not writable).
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(read_config(path)) if path.exists() else tomlkit.document()
    except TOMLKitError as error:
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from None
    for (section, key), value in values.items():
        table = document.setdefault(section, tomlkit.table())
        table[key] = value
    write_config(path, tomlkit.dumps(document))


def write_config(path: Path, text: str) -> None:
    """Put a text in a configuration file's place, atomically; where it is a link, at what that leads to.

    An old file's mode is kept; a new one is the user's alone, for it may hold a camera's password. Raises OutputError.
    """
    path = path.resolve()
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.touch(mode=0o600)
        draft.write_text(text, encoding="utf-8")
        if path.exists():
            shutil.copymode(path, draft)
        draft.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
