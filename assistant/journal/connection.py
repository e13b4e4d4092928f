"""The journal's one connection that writes, with what may become of it: damage, a full disk, a file that is gone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from assistant.journal.file import JournalError, is_busy, is_damage, open_for_writing, remove, set_aside

T = TypeVar("T")


class NotDone(Exception):
    """The file could not be changed; the user has been told. is_busy: another process holds it for a moment."""

    def __init__(self, is_busy: bool):
        super().__init__()
        self.is_busy = is_busy


class JournalConnection:
    """Does things to the file of a journal, and goes on with a new one when it must. Owned by the journal's thread.

    on_connect: called with every new connection. warn: told of damage, and once of a trouble for as long as it lasts.
    """

    def __init__(self, path: Path, on_connect: Callable[[sqlite3.Connection], None], warn: Callable[[str], None]):
        """Connect; a damaged file is set aside. Raises JournalError."""
        self.path = path
        self._on_connect = on_connect
        self._warn = warn
        self._db: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._in_trouble = False
        try:
            try:
                self._connect()
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                self._set_aside(error)
                self._connect()
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"{path}: the journal cannot be opened: {error}") from None

    def attempt(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Do something to the file; if that turns out to be damaged, to the one that is begun in its place.

        Raises NotDone and nothing else.
        """
        has_begun_anew = False
        while True:
            try:
                result = act(self._connected())
                self._in_trouble = False
                return result
            except (sqlite3.Error, OSError, JournalError) as error:
                failure = error
            try:
                if is_damage(failure) and not has_begun_anew:
                    has_begun_anew = True
                    self._set_aside(failure)
                    continue
            except OSError as error:
                failure = error
            if not self._in_trouble:
                self._in_trouble = True
                self._warn(f"{self.path}: the journal cannot be written: {failure}; lines may be lost until it can")
            raise NotDone(is_busy(failure))

    def begin_anew(self) -> bool:
        """Remove the file with all that it holds. True: it is gone, and the next `attempt` makes a new one."""
        self.close()
        try:
            remove(self.path)
        except OSError as error:
            self._warn(f"{error.filename}: the journal cannot be removed: {error.strerror}")
            return False
        return True

    def close(self) -> None:
        """Let go of the file. Closing twice is fine."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _connected(self) -> sqlite3.Connection:
        """The connection to the file that is there now: somebody may have removed it, or put another in its place."""
        if self._db is not None and self._inode == _inode(self.path):
            return self._db
        self.close()
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        db = open_for_writing(self.path)
        self._db, self._inode = db, _inode(self.path)
        self._on_connect(db)
        return db

    def _set_aside(self, error: Exception) -> None:
        self.close()
        name = set_aside(self.path).name
        self._warn(f"{self.path}: the journal is damaged ({error}); it was set aside as {name}, a new one begins")


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
