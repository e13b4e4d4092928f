"""Whose file a journal is: its user's alone, one writer's, of a version and a program that are known."""

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from assistant.errors import OnlookerError
from assistant.journal.file import (
    MIGRATIONS,
    JournalError,
    JournalMissing,
    files_set_aside,
    open_for_writing,
    upgrade,
)
from assistant.journal.reading import entries
from assistant.journal.writer import Journal
from tests.assistant.journals import OpenJournal, line


@pytest.fixture
def path(journal_path: Path) -> Path:
    return journal_path


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(name.stat().st_mode) for name in folder.iterdir()}


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_only_the_user_can_read_it(open_journal: OpenJournal, path: Path) -> None:
    before = os.umask(0)
    try:
        journal = open_journal()
        journal.write(line("one"))
        journal.flush()
        assert {name.name for name in path.parent.iterdir()} >= {"journal.db", "journal.db-wal", "journal.db-shm"}
        assert modes(path.parent) == {0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        journal.close()
        path.chmod(0o644)
        path.parent.chmod(0o755)
        open_journal().flush()
        assert modes(path.parent) == {0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_a_shared_folder_is_not_closed_to_others(path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    (path.parent / "holiday.jpg").touch()
    with pytest.raises(JournalError, match="chmod 700"):
        Journal.open(path, None)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


@pytest.mark.parametrize("name", ["journal.db", "journal.db-wal"])
def test_symlinks_are_refused(path: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"not to be touched")
    path.parent.mkdir(mode=0o700)
    (path.parent / name).symlink_to(target)
    with pytest.raises(JournalError, match="symbolic link"):
        Journal.open(path, None)
    with pytest.raises(JournalError, match="symbolic link"):
        entries(path)
    assert target.read_bytes() == b"not to be touched"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
def test_files_of_another_user_are_refused(open_journal: OpenJournal, path: Path) -> None:
    open_journal().close()
    os.chown(path, 12345, -1)
    with pytest.raises(JournalError, match="another user"):
        Journal.open(path, None)
    with pytest.raises(JournalError, match="another user"):
        entries(path)
    os.chown(path, 0, -1)
    os.chown(path.parent, 12345, -1)
    with pytest.raises(JournalError, match="another user"):
        Journal.open(path, None)


def test_two_writers_are_one_too_many(open_journal: OpenJournal, path: Path) -> None:
    journal = open_journal()
    with pytest.raises(JournalError, match="another process"):
        Journal.open(path, None)
    journal.close()
    open_journal().close()


def test_a_newer_journal_is_refused_and_left_as_it_is(open_journal: OpenJournal, path: Path) -> None:
    journal = open_journal()
    journal.write(line("from the future"))
    journal.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    for read in (lambda: Journal.open(path, None), lambda: entries(path)):
        with pytest.raises(
            JournalError, match=r"journal\.db: the journal is of version 99.* update Onlooker"
        ) as caught:
            read()
        assert isinstance(caught.value, OnlookerError)
        assert caught.value.exit_code == 2
    assert path.read_bytes() == before
    assert files_set_aside(path) == []


def test_a_database_of_another_program_is_refused(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(JournalError, match="another program"):
        Journal.open(path, None)
    assert path.read_bytes() == before


def test_no_journal_is_said_so(path: Path) -> None:
    with pytest.raises(JournalMissing, match=r"privacy\.journal") as caught:
        entries(path)
    assert caught.value.exit_code == 3


def test_an_older_journal_is_brought_to_the_newest_version_step_by_step(open_journal: OpenJournal, path: Path) -> None:
    journal = open_journal()
    journal.write(line("old"))
    journal.close()
    place = ("ALTER TABLE entries ADD COLUMN place TEXT DEFAULT 'kitchen'",)
    with closing(open_for_writing(path)) as db:
        with pytest.raises(sqlite3.OperationalError):
            upgrade(db, (*MIGRATIONS, place, ("UPDATE entries SET place = 'sink'", "no SQL")))
        assert db.execute("SELECT text, place FROM entries").fetchall() == [("old", "kitchen")]
        assert db.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS) + 1
        upgrade(db, (*MIGRATIONS, place, ("UPDATE entries SET place = 'sink'",)))
        assert db.execute("SELECT text, place FROM entries").fetchall() == [("old", "sink")]
