"""Words of others (a model, a user, a file's name) as they may be shown on a terminal."""

from __future__ import annotations

import unicodedata
from typing import TextIO


def printable(text: str, stream: TextIO | None = None) -> str:
    """The text without what moves a cursor, changes colours or ends a line: such characters are shown as \\x1b.

    stream: what its encoding cannot say is shown so, too.
    """
    shown = "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in BIDI_CONTROLS
        else char
        for char in text
    )
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They change the order in which the rest of a line is shown."""
