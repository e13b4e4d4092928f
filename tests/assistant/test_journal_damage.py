"""A journal that is damaged, removed or on a full disk raises nothing, is set aside or begun anew, and is warned of."""

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from assistant.journal.file import JournalError, files_set_aside
from assistant.journal.reading import entries
from assistant.journal.writer import Journal
from tests.assistant.journals import OpenJournal, line, num_damages, texts, traces

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(journal_path: Path) -> Path:
    return journal_path


@pytest.fixture
def warnings(journal_warnings: list[str]) -> list[str]:
    return journal_warnings


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
