"""A writer of the journal is killed, read from meanwhile, or locked out: no committed line is lost."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from assistant.journal.reading import entries
from tests.assistant.journals import NOW_UNIX_S, OpenJournal, line, num_damages, texts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(journal_path: Path) -> Path:
    return journal_path


@pytest.fixture
def warnings(journal_warnings: list[str]) -> list[str]:
    return journal_warnings


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
