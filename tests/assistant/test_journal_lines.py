"""Lines of the journal come back as they were written once they are committed, and are found by time, kind and word."""

import time
from pathlib import Path

import pytest

from assistant.journal.reading import Entry, entries, thumbnail
from tests.assistant.journals import NOW_UNIX_S, OpenJournal, line, texts


@pytest.fixture
def path(journal_path: Path) -> Path:
    return journal_path


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
