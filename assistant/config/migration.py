"""The format of configuration files, and the new names of keys that an older one called otherwise. Pure."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

FORMAT = 1
"""Of the files that this program reads as they are. One without the key `format` is taken for the first."""

RENAMED: dict[int, dict[str, str]] = {}
"""By the format that brought them: old "section.key" → new "section.key"."""


def format_of(document: Mapping[str, Any]) -> int:
    """What a file says of its format. Raises ValueError: what it must be."""
    number = document.get("format", 1)
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        said = repr(number) if isinstance(number, int | float) else "…"
        raise ValueError(f"format = {said}: must be a whole number, {FORMAT} by now")
    if number > FORMAT:
        raise ValueError(f"format = {number}: is of a newer Onlooker, this one knows {FORMAT}; update it")
    return number


def new_names(number: int) -> dict[str, str]:
    """What the keys of that format are called by now, where it is something else."""
    names: dict[str, str] = {}
    for step in range(number + 1, FORMAT + 1):
        for old, new in RENAMED.get(step, {}).items():
            for first in [first for first, then in names.items() if then == old] or [old]:
                names[first] = new
    return names


def migrate(document: MutableMapping[str, Any]) -> None:
    """Give a file's keys their new names, in place. A new name that is there already wins.

    Raises ValueError (see `format_of`).
    """
    for old, new in new_names(format_of(document)).items():
        (section, key), (new_section, new_key) = old.split("."), new.split(".")
        table = document.get(section)
        if isinstance(table, MutableMapping) and key in table:
            value = table.pop(key)
            document.setdefault(new_section, {}).setdefault(new_key, value)
            if not table:
                del document[section]
