"""Which version of the program runs."""

from __future__ import annotations

from importlib import metadata


def program_version() -> str:
    """Of the installed package."""
    try:
        return metadata.version("onlooker")
    except metadata.PackageNotFoundError:
        return "(not installed)"
