"""Reads a journal: its lines by time, kind and words. Any thread or process; nothing is kept open between calls."""

from __future__ import annotations

import json
import re
import sqlite3
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from assistant.journal.file import reading

MAX_WORDS = 32
MAX_WORD = 64
MAX_LIMIT = 2**62
NOTHING = '""'  # no line fits this


@dataclass(frozen=True)
class Entry:
    """One line of the journal. kind: "remark", "query", "answer", "note", or "unsaid" (of what was told, not heard to
    its end). at_unix_s: wall clock, UTC.

    time_s: position in the stream. query_id: `id` of the question that an answer is to, even if that was deleted since.
    """

    id: int
    at_unix_s: float
    kind: str
    time_s: float
    source: str
    text: str
    query_id: int | None
    silence_prob: float | None
    has_thumbnail: bool


def entries(
    path: Path,
    *,
    since_unix_s: float | None = None,
    until_unix_s: float | None = None,
    kinds: Collection[str] | None = None,
    source: str | None = None,
    search: str = "",
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Entry]:
    """Lines with since ≤ at < until, oldest first unless told otherwise, at most `limit` from that end.

    search: lines that have all these words, in any form ("cut" finds "cutting"); it may hold anything a user types.
    Raises JournalMissing, JournalError.
    """
    with reading(path) as db:
        return select(
            db,
            since_unix_s=since_unix_s,
            until_unix_s=until_unix_s,
            kinds=kinds,
            source=source,
            match=match_all(search),
            limit=limit,
            newest_first=newest_first,
        )


def thumbnail(path: Path, entry_id: int) -> bytes | None:
    """The JPEG that was kept with a line. Raises JournalMissing, JournalError."""
    with reading(path) as db:
        row = db.execute("SELECT jpeg FROM thumbnails WHERE entry_id = ?", (entry_id,)).fetchone()
    return row[0] if row else None


def select(
    db: sqlite3.Connection,
    *,
    since_unix_s: float | None = None,
    until_unix_s: float | None = None,
    kinds: Collection[str] | None = None,
    source: str | None = None,
    match: str | None = None,
    ids: Iterable[int] | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Entry]:
    """`entries` on an open connection. match: an FTS5 expression of `match_all` or `match_any`. ids: only these."""
    terms: list[str] = []
    values: list[object] = []
    for term, value in (
        ("at_unix_s >= ?", since_unix_s),
        ("at_unix_s < ?", until_unix_s),
        ("kind IN (SELECT value FROM json_each(?))", None if kinds is None else json.dumps(list(kinds))),
        ("source = ?", None if source is None else source.encode("utf-8", "replace").decode("utf-8")),
        ("id IN (SELECT rowid FROM words WHERE words MATCH ?)", match),
        ("id IN (SELECT value FROM json_each(?))", None if ids is None else json.dumps(list(ids))),
    ):
        if value is not None:
            terms.append(term)
            values.append(value)
    direction = "DESC" if newest_first else "ASC"
    rows = db.execute(
        "SELECT id, at_unix_s, kind, time_s, source, text, query_id, silence_prob, "
        "EXISTS (SELECT 1 FROM thumbnails WHERE entry_id = id) FROM entries "
        f"WHERE {' AND '.join(terms) or 'TRUE'} ORDER BY at_unix_s {direction}, id {direction} LIMIT ?",
        (*values, MAX_LIMIT if limit is None else max(0, min(limit, MAX_LIMIT))),
    )
    return [Entry(*row[:-1], has_thumbnail=bool(row[-1])) for row in rows]


def match_all(text: str) -> str | None:
    """The FTS5 expression for "all these words", whatever the text holds; None for a blank one, which asks nothing."""
    if not text.strip():
        return None
    # Quoted, a piece is cut into words by the index itself, as the lines were: "don't" is looked for as it was said.
    pieces = [piece for piece in text.replace("\0", " ").split() if any(map(str.isalnum, piece))]
    return " ".join(_quoted(piece[:MAX_WORD]) for piece in pieces[:MAX_WORDS]) or NOTHING


def match_any(words: Iterable[str]) -> str:
    """The FTS5 expression for "one of these words"."""
    return " OR ".join(_quoted(word) for word in words) or NOTHING


def words_of(text: str) -> list[str]:
    """The words of a text, of letters and digits, at most 32 of 64 characters."""
    return [word[:MAX_WORD] for word in re.findall(r"[^\W_]+", unicodedata.normalize("NFC", text))][:MAX_WORDS]


def _quoted(text: str) -> str:
    return '"' + text.encode("utf-8", "replace").decode("utf-8").replace('"', '""') + '"'
