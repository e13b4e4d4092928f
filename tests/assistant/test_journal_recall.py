"""Questions find the lines that they are about: by time, by words, by other events; and no question is an error."""

import random
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistant.journal.memory import notes_of
from assistant.journal.reading import entries
from assistant.journal.recall import recall_entries
from assistant.journal.times import read_time, time_span
from assistant.journal.writer import Journal, JournalLine
from tests.assistant.journal_day import DAY, LATER_QUESTIONS, NOW_LOCAL, NOW_UNIX_S, QUESTIONS, TODAY
from tests.pace import pace


def recall(path: Path, question: str, now_unix_s: float, max_lines: int = 8, max_chars: int = 600, **rest) -> list[str]:
    """The lines that are found, in order of time."""
    found = recall_entries(path, question, now_unix_s, max_lines=max_lines, max_chars=max_chars, **rest)
    return list(notes_of(sorted(found, key=lambda entry: (entry.at_unix_s, entry.id)), now_unix_s))


# The day


def test_questions_find_the_line_that_they_are_about(journal_of_days: Path) -> None:
    assert len(TODAY.strip().splitlines()) >= 200
    figures = {}
    for name, questions in (("first", QUESTIONS), ("later", LATER_QUESTIONS)):
        missed = [
            question for question, needed in questions if needed not in recall(journal_of_days, question, NOW_UNIX_S)
        ]
        figures[name] = 1 - len(missed) / len(questions)
        print(f"{name}: {len(questions) - len(missed)} of {len(questions)} found; missed: {missed}")
    assert min(figures.values()) >= 0.8


def test_the_day_is_not_answered_by_its_last_lines_nor_by_any_lines(journal_of_days: Path) -> None:
    lines = [(f"{datetime.fromtimestamp(entry.at_unix_s):%H:%M} {entry.text}") for entry in entries(journal_of_days)]
    chance = random.Random(1)
    for choose in (lambda: lines[-8:], lambda: chance.sample(lines, 8)):
        num_found = sum(needed in choose() for _, needed in QUESTIONS + LATER_QUESTIONS)
        assert num_found <= 0.15 * len(QUESTIONS + LATER_QUESTIONS)


def test_a_morning_is_told_from_its_start_to_its_end(journal_of_days: Path) -> None:
    found = recall(journal_of_days, "What did I do this morning?", NOW_UNIX_S)
    assert len(found) == 8
    assert found == sorted(found)
    assert found[0] < "07:10"
    assert "11:00" < found[-1] < "12:00"


def test_lines_are_few_and_short_and_older_than_they_must_be(journal_of_days: Path) -> None:
    question = "When did I last take the salt?"
    assert recall(journal_of_days, question, NOW_UNIX_S, max_lines=2)[-1].startswith("12:0")
    assert sum(len(found) + 1 for found in recall(journal_of_days, question, NOW_UNIX_S, max_chars=100)) <= 100
    before_unix_s = (DAY + timedelta(hours=10)).timestamp()
    assert recall(journal_of_days, question, NOW_UNIX_S, before_unix_s=before_unix_s)[-1].startswith("07:")
    assert recall(journal_of_days, question, NOW_UNIX_S, max_lines=0) == []


def test_lines_of_other_days_say_so(journal_of_days: Path) -> None:
    tomorrow = NOW_UNIX_S + 86400
    assert "Mon 2 Mar 22:10 You lock the front door." in recall(journal_of_days, "Did I lock the door?", tomorrow)
    assert "yesterday 20:24 You lock the front door." in recall(journal_of_days, "Did I lock the door?", tomorrow)
    assert "2026-03-03 20:24 You lock the front door." in recall(
        journal_of_days, "Did I lock the door?", NOW_UNIX_S + 400 * 86400
    )


def test_what_was_never_seen_is_not_remembered(journal_of_days: Path) -> None:
    assert recall(journal_of_days, "Where is my umbrella?", NOW_UNIX_S) == []
    assert recall(journal_of_days, "", NOW_UNIX_S) == []
    assert recall(journal_of_days, "What will happen tomorrow?", NOW_UNIX_S) == []
    assert recall(journal_of_days.with_name("none.db"), "Where is my phone?", NOW_UNIX_S) == []


def test_questions_are_not_answered_by_questions(journal_of_days: Path) -> None:
    assert not any("you asked" in found for found in recall(journal_of_days, "Where is my phone?", NOW_UNIX_S))
    assert any("you asked" in found for found in recall(journal_of_days, "Did I ask where my phone is?", NOW_UNIX_S))


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[tuple[Journal, Path]]:
    path = tmp_path / "journal" / "journal.db"
    journal = Journal.open(path, None)
    yield journal, path
    journal.close()


def test_a_year_of_lines_is_searched_in_a_moment(empty: tuple[Journal, Path]) -> None:
    journal, path = empty
    words = ["cup", "pan", "book", "phone", "door", "lamp", "chair"]
    source = random.Random(2)
    for index in range(20_000):
        at_unix_s = NOW_UNIX_S - 365 * 86400 * (1 - index / 20_000)
        journal.write(JournalLine("remark", at_unix_s, 0.0, "camera:0", f"You pick up the {source.choice(words)}."))
    journal.write(JournalLine("remark", NOW_UNIX_S - 60, 0.0, "camera:0", "You take the last cup."))
    journal.flush()
    start = datetime.now()
    for question in ("When did I last take the cup?", "What did I do last week?", "Where is my phone?"):
        assert len(recall(path, question, NOW_UNIX_S)) == 8
    assert (datetime.now() - start).total_seconds() < 3 * pace()


def test_a_new_line_is_remembered_at_once(empty: tuple[Journal, Path]) -> None:
    journal, path = empty
    journal.write(JournalLine("remark", NOW_UNIX_S, 0.0, "camera:0", "You put the passport in the safe."))
    assert recall(path, "Where is my passport?", NOW_UNIX_S + 1) == []
    journal.flush()
    assert recall(path, "Where is my passport?", NOW_UNIX_S + 1) == ["20:30 You put the passport in the safe."]


# When a question is about; now is Tuesday, 3 March 2026, 20:30


@pytest.mark.parametrize(
    ("question", "start", "end"),
    [
        ("What did I do this morning?", "03 05:00", "03 12:00"),
        ("what did I do early this morning", "03 05:00", "03 08:30"),
        ("this afternoon", "03 12:00", "03 18:00"),
        ("tonight", "03 18:00", "03 20:30"),
        ("Last night?", "02 18:00", "03 05:00"),
        ("yesterday", "02 00:00", "03 00:00"),
        ("yesterday evening", "02 17:00", "03 00:00"),
        ("the day before yesterday", "01 00:00", "02 00:00"),
        ("two days ago", "01 00:00", "02 00:00"),
        ("on Monday", "02 00:00", "03 00:00"),
        ("on Sunday morning", "01 05:00", "01 12:00"),
        ("on March 1st", "01 00:00", "02 00:00"),
        ("on the 2nd of March", "02 00:00", "03 00:00"),
        ("on 2026-03-01", "01 00:00", "02 00:00"),
        ("this week", "02 00:00", "03 20:30"),
        ("since yesterday", "02 00:00", "03 20:30"),
        ("an hour ago", "03 19:15", "03 19:45"),
        ("half an hour ago", "03 19:52", "03 20:07"),
        ("an hour and a half ago", "03 18:37", "03 19:22"),
        ("ten minutes ago", "03 20:17", "03 20:22"),
        ("in the last two hours", "03 18:30", "03 20:30"),
        ("just now", "03 20:20", "03 20:30"),
        ("What was I doing at 3?", "03 14:45", "03 15:30"),
        ("at 9?", "03 08:45", "03 09:30"),
        ("at 3 in the morning", "03 02:45", "03 03:30"),
        ("at 3 pm yesterday", "02 14:45", "02 15:30"),
        ("at 15:20", "03 15:12", "03 15:32"),
        ("at half past three", "03 15:22", "03 15:42"),
        ("at a quarter to one", "03 12:37", "03 12:57"),
        ("at 22", "02 21:45", "02 22:30"),
        ("at 22:00", "02 21:52", "02 22:12"),
        ("before lunch", "03 00:00", "03 12:45"),
        ("after lunch", "03 12:45", "03 20:30"),
        ("at noon", "03 11:45", "03 12:15"),
        ("since 2 o’clock", "03 14:00", "03 20:30"),
        ("before 10 am", "03 00:00", "03 10:00"),
        ("between 2 and 4", "03 14:00", "03 16:00"),
        ("from 11 to 1", "03 11:00", "03 13:00"),
        ("between 2 and 3 am", "03 02:00", "03 03:00"),
        ("from 9 to 11 am", "03 09:00", "03 11:00"),
        ("from 11 to 1 pm", "03 11:00", "03 13:00"),
        ("between 10 and 12 am", "02 22:00", "03 00:00"),
    ],
)
def test_times_are_understood(question: str, start: str, end: str) -> None:
    span = time_span(question, NOW_LOCAL)
    assert span is not None
    assert (f"{span[0]:%d %H:%M}", f"{span[1]:%d %H:%M}") == (start, end)


@pytest.mark.parametrize(
    "question",
    [
        "Where are my keys?",
        "When did I last take the salt?",
        "Did I take 2 eggs?",
        "after 2 eggs",
        "at one point",
        "tomorrow",
        "at 99",
        "on February 31",
        "99999 days ago",
        "",
    ],
)
def test_where_no_time_is_named_none_is_understood(question: str) -> None:
    assert time_span(question, NOW_LOCAL) is None


def test_the_time_of_asking_decides() -> None:
    morning, small_hours = datetime(2026, 3, 3, 9), datetime(2026, 3, 3, 1)
    assert time_span("at 3", morning) == (datetime(2026, 3, 2, 14, 45), datetime(2026, 3, 2, 15, 30))
    assert time_span("this evening", morning) is None
    assert time_span("before lunch", morning) == (datetime(2026, 3, 3), morning)
    assert time_span("tonight", small_hours) == (datetime(2026, 3, 2, 18), small_hours)
    assert time_span("last night", morning) == (datetime(2026, 3, 2, 18), datetime(2026, 3, 3, 5))
    assert time_span("on Tuesday", morning) == (datetime(2026, 2, 24), datetime(2026, 2, 25))


def test_what_is_left_of_a_question_has_no_time() -> None:
    when = read_time("Did I lock the door yesterday at half past ten?", NOW_LOCAL)
    assert when is not None
    assert when.rest == "did i lock the door ?"


WORDS = """
    at a an half quarter past to before after between from and 3 12 24 99 13:20 am pm noon midnight lunch this last the
    morning night evening yesterday tomorrow monday march 31 february 0 ago days hours weeks week ten minutes since
    until weekend when while first last thing just salt 盐 ' " * NEAR ) -
"""


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    question=st.one_of(st.lists(st.sampled_from(WORDS.split()), max_size=9).map(" ".join), st.text()),
    seconds=st.integers(0, 10**9),
)
def test_no_question_is_an_error(journal_of_days: Path, question: str, seconds: int) -> None:
    now_local = datetime(2001, 1, 1) + timedelta(seconds=seconds)
    if span := time_span(question, now_local):
        assert span[0] < now_local
        assert span[0] <= span[1] <= now_local
    found = recall(journal_of_days, question, NOW_UNIX_S)
    assert len(found) <= 8
    assert sum(len(row) + 1 for row in found) <= 600


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    "now_unix_s",
    [
        1774747800.0,  # 29 March 2026, 03:30: there was no half past two
        1792888200.0,  # 25 October 2026, 02:30 for the second time
    ],
)
@pytest.mark.parametrize("question", ["What did I do half an hour ago?", "What did I do an hour ago?"])
def test_an_hour_ago_is_that_also_when_summer_time_begins_or_ends(berlin, now_unix_s: float, question: str) -> None:
    when = read_time(question, datetime.fromtimestamp(now_unix_s))
    assert when is not None
    assert when.focus is not None
    past_s = 1800 if "half" in question else 3600
    assert when.focus.timestamp() == now_unix_s - past_s
    assert when.start.timestamp() < now_unix_s - past_s < when.end.timestamp() <= now_unix_s
