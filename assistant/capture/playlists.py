"""Which files a playlist reads, so that nothing is written over them: HLS, DASH, ffconcat and M3U. Pure but for
reading.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path
from urllib.parse import unquote

MAX_BYTES = 4 << 20
"""A larger file is no playlist that a person has."""

MAX_DEPTH = 3
_ATTRIBUTE = re.compile(r'\b(?:URI|uri|media|initialization|sourceURL)="([^"]*)"')
_ELEMENT = re.compile(r"<(?:BaseURL|Location)[^>]*>([^<]*)<")


def pieces_of(path: Path, depth: int = MAX_DEPTH) -> list[Path]:
    """The local files that a playlist names, those of playlists in it too; of a DASH manifest, whose names may be
    patterns, all files beside it. Empty for what is no playlist, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return []
    head = text.lstrip()[:200]
    if len(text) > MAX_BYTES or not head.startswith(("#EXTM3U", "ffconcat", "file ", "<?xml", "<MPD")):
        return []
    found = [piece for name in _names(text) if (piece := _local(path.parent, name)) is not None]
    if head.startswith("<"):
        with contextlib.suppress(OSError):
            found += [other for other in path.parent.iterdir() if other.is_file() and other != path]
    inner = [piece for one in found for piece in (pieces_of(one, depth - 1) if depth and one != path else [])]
    return list(dict.fromkeys([*found, *inner]))


def _names(text: str) -> list[str]:
    names = [*_ATTRIBUTE.findall(text), *_ELEMENT.findall(text)]
    for line in map(str.strip, text.splitlines()):
        if line.startswith("file "):
            with contextlib.suppress(ValueError):  # quotes without an end
                names += shlex.split(line)[1:2]
        elif line and not line.startswith(("#", "<", "ffconcat")):
            names.append(line)
    return names


def _local(folder: Path, name: str) -> Path | None:
    """The file that a name in a playlist means; None if it is not there."""
    name = name.removeprefix("file:").removeprefix("//") if name.startswith("file:") else name
    with contextlib.suppress(OSError, ValueError):
        return next((folder / form for form in (name, unquote(name)) if (folder / form).is_file()), None)
    return None
