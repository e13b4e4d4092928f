"""The memory of the day: what was said and asked, written to one file by one thread.

`Journal` belongs to the thread that calls it (`assistant.journal.thread` has that thread's body); others read the file
through `assistant.journal.reading`, from any thread or process. Nothing here raises into that thread: what cannot be
written is told by one warning, counted in `num_dropped`, and the journal goes on when it can.

What is deleted is gone: its text, index and picture are in no file of the folder afterwards. (What a disk or a
file system keeps of overwritten blocks, and copies that others made, are beyond a program's reach.)
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from assistant.journal.connection import JournalConnection, NotDone
from assistant.journal.deletion import delete_oldest, delete_where, is_scrub_owed, scrub
from assistant.journal.file import JournalError, prepare_folder, remove_set_aside, transaction

KINDS = ("remark", "query", "answer", "note", "unsaid")
DAY_S = 86400.0
YEAR_9999_UNIX_S = 253_370_764_800.0
PLAUSIBLE_UNIX_S = 1_704_067_200.0
"""2024: a clock that shows less has not been set yet."""

FLUSH_EVERY_S = 1.0
SET_ASIDE_S = 7 * DAY_S
SCRUB_AGAIN_S = 5.0
MAX_PENDING = 512
MAX_TEXT = 4000
MAX_SOURCE = 200
MAX_THUMBNAIL_BYTES = 64 << 10
MAX_ASKED = 256

log = logging.getLogger("onlooker.journal")


@dataclass(frozen=True)
class JournalLine:
    """One thing to be kept. at_unix_s: wall clock, UTC. time_s: the position in the stream.

    source: the name that is shown, without passwords. query_id: `Query.id` of this run, of a question and of its
    answer; the journal makes the link of it. thumbnail: a JPEG of at most 64 KiB; a larger one is left out.
    """

    kind: str
    at_unix_s: float
    time_s: float
    source: str
    text: str
    query_id: int | None = None
    silence_prob: float | None = None
    thumbnail: bytes | None = None


@dataclass(frozen=True)
class Deleted:
    """What a deletion did. is_done: the lines are deleted; else the file could not be written, and nothing happened.

    is_gone: no trace is left in the folder; if only that is False (another process is reading, the disk is full), the
    journal removes the last traces by itself as soon as it can.
    """

    num_entries: int
    is_done: bool
    is_gone: bool


class Journal:
    """The one writer of a journal's file.

    num_dropped: lines lost because they could not be written. Open it anywhere, then use it from one thread.
    """

    @classmethod
    def open(
        cls,
        path: Path,
        retention_days: float | None,
        *,
        max_bytes: int | None = None,
        warn: Callable[[str], None] = log.warning,
    ) -> Journal:
        """Open the file or begin a new one.

        retention_days: lines older than this go at the next `purge`; None keeps them. max_bytes: of the file; when it
        is reached the oldest lines go. Raises JournalError: the folder or the file is not ours or cannot be written,
        is of a newer version, or is in use by another process. A damaged file is set aside, and told by `warn`.
        """
        prepare_folder(path)
        lock = FileLock(f"{path}.lock", timeout=0, mode=0o600, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            raise JournalError(f"{path}: another process writes this journal; stop it first") from None
        except OSError as error:
            raise JournalError(f"{path}.lock: cannot be written: {error.strerror}") from None
        try:
            return cls(path, retention_days, max_bytes, warn, lock)
        except BaseException:
            lock.release()
            raise

    def __init__(
        self,
        path: Path,
        retention_days: float | None,
        max_bytes: int | None,
        warn: Callable[[str], None],
        lock: FileLock,
    ):
        """Use `Journal.open`."""
        self.path = path
        self.num_dropped = 0
        self._retention_s = None if retention_days is None else retention_days * DAY_S
        self._max_bytes = max_bytes
        self._warn = warn
        self._lock = lock
        self._pending: list[tuple[int, JournalLine, int | None]] = []  # number, line, number of the question it answers
        self._pending_since_s = 0.0
        self._next_id = 1
        self._asked: dict[int, int] = {}  # Query.id of this run → number of its line
        self._scrub_at_s: float | None = None
        self._connection = JournalConnection(path, self._on_connect, warn)
        self._first_id = self._next_id  # of the lines that are dated as the clock goes now

    def write(self, line: JournalLine) -> int:
        """Take a line in; it is in the file after the next `flush`, or a second later. Returns its number.

        One call a second at most waits for the disk. The number of a line that was deleted is never given again.
        """
        assert line.kind in KINDS, f"kind is {line.kind!r}; must be one of {', '.join(KINDS)}"
        assert 0 <= line.at_unix_s < YEAR_9999_UNIX_S, f"at_unix_s is {line.at_unix_s!r}; must be seconds since 1970"
        assert math.isfinite(line.time_s), "time_s is a finite number of seconds"
        number = self._next_id
        self._next_id += 1
        answers = None
        if line.query_id is not None and line.kind == "query":
            self._asked[line.query_id] = number
            if len(self._asked) > MAX_ASKED:
                del self._asked[next(iter(self._asked))]
        elif line.query_id is not None:
            answers = self._asked.get(line.query_id)
        if not self._pending:
            self._pending_since_s = time.monotonic()
        self._pending.append((number, line, answers))
        if len(self._pending) >= MAX_PENDING:
            self.flush()
        else:
            self.flush_due()
        return number

    def flush(self) -> bool:
        """Commit what was taken in. True: every line not counted in `num_dropped` is in the file, and on the disk."""
        if not self._pending:
            return True
        try:
            self._connection.attempt(self._insert_pending)
        except NotDone as failure:
            # Another process that holds the file lets go again; all else may last.
            if not failure.is_busy or len(self._pending) >= MAX_PENDING:
                self._drop_pending()
            self._pending_since_s = time.monotonic()
            return False
        self._pending.clear()
        self._keep_within_size()
        return True

    def flush_due(self) -> None:
        """Commit what has waited for a second, and remove what a deletion could not yet; call it now and then."""
        now_s = time.monotonic()
        if self._pending and now_s - self._pending_since_s >= FLUSH_EVERY_S:
            self.flush()
        if self._scrub_at_s is not None and now_s >= self._scrub_at_s:
            self._scrub()

    def delete(
        self, *, before_unix_s: float | None = None, ids: Iterable[int] | None = None, everything: bool = False
    ) -> Deleted:
        """Delete lines older than a time, or by number, or all, with index and pictures. Exactly one must be given.

        Journals that were set aside as damaged go too: nobody can tell what they hold.
        """
        ids = None if ids is None else list(ids)
        assert (before_unix_s is not None) + (ids is not None) + everything == 1, "say what is to be deleted, once"
        if everything:
            deleted = self._delete("TRUE", ())
            if not deleted.is_done and self._connection.begin_anew():  # deleting a file needs no room on the disk
                self._drop_pending()
                return Deleted(0, is_done=True, is_gone=self._remove_set_aside(math.inf))
            return deleted
        if ids is not None:
            return self._delete("id IN (SELECT value FROM json_each(?))", (json.dumps(ids),))
        return self._delete("at_unix_s < ?", (before_unix_s,))

    def purge(self, now_unix_s: float) -> Deleted:
        """Delete what is older than the retention. A damaged journal is kept for a week, or that long if shorter.

        Lines of a clock that was not set, or of a day to come, are as old as at least what was written after them.
        """
        kept_s = SET_ASIDE_S if self._retention_s is None else min(SET_ASIDE_S, self._retention_s)
        self._remove_set_aside(now_unix_s - kept_s)
        if self._retention_s is None:
            return Deleted(0, is_done=True, is_gone=True)
        is_old = "at_unix_s >= ? AND at_unix_s < ?"
        span = (PLAUSIBLE_UNIX_S, now_unix_s - self._retention_s)
        is_undated = "(at_unix_s < ? OR at_unix_s > ?)"
        return self._delete(
            f"id IN (SELECT id FROM entries WHERE {is_old} OR "
            f"({is_undated} AND id < (SELECT max(id) FROM entries WHERE {is_old})))",  # looked up before any is deleted
            (*span, PLAUSIBLE_UNIX_S, now_unix_s + DAY_S, *span),
            set_aside_too=False,
        )

    def note_step(self, step_s: float, now_unix_s: float) -> None:
        """The clock was put by step_s. Lines that it had dated before it was set, or years ahead, get their right date.

        Of other steps nobody knows which of the two times was right.
        """
        is_right_now = now_unix_s >= PLAUSIBLE_UNIX_S
        wrong = "at_unix_s < ?" if step_s > 0 else "at_unix_s > ?"
        limit_unix_s = PLAUSIBLE_UNIX_S if step_s > 0 else now_unix_s + DAY_S

        def put_right(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.execute(
                    f"UPDATE entries SET at_unix_s = at_unix_s + ? WHERE id >= ? AND {wrong}",
                    (step_s, self._first_id, limit_unix_s),
                )

        if is_right_now and self.flush():
            with contextlib.suppress(NotDone):
                self._connection.attempt(put_right)
        self._first_id = self._next_id

    def close(self) -> None:
        """Commit what was taken in and let go of the file. Closing twice is fine."""
        self.flush()
        self._drop_pending()
        self._connection.close()
        self._lock.release()

    def _on_connect(self, db: sqlite3.Connection) -> None:
        (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence").fetchone()
        self._next_id = max(self._next_id, last + 1)
        self._scrub_at_s = time.monotonic() if is_scrub_owed(db) else None

    def _insert_pending(self, db: sqlite3.Connection) -> None:
        with transaction(db):
            for number, line, answers in self._pending:
                text, source = _storable(line.text)[:MAX_TEXT], _storable(line.source)[:MAX_SOURCE]
                db.execute(
                    "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (number, line.at_unix_s, line.kind, line.time_s, source, text, answers, line.silence_prob),
                )
                db.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (number, text))
                if line.thumbnail is not None and len(line.thumbnail) <= MAX_THUMBNAIL_BYTES:
                    db.execute("INSERT INTO thumbnails VALUES (?, ?)", (number, line.thumbnail))

    def _drop_pending(self) -> None:
        self.num_dropped += len(self._pending)
        self._pending.clear()

    def _delete(self, where: str, values: tuple[object, ...], *, set_aside_too: bool = True) -> Deleted:
        self.flush()
        try:
            if self._pending:  # what is to be deleted may be among it
                raise NotDone(is_busy=True)
            num_deleted = self._connection.attempt(lambda db: delete_where(db, where, values))
        except NotDone:
            return Deleted(0, is_done=False, is_gone=False)
        is_gone = self._remove_set_aside(math.inf) if set_aside_too else True
        if num_deleted or self._scrub_at_s is not None:
            is_gone = self._scrub() and is_gone
        return Deleted(num_deleted, is_done=True, is_gone=is_gone)

    def _scrub(self) -> bool:
        """Write the file anew without what was freed in it, and empty the WAL. False: to be tried again."""
        try:
            is_done = self._connection.attempt(scrub)
        except NotDone:
            is_done = False
        self._scrub_at_s = None if is_done else time.monotonic() + SCRUB_AGAIN_S
        return is_done

    def _remove_set_aside(self, before_unix_s: float) -> bool:
        try:
            remove_set_aside(self.path, before_unix_s=before_unix_s)
        except OSError as error:
            self._warn(f"{error.filename}: a damaged journal cannot be removed: {error.strerror}")
            return False
        return True

    def _keep_within_size(self) -> None:
        if self._max_bytes is None:
            return
        limit = self._max_bytes
        try:
            if self._connection.attempt(lambda db: delete_oldest(db, limit)):
                self._scrub()
        except NotDone:
            pass


def _storable(text: str) -> str:
    """The text without halves of surrogate pairs, which UTF-8 does not know, and without NUL, which ends a C string."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")
