"""Deletes from a journal such that nothing is left: no text, no word in the index, no picture, in no file.

SQLite overwrites what is deleted with zeros (`secure_delete`). That leaves copies where a page was split before, what
the WAL holds, and the words of the index, which FTS5 only marks as deleted. So the index is made anew, the file is
written anew (`VACUUM`) and the WAL emptied. `owed` remembers across a kill that this is still to be done.
"""

from __future__ import annotations

import math
import sqlite3

from assistant.journal.file import transaction

KEPT_SHARE = 0.9
"""A journal that has reached its size is cut back to this share of it, so that it is not cut at every line."""
MIN_CUT_SHARE = 0.02


def delete_where(db: sqlite3.Connection, where: str, values: tuple[object, ...]) -> int:
    """Delete lines with all that belongs to them and return their number; `scrub` must follow."""
    with transaction(db):
        db.execute(f"DELETE FROM thumbnails WHERE entry_id IN (SELECT id FROM entries WHERE {where})", values)
        num_deleted = db.execute(f"DELETE FROM entries WHERE {where}", values).rowcount
        if num_deleted:
            db.execute("INSERT INTO words (words) VALUES ('rebuild')")
            db.execute("INSERT INTO owed VALUES (1)")
    return num_deleted


def scrub(db: sqlite3.Connection) -> bool:
    """Remove the last traces of what was deleted. False: a reader still looks at the old state; try again."""
    db.execute("VACUUM")
    is_blocked = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if not is_blocked:
        db.execute("DELETE FROM owed")
    return not is_blocked


def is_scrub_owed(db: sqlite3.Connection) -> bool:
    """True: lines were deleted, but their last traces were not yet removed."""
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM owed)").fetchone()[0])


def delete_oldest(db: sqlite3.Connection, max_bytes: int) -> bool:
    """Cut a journal that is larger than max_bytes back to nine tenths of that. True: `scrub` must follow."""
    is_cut = False
    while (size := _size_bytes(db)) > (max_bytes * KEPT_SHARE if is_cut else max_bytes):
        (count,) = db.execute("SELECT count(*) FROM entries").fetchone()
        if count == 0:
            break
        num_oldest = math.ceil(count * max(MIN_CUT_SHARE, 1 - max_bytes * KEPT_SHARE / size))
        delete_where(db, "id IN (SELECT id FROM entries ORDER BY at_unix_s, id LIMIT ?)", (num_oldest,))
        is_cut = True
    return is_cut


def _size_bytes(db: sqlite3.Connection) -> int:
    """What the lines take in the file: its pages without those that are free."""
    num_pages, num_free, page_bytes = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return (num_pages - num_free) * page_bytes
