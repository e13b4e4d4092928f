"""The journal's file: who may open it, its tables, and what becomes of a damaged one.

    model.errors.OnlookerError
    └── JournalError             2   the file is not ours, is newer than we are, or is in use
        └── JournalMissing       3   there is no journal to read

The file is SQLite in WAL mode with `synchronous = FULL`: a committed line survives a kill and, as far as the disk keeps
its promises, a power cut. (NORMAL would survive only the kill; at one commit a second at most, FULL costs little.)
The journal has a folder of its own, 0700; the file and what SQLite puts beside it are 0600.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from model.errors import OnlookerError

APPLICATION_ID = 0x4F4E4C4B  # "ONLK", in the file's header
BUSY_S = 2.0
MAX_SET_ASIDE = 3
WAL_BYTES = 4 << 20

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # AUTOINCREMENT: the number of a deleted line is never given again, so that links to it cannot mislead.
        """CREATE TABLE entries (
            id INTEGER PRIMARY KEY AUTOINCREMENT, at_unix_s REAL NOT NULL, kind TEXT NOT NULL, time_s REAL NOT NULL,
            source TEXT NOT NULL, text TEXT NOT NULL, query_id INTEGER, silence_prob REAL
        )""",
        "CREATE INDEX entries_by_time ON entries (at_unix_s, id)",
        "CREATE TABLE thumbnails (entry_id INTEGER PRIMARY KEY, jpeg BLOB NOT NULL)",
        """CREATE VIRTUAL TABLE words USING fts5(
            text, content = 'entries', content_rowid = 'id', tokenize = 'porter unicode61 remove_diacritics 2'
        )""",
        "CREATE TABLE owed (is_scrub INTEGER)",  # a row: something was deleted, and its last traces are to be removed
    ),
)
"""The statements that lead from schema version k (`PRAGMA user_version`) to k + 1."""

_TABLES = frozenset({"entries", "thumbnails", "words", "owed"})


class JournalError(OnlookerError):
    """The journal cannot be used as it is: not ours, made by a newer version, or written by another process."""

    exit_code = 2


class JournalMissing(JournalError):
    """There is no journal to read."""

    exit_code = 3


class Damaged(sqlite3.DatabaseError):
    """SQLite reads the file, but it does not hold what it should."""


def is_damage(error: Exception) -> bool:
    """True: the file's content is broken; trying again will not help."""
    return isinstance(error, Damaged) or _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_busy(error: Exception) -> bool:
    """True: another process holds the file for a moment."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def family(path: Path) -> tuple[Path, ...]:
    """The file, and those that SQLite keeps beside it."""
    return (path, Path(f"{path}-wal"), Path(f"{path}-shm"))


def prepare_folder(path: Path) -> None:
    """Make the journal's folder, or its mode, such that only this user gets in. Raises JournalError."""
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name != "posix":
            return
        state = folder.stat()
        if state.st_uid != os.getuid():
            raise JournalError(f"{folder}: belongs to another user; the journal needs a folder of its own")
        if stat.S_IMODE(state.st_mode) & 0o077:
            if any(not name.startswith(path.name) for name in os.listdir(folder)):
                raise JournalError(
                    f"{folder}: is open to other users and holds other files; chmod 700 it, or give the journal a "
                    "folder of its own"
                )
            folder.chmod(0o700)
    except OSError as error:
        raise JournalError(f"{folder}: the journal's folder cannot be used: {error.strerror}") from None


def check_owner(path: Path) -> None:
    """Refuse a symlink, a device or another user's file under one of the journal's names. Raises JournalError."""
    for name in family(path):
        try:
            state = name.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise JournalError(f"{name}: the journal cannot be reached: {error.strerror}") from None
        if not stat.S_ISREG(state.st_mode):
            what = "a symbolic link" if stat.S_ISLNK(state.st_mode) else "no regular file"
            raise JournalError(f"{name}: is {what}; remove it, the journal is written to plain files only")
        if os.name == "posix" and state.st_uid != os.getuid():
            raise JournalError(f"{name}: belongs to another user; remove it, or give the journal another folder")


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The one connection that writes, in autocommit mode; makes the file, or brings it to our version.

    Text that was deleted just before a kill is removed from the WAL here. Raises JournalError for a file that must not
    be touched; sqlite3.Error (`is_damage` tells which) or OSError for one that is broken or cannot be written.
    """
    check_owner(path)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        for name in family(path)[1:]:  # of a file that somebody removed: it must not be played into the new one
            name.unlink(missing_ok=True)
    if os.name == "posix":
        for name in family(path):
            with contextlib.suppress(FileNotFoundError):
                name.chmod(0o600)
    db = _connect(path, "rw")
    try:
        check_version(db, path)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            db.execute(f"PRAGMA {pragma}")
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        upgrade(db)
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise Damaged(found)
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        if not names >= _TABLES:
            raise Damaged(f"no table {', '.join(sorted(_TABLES - names))}")
        _mend_index(db)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except BaseException:
        db.close()
        raise
    return db


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads, for one question to the journal; any thread, any process.

    Raises JournalMissing, or JournalError for a file that is not ours or cannot be read.
    """
    check_owner(path)
    if not path.is_file():
        raise JournalMissing(f"{path}: there is no journal; `privacy.journal = true` in the configuration begins one")
    try:
        with contextlib.closing(_connect(path, "ro")) as db:
            if check_version(db, path) < len(MIGRATIONS):
                raise JournalMissing(f"{path}: the journal is empty or of an older version; start Onlooker once")
            yield db
    except sqlite3.Error as error:
        what = f"{path}: the journal cannot be read: {error}"
        raise JournalError(f"{what}; Onlooker puts it right at its next start") from error


def check_version(db: sqlite3.Connection, path: Path) -> int:
    """The schema version of the file, 0 if it is new. Raises JournalError if it is not ours or newer than we are."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    owner = db.execute("PRAGMA application_id").fetchone()[0]
    is_new = version == 0 and not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if owner != APPLICATION_ID and not is_new:
        raise JournalError(f"{path}: is a database of another program; give the journal a folder of its own")
    if version > len(MIGRATIONS):
        raise JournalError(
            f"{path}: the journal is of version {version}, this Onlooker reads up to {len(MIGRATIONS)}; "
            "update Onlooker, or move the file away to begin a new journal"
        )
    return version


def upgrade(db: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring the file to the newest schema, step by step, each step wholly or not at all."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    for number, statements in enumerate(migrations[version:], version + 1):
        with transaction(db):
            for statement in statements:
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {number}")


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Everything inside is written together, or nothing is."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back already
            db.execute("ROLLBACK")
        raise


def set_aside(path: Path) -> Path:
    """Rename the file and what belongs to it to `.damaged-N` and return that name; at most three are kept."""
    kept = files_set_aside(path)
    number = 1 + (int(kept[-1].name.rpartition("-")[2]) if kept else 0)
    for name in kept[: len(kept) - MAX_SET_ASIDE + 1]:
        remove(name)
    target = path.with_name(f"{path.name}.damaged-{number}")
    for old, new in zip(family(path), family(target), strict=True):
        with contextlib.suppress(FileNotFoundError):
            old.rename(new)
    return target


def files_set_aside(path: Path) -> list[Path]:
    """Damaged journals that were set aside, the oldest first."""
    start = f"{path.name}.damaged-"
    names = [name for name in path.parent.iterdir() if name.name.startswith(start)]
    numbers = {int(end): name for name in names if (end := name.name.removeprefix(start)).isdecimal()}
    return [numbers[number] for number in sorted(numbers)]


def remove_set_aside(path: Path, *, before_unix_s: float = float("inf")) -> None:
    """Remove damaged journals last written before that time: what they hold cannot be deleted line by line."""
    for name in files_set_aside(path):
        if name.stat().st_mtime < before_unix_s:
            remove(name)


def _mend_index(db: sqlite3.Connection) -> None:
    """Make the index of words anew if it does not agree with the text it was made from."""
    try:
        db.execute("INSERT INTO words (words) VALUES ('integrity-check')")
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        db.execute("INSERT INTO words (words) VALUES ('rebuild')")


def remove(path: Path) -> None:
    """Remove the file and what SQLite keeps beside it."""
    for name in family(path):
        name.unlink(missing_ok=True)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA temp_store = MEMORY")  # nothing that was seen goes to a temporary file
    return db


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # absent where Python's module raised it, not SQLite
