"""What was committed is there, what was deleted is gone, and whatever happens to the file, nothing raises."""

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
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
from assistant.journal.reading import Entry, entries, thumbnail
from assistant.journal.writer import Journal
from tests.assistant.journals import NOW_UNIX_S, OpenJournal, line, num_damages, texts, traces

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(journal_path: Path) -> Path:
    return journal_path


@pytest.fixture
def warnings(journal_warnings: list[str]) -> list[str]:
    return journal_warnings


# What is written, and how it is read


def test_a_line_comes_back_as_it_was_written(open_journal: OpenJournal, path: Path) -> None:
    journal = open_journal()
    asked = journal.write(line("What am I holding?", kind="query", query_id=7, time_s=12.0))
    journal.write(
        line("You look around.", NOW_UNIX_S + 1, silence_prob=0.25, thumbnail=b"\xff\xd8picture", time_s=12.5)
    )
    answer = journal.write(line("The Salz — 盐 🧂.", NOW_UNIX_S + 2, "answer", query_id=7, time_s=13.0))
    journal.write(line("An answer to nothing.", NOW_UNIX_S + 3, "answer", query_id=8))
    assert journal.flush()
    found = entries(path)
    assert found[0] == Entry(asked, NOW_UNIX_S, "query", 12.0, "camera:0", "What am I holding?", None, None, False)
    assert (found[1].silence_prob, found[1].has_thumbnail) == (0.25, True)
    assert thumbnail(path, found[1].id) == b"\xff\xd8picture"
    assert thumbnail(path, asked) is None
    assert (found[2].id, found[2].query_id, found[2].text) == (answer, asked, "The Salz — 盐 🧂.")
    assert found[3].query_id is None


def test_lines_are_chosen_by_time_kind_source_and_words(open_journal: OpenJournal, path: Path) -> None:
    journal = open_journal()
    for index, (kind, text, source) in enumerate(
        [
            ("remark", "You cut the tomato.", "camera:0"),
            ("query", "What next?", "camera:0"),
            ("answer", "Keep cutting tomatoes.", "camera:0"),
            ("note", "Crème brûlée", "lunch.mp4"),
        ]
    ):
        journal.write(line(text, NOW_UNIX_S + index, kind, source=source))
    journal.flush()
    assert texts(path, newest_first=True)[0] == "Crème brûlée"
    assert texts(path, limit=1) == ["You cut the tomato."]
    assert texts(path, since_unix_s=NOW_UNIX_S + 1, until_unix_s=NOW_UNIX_S + 2) == ["What next?"]
    assert texts(path, kinds=("query", "answer")) == ["What next?", "Keep cutting tomatoes."]
    assert texts(path, kinds=()) == []
    assert texts(path, source="lunch.mp4") == ["Crème brûlée"]
    assert texts(path, search="TOMATO cuts") == ["You cut the tomato.", "Keep cutting tomatoes."]
    assert texts(path, search="creme brulee") == ["Crème brûlée"]
    assert texts(path, search="tomato next") == []
    assert len(texts(path, search="  ")) == 4
    assert texts(path, search='"*!') == []


def test_lines_are_committed_by_flush_or_after_a_second(open_journal: OpenJournal, path: Path) -> None:
    journal = open_journal()
    journal.write(line("one"))
    journal.flush_due()
    assert texts(path) == []
    journal.flush()
    assert texts(path) == ["one"]
    journal.write(line("two"))
    time.sleep(1.05)
    assert texts(path) == ["one"]
    journal.flush_due()
    assert texts(path) == ["one", "two"]
    journal.write(line("three"))
    journal.close()
    assert texts(path) == ["one", "two", "three"]


def test_what_is_too_long_is_cut_and_what_is_no_text_is_replaced(open_journal: OpenJournal, path: Path) -> None:
    journal = open_journal()
    journal.write(line("long " * 2000, source="s" * 999, thumbnail=b"x" * (1 << 20)))
    journal.write(line("half \ud83d a pair, and a \0 zero", silence_prob=float("nan"), source="\udcff"))
    assert journal.flush()
    long, odd = entries(path)
    assert (len(long.text), len(long.source), long.has_thumbnail) == (4000, 200, False)
    assert (odd.text, odd.silence_prob) == ("half ? a pair, and a   zero", None)
    assert texts(path, search="zero") == [odd.text]
    with pytest.raises(AssertionError):
        journal.write(line("…", kind="gossip"))
    with pytest.raises(AssertionError):
        journal.write(line("…", at_unix_s=float("nan")))


def test_numbers_are_never_given_twice(open_journal: OpenJournal) -> None:
    journal = open_journal()
    first = journal.write(line("one"))
    journal.delete(everything=True)
    journal.close()
    assert open_journal().write(line("two")) > first


# Whose file it is


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


# Damage, full disks, kills


def damage_header(data: bytearray) -> None:
    data[:100] = b"\0" * 100


def damage_middle(data: bytearray) -> None:
    data[4096 * 2 :] = random.Random(1).randbytes(len(data) - 4096 * 2)


def damage_end(data: bytearray) -> None:
    del data[len(data) // 2 :]


@pytest.mark.parametrize("damage", [damage_header, damage_middle, damage_end])
def test_a_damaged_journal_is_set_aside(
    open_journal: OpenJournal, path: Path, warnings: list[str], damage: Callable[[bytearray], None]
) -> None:
    journal = open_journal()
    for index in range(500):
        journal.write(line(f"You pick up thing {index}."))
    journal.close()
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)
    journal = open_journal()
    assert len(warnings) == 1
    assert "set aside as journal.db.damaged-1" in warnings[0]
    assert (path.parent / "journal.db.damaged-1").read_bytes() == bytes(data)
    journal.write(line("new"))
    assert journal.flush()
    assert texts(path) == ["new"]


def test_only_three_damaged_journals_are_kept(open_journal: OpenJournal, path: Path, warnings: list[str]) -> None:
    for _ in range(5):
        open_journal().close()
        path.write_bytes(b"nonsense" * 999)
    open_journal()
    assert [name.name for name in files_set_aside(path)] == [f"journal.db.damaged-{k}" for k in (3, 4, 5)]
    assert len(warnings) == 5


def test_damage_while_it_is_open_loses_no_new_line_and_raises_nothing(
    open_journal: OpenJournal, path: Path, warnings: list[str]
) -> None:
    journal = open_journal()
    for index in range(500):
        journal.write(line(f"old {index}", thumbnail=b"picture" * 1500))  # more than SQLite keeps in memory
    journal.delete(ids=[1])  # empties the WAL into the file
    data = bytearray(path.read_bytes())
    damage_middle(data)
    with path.open("r+b") as file:
        file.write(data)
    with pytest.raises(JournalError, match="puts it right at its next start"):
        entries(path, search="old", limit=10)
    journal.write(line("new"))
    assert journal.delete(ids=[2]).is_done
    assert texts(path) in (["new"], [])  # written before or after the damage was found
    journal.write(line("newer"))
    assert journal.flush()
    assert texts(path)[-1] == "newer"
    assert len(warnings) == 1
    assert journal.num_dropped == 0


def test_a_broken_index_of_words_is_made_anew(open_journal: OpenJournal, path: Path, warnings: list[str]) -> None:
    journal = open_journal()
    journal.write(line("You pick up the salt."))
    journal.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DELETE FROM words_data WHERE id > 10")
    with pytest.raises(JournalError):
        entries(path, search="salt")
    open_journal()
    assert texts(path, search="salt") == ["You pick up the salt."]
    assert warnings == []


def test_a_file_that_is_removed_while_it_is_open_is_begun_anew(open_journal: OpenJournal, path: Path) -> None:
    journal = open_journal()
    journal.write(line("old"))
    journal.flush()
    path.unlink()
    journal.write(line("new"))
    assert journal.flush()
    assert texts(path) == ["new"]


def test_a_full_disk_is_one_warning_and_the_journal_goes_on_when_there_is_room(
    open_journal: OpenJournal, path: Path, warnings: list[str]
) -> None:
    journal = open_journal()
    journal.write(line("before"))
    journal.flush()
    limit_pages(journal, 40)
    num_kept = sum(write_and_flush(journal, "word " * 400) for _ in range(200))
    assert 5 < num_kept < 100
    assert journal.num_dropped == 200 - num_kept
    assert len(warnings) == 1
    assert "full" in warnings[0]
    assert len(texts(path)) == 1 + num_kept
    limit_pages(journal, 1 << 30)
    assert write_and_flush(journal, "after")
    assert texts(path)[-1] == "after"
    assert len(warnings) == 1
    assert num_damages(path) == 0


def limit_pages(journal: Journal, num_pages: int) -> None:
    journal._connection.attempt(lambda db: db.execute(f"PRAGMA max_page_count = {num_pages}"))


def write_and_flush(journal: Journal, text: str) -> bool:
    journal.write(line(text))
    return journal.flush()


FULL_DISK = """
import resource, sys
from pathlib import Path
from assistant.journal.writer import Journal, JournalLine
warnings = []
journal = Journal.open(Path(sys.argv[1]), None, warn=warnings.append)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
kept = [0, 0]
for index in range(300):
    if index == 200:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.write(JournalLine("remark", float(index), 0.0, "camera:0", f"secret{index} " + "word " * 400))
    kept[index >= 200] += journal.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
deleted = journal.delete(everything=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(*kept, journal.num_dropped, len(warnings), deleted.is_done, deleted.is_gone)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits are POSIX's")
def test_when_the_system_refuses_to_write_lines_are_dropped_but_all_can_still_be_deleted(path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    kept, kept_later, num_dropped, num_warnings, is_done, is_gone = said.stdout.split()
    assert 0 < int(kept) < 200
    assert int(kept_later) == 100
    assert int(num_dropped) == 200 - int(kept)
    assert int(num_warnings) <= 2  # one for the writing, one for the deletion
    assert (is_done, is_gone) == ("True", "True")
    assert traces(path.parent, [b"secret"]) == set()


WRITER = """
import sys, time
from pathlib import Path
from assistant.journal.writer import Journal, JournalLine
path, is_early, k = Path(sys.argv[1]), sys.argv[2] == "early", int(sys.argv[3])
journal = Journal.open(path, None, warn=lambda text: print("warning", text, flush=True))
while True:
    said = []
    for _ in range(150 if k % 3 == 0 else 2):  # large commits take a while: that is when a kill would do damage
        k += 1
        text = f"word{k} " + "more " * (k % 50)
        line = JournalLine("remark", time.time(), 0.0, "camera:0", text, thumbnail=b"picture" * (k % 900))
        number = journal.write(line)
        said.append(f"{number}:word{k}")
    if is_early or journal.flush():
        print(*said, flush=True)
    if k % 30 == 0 and not is_early:
        print("deleting", flush=True)
        journal.delete(ids=[1])
"""


def kill_writers(path: Path, times: int, how: str) -> set[str]:
    """Kill a writer at some moment, again and again; the lines that it said were committed, and that are not there."""
    clock = random.Random(5)
    reported: set[str] = set()
    for round_number in range(times):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, path, how, str(round_number * 10_000)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        said = [writer.stdout.readline()]
        time.sleep(clock.uniform(0, 0.15))
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.read().splitlines(keepends=True)
        writer.wait(10)
        whole = [words for words in said if words.endswith("\n") and words != "deleting\n"]
        assert not any(words.startswith("warning") for words in whole), whole
        reported |= {word for words in whole for word in words.split() if not word.startswith("1:")}
        if round_number % 2 and how == "committed":  # every other time, a reader comes before the next writer
            assert reported <= committed(path)
    print(f"{times} kills, {len(reported)} lines reported")
    assert len(reported) > 2 * times
    assert num_damages(path) == 0
    return reported - committed(path)


def committed(path: Path) -> set[str]:
    return {f"{entry.id}:{entry.text.split()[0]}" for entry in entries(path)}


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_kill_loses_no_line_that_was_said_to_be_committed(path: Path) -> None:
    assert kill_writers(path, 25, "committed") == set()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_kill_would_show_lines_that_were_reported_too_early(path: Path) -> None:
    until_s = time.monotonic() + 60  # most kills hit what was reported and not yet written, but none must
    while not kill_writers(path, 1, "early"):
        assert time.monotonic() < until_s


READER = """
import sys, time
from pathlib import Path
from assistant.journal.reading import entries
path, last = Path(sys.argv[1]), 0
while last < 1500:
    found = entries(path)
    numbers = [int(entry.text.split()[1]) for entry in found]
    assert numbers == list(range(len(numbers))), numbers
    assert len(numbers) >= last
    last = len(numbers)
    assert len(entries(path, search="thing")) >= last
    print(last, flush=True)
"""


def test_another_process_reads_while_lines_are_written(open_journal: OpenJournal, path: Path) -> None:
    journal = open_journal()
    reader = subprocess.Popen([sys.executable, "-c", READER, path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "0\n"
    for index in range(1500):
        journal.write(line(f"Thing {index}", NOW_UNIX_S + index))
        if index % 5 == 0:
            assert journal.flush()
    assert journal.flush()
    counts = [int(count) for count in reader.stdout.read().split()]
    assert reader.wait(30) == 0
    assert counts[-1] == 1500
    assert len(set(counts)) > 3, "it never saw the journal grow"


def test_a_lock_that_is_held_for_long_costs_no_lines(
    open_journal: OpenJournal, path: Path, warnings: list[str]
) -> None:
    journal = open_journal()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        journal.write(line("one"))
        assert not journal.flush()
        assert not journal.delete(everything=False, ids=[1]).is_done
        other.execute("ROLLBACK")
    assert journal.flush()
    assert texts(path) == ["one"]
    assert (len(warnings), journal.num_dropped) == (1, 0)
