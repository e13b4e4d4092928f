"""Questions about the past of a scripted day are answered from the journal, those about what is seen are not."""

import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from assistant.journal.memory import MAX_CHARS, MAX_LINES, notes_of, recollect, told
from assistant.journal.writer import Journal, JournalLine
from tests.assistant.journal_day import DAY, LATER_QUESTIONS, NOW, NOW_UNIX_S, QUESTIONS

TWO_HOURS_S = 7200.0


def seconds_ago(line: str) -> float:
    """Of a line such as "07:15 You pick up the salt."; what is not of today is long ago."""
    if not re.match(r"\d\d:\d\d ", line):
        return 86400.0
    return NOW_UNIX_S - (DAY + timedelta(hours=int(line[:2]), minutes=int(line[3:5]))).timestamp()


def test_what_was_hours_ago_is_answered_in_its_own_words(journal_of_days: Path) -> None:
    """Every question whose answer lies two hours or more back: the line that answers it is read out."""
    asked = [(q, needed) for q, needed in QUESTIONS + LATER_QUESTIONS if seconds_ago(needed) >= TWO_HOURS_S]
    missed = []
    for question, needed in asked:
        found = recollect(journal_of_days, question, NOW_UNIX_S, NOW_UNIX_S - 90)
        if needed not in notes_of(found, NOW_UNIX_S):
            missed.append(question)
    print(f"{len(asked) - len(missed)} of {len(asked)} answered; not: {missed}")
    assert len(asked) >= 30
    assert len(missed) <= 0.2 * len(asked)


@pytest.mark.parametrize(
    "question",
    [
        "What am I holding?",
        "What is on the table?",
        "What next?",
        "Is the stove on?",
        "",
        "?'\"*",
    ],
)
def test_the_present_is_the_models_to_see(journal_of_days: Path, question: str) -> None:
    assert recollect(journal_of_days, question, NOW_UNIX_S, NOW_UNIX_S - 90) == []


def test_what_the_model_still_sees_is_its_own_to_answer(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal.open(path, None)
    for seconds, text in ((7200, "You pick up the salt."), (3600, "You pour the milk."), (30, "You pick up the salt.")):
        journal.write(JournalLine("remark", NOW_UNIX_S - seconds, 0.0, "camera:0", text))
    journal.close()
    assert recollect(path, "When did I pick up the salt?", NOW_UNIX_S, NOW_UNIX_S - 90) == []
    (milk,) = recollect(path, "Did I pour the milk?", NOW_UNIX_S, NOW_UNIX_S - 90)
    assert milk.text == "You pour the milk."
    assert recollect(path, "Did I pour the milk?", NOW_UNIX_S, NOW_UNIX_S - 4000) == []


def test_it_is_told_in_sentences(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    now = datetime.combine(DAY, datetime.strptime(NOW, "%H:%M").time())
    journal = Journal.open(path, None)
    for at, kind, text in (
        (now - timedelta(days=1), "remark", "You water the fern."),
        (now - timedelta(hours=3), "remark", "You water the basil."),
        (now - timedelta(hours=2), "answer", "Oil is next."),
    ):
        journal.write(JournalLine(kind, at.timestamp(), 0.0, "camera:0", text))
    journal.close()
    found = recollect(path, "What did I water?", NOW_UNIX_S, NOW_UNIX_S - 90)
    hour = now - timedelta(hours=3)
    assert told(found, NOW_UNIX_S) == (
        f"Yesterday {now:%H:%M}, you water the fern. At {hour:%H:%M}, you water the basil."
    )
    assert len(found) <= MAX_LINES
    assert sum(len(line) + 1 for line in notes_of(found, NOW_UNIX_S)) <= MAX_CHARS


def test_without_a_journal_nothing_is_remembered(tmp_path: Path) -> None:
    assert recollect(tmp_path / "none.db", "What did I do this morning?", NOW_UNIX_S, NOW_UNIX_S) == []
