"""Journals for tests: one that is opened and closed again, and lines to write into it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from assistant.journal.reading import entries
from assistant.journal.writer import Journal, JournalLine

NOW_UNIX_S = 1_772_000_000.0
DAY_S = 86400.0

OpenJournal = Callable[..., Journal]
"""The fixture `open_journal`."""


def line(text: str, at_unix_s: float = NOW_UNIX_S, kind: str = "remark", **rest) -> JournalLine:
    return JournalLine(kind, at_unix_s, rest.pop("time_s", 0.0), rest.pop("source", "camera:0"), text, **rest)


def texts(path: Path, **options) -> list[str]:
    return [entry.text for entry in entries(path, **options)]


def traces(folder: Path, needles: list[bytes]) -> set[bytes]:
    """Those of the byte strings that are in some file of the folder."""
    files = {name: name.read_bytes() for name in folder.iterdir()}
    return {needle for needle in needles if any(needle in data for data in files.values())}


def num_damages(path: Path) -> int:
    """Faults that SQLite finds in the file, or in the index of words."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        found = [row[0] for row in db.execute("PRAGMA integrity_check")]
        db.execute("INSERT INTO words (words) VALUES ('integrity-check')")
    return len([fault for fault in found if fault != "ok"])
