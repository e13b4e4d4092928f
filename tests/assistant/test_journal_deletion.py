"""What was deleted is in no file any more, whoever reads or dies meanwhile."""

import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from assistant.journal.file import transaction
from assistant.journal.reading import entries
from assistant.journal.writer import Deleted, Journal
from tests.assistant.journals import DAY_S, NOW_UNIX_S, OpenJournal, line, num_damages, texts, traces

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(journal_path: Path) -> Path:
    return journal_path


@pytest.fixture
def warnings(journal_warnings: list[str]) -> list[str]:
    return journal_warnings


def tokens(count: int, seed: int) -> list[str]:
    """Words that share no beginning, so that the index, which stores only where words differ, holds each whole."""
    source = random.Random(seed)
    return ["".join(source.choices("bcdfghjkmnpqrvwxz", k=16)) for _ in range(count)]


def marks(words: list[str]) -> list[bytes]:
    """What to look for: the middle of each word, as it stands in text and index, and of its picture."""
    return [word[2:14].encode() for word in words] + [f"JPEG{word}".encode() for word in words]


def fill(journal: Journal, words: list[str], start_unix_s: float) -> list[int]:
    """A line for each word, a minute apart, with a picture of several pages; committed one by one and in batches."""
    ids = []
    for index, word in enumerate(words):
        picture = f"JPEG{word}".encode() * 300
        ids.append(journal.write(line(f"You pick up the {word}.", start_unix_s + 60 * index, thumbnail=picture)))
        if index % 7 == 0:
            assert journal.flush()
    assert journal.flush()
    return ids


def test_the_search_for_traces_finds_what_plain_deletion_leaves(open_journal: OpenJournal, path: Path) -> None:
    words = tokens(100, 0)
    fill(open_journal(), words, NOW_UNIX_S)
    assert traces(path.parent, marks(words)) == set(marks(words))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete = OFF")
        with transaction(db):
            db.execute("INSERT INTO words (words, rowid, text) SELECT 'delete', id, text FROM entries")
            db.execute("DELETE FROM entries")
            db.execute("DELETE FROM thumbnails")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert len(traces(path.parent, marks(words))) > 100


@pytest.mark.parametrize("how", ["ids", "before", "everything"])
def test_deleted_lines_are_in_no_file(open_journal: OpenJournal, path: Path, how: str) -> None:
    words = tokens(300, 1)
    journal = open_journal()
    ids = fill(journal, words, NOW_UNIX_S)
    pending = tokens(1, 9)[0]
    if how == "ids":
        gone, deleted = words[50:250:3], journal.delete(ids=ids[50:250:3])
    elif how == "before":
        gone, deleted = words[:120], journal.delete(before_unix_s=NOW_UNIX_S + 60 * 120)
    else:
        journal.write(line(pending))
        gone, deleted = [*words, pending], journal.delete(everything=True)
    assert deleted == Deleted(len(gone), is_done=True, is_gone=True)
    kept = [word for word in words if word not in set(gone)]
    for _ in range(2):
        assert traces(path.parent, marks(gone)) == set()
        assert traces(path.parent, marks(kept)) == set(marks(kept))
        assert len(texts(path)) == len(kept)
        assert texts(path, search=gone[0]) == []
        assert [len(texts(path, search=word)) for word in kept] == [1] * len(kept)
        journal.close()
    assert num_damages(path) == 0


def test_a_reader_delays_the_last_trace_but_not_for_ever(open_journal: OpenJournal, path: Path) -> None:
    journal = open_journal()
    words = tokens(20, 2)
    fill(journal, words, NOW_UNIX_S)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM entries").fetchone() == (20,)
        assert journal.delete(everything=True) == Deleted(20, is_done=True, is_gone=False)
        assert texts(path) == []
        assert traces(path.parent, marks(words)) != set()
    assert journal.delete(ids=[]) == Deleted(0, is_done=True, is_gone=True)
    assert traces(path.parent, marks(words)) == set()


DELETER = """
import sys
from pathlib import Path
from assistant.journal.writer import Journal
from assistant.journal.reading import entries
path = Path(sys.argv[1])
journal = Journal.open(path, None)
print("open", flush=True)
for entry in entries(path):
    print(entry.id, flush=True)
    journal.delete(ids=[entry.id])
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_kill_while_deleting_leaves_no_trace_after_the_next_start(open_journal: OpenJournal, path: Path) -> None:
    words = dict(enumerate(tokens(200, 3), 1))
    journal = open_journal()
    assert fill(journal, list(words.values()), NOW_UNIX_S) == list(words)
    journal.close()
    clock = random.Random(3)
    for _ in range(8):
        deleter = subprocess.Popen([sys.executable, "-c", DELETER, path], cwd=ROOT, stdout=subprocess.PIPE)
        assert deleter.stdout is not None
        deleter.stdout.readline()
        time.sleep(clock.uniform(0, 0.1))
        deleter.kill()
        deleter.communicate(timeout=10)
        journal = open_journal()
        journal.flush_due()
        left = {entry.id for entry in entries(path)}
        assert traces(path.parent, marks([word for number, word in words.items() if number not in left])) == set()
        journal.close()
        assert num_damages(path) == 0
    assert len(left) < 200


def test_retention_deletes_what_is_older(open_journal: OpenJournal, path: Path) -> None:
    old, new = tokens(50, 4), tokens(50, 5)
    journal = open_journal(7)
    fill(journal, old, NOW_UNIX_S - 8 * DAY_S)
    fill(journal, new, NOW_UNIX_S - 6 * DAY_S)
    assert journal.purge(NOW_UNIX_S) == Deleted(50, is_done=True, is_gone=True)
    assert traces(path.parent, marks(old)) == set()
    assert traces(path.parent, marks(new)) == set(marks(new))
    assert journal.purge(NOW_UNIX_S).num_entries == 0
    journal.close()
    journal = open_journal(None)
    assert journal.purge(NOW_UNIX_S + 9e9).num_entries == 0


def test_damaged_journals_are_deleted_too(open_journal: OpenJournal, path: Path) -> None:
    open_journal().close()
    secret = tokens(1, 6)
    path.write_bytes(marks(secret)[0] * 999)
    journal = open_journal(30)
    journal.purge(time.time() + 6 * DAY_S)
    assert traces(path.parent, marks(secret)) != set()
    journal.purge(time.time() + 8 * DAY_S)
    assert traces(path.parent, marks(secret)) == set()
    journal.close()
    path.write_bytes(marks(secret)[0] * 999)
    open_journal().delete(before_unix_s=0.0)
    assert traces(path.parent, marks(secret)) == set()


def test_the_oldest_lines_go_when_it_is_as_large_as_it_may_be(open_journal: OpenJournal, path: Path) -> None:
    max_bytes = 1 << 20
    journal = open_journal(max_bytes=max_bytes)
    words = tokens(600, 7)
    fill(journal, words, NOW_UNIX_S)  # 600 × 6 kB
    found = texts(path)
    assert found == [f"You pick up the {word}." for word in words[-len(found) :]]
    assert 100 < len(found) < 250
    assert traces(path.parent, marks(words[: -len(found)])) == set()
    journal.close()
    assert path.stat().st_size <= max_bytes * 1.05


def test_lines_of_a_clock_that_was_not_set_stay_until_what_came_after_them_is_old(
    open_journal: OpenJournal, path: Path
) -> None:
    journal = open_journal(7)
    journal.write(line("early", 50.0))  # 1970
    journal.write(line("seven days ago", NOW_UNIX_S - 7 * DAY_S))
    journal.write(line("late", 4e9))  # 2096
    journal.write(line("today", NOW_UNIX_S))
    assert journal.purge(NOW_UNIX_S).num_entries == 0
    assert journal.purge(NOW_UNIX_S + DAY_S).num_entries == 2
    assert texts(path) == ["today", "late"]
    assert journal.purge(NOW_UNIX_S + 8 * DAY_S).num_entries == 2


@pytest.mark.parametrize("wrong_unix_s", [50.0, 4e9])
def test_a_clock_that_is_put_right_puts_its_lines_right(
    wrong_unix_s: float, open_journal: OpenJournal, path: Path
) -> None:
    journal = open_journal(7)
    journal.write(line("yesterday", NOW_UNIX_S - DAY_S))
    journal.close()
    journal = open_journal(7)
    journal.write(line("at the start", wrong_unix_s))
    journal.write(line("a minute later", wrong_unix_s + 60))
    journal.note_step(NOW_UNIX_S - (wrong_unix_s + 90), NOW_UNIX_S)
    journal.write(line("now", NOW_UNIX_S))
    journal.flush()
    assert texts(path) == ["yesterday", "at the start", "a minute later", "now"]
    assert entries(path)[2].at_unix_s == pytest.approx(NOW_UNIX_S - 30)


@pytest.mark.parametrize("to_unix_s", [50.0, NOW_UNIX_S - 3600, NOW_UNIX_S + 3600])
def test_lines_of_a_clock_that_may_have_been_right_keep_their_date(
    to_unix_s: float, open_journal: OpenJournal, path: Path
) -> None:
    journal = open_journal(7)
    journal.write(line("before", NOW_UNIX_S))
    journal.note_step(to_unix_s - NOW_UNIX_S, to_unix_s)
    journal.flush()
    assert entries(path)[0].at_unix_s == NOW_UNIX_S
