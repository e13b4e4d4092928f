"""What is searched for in a journal, the files that are made of it, and its thread."""

import io
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistant.config.keys import PrivacySection
from assistant.journal.export import write_jsonl, write_markdown, write_srt
from assistant.journal.reading import entries
from assistant.journal.thread import Calendar, Forget, JournalThread, run_journal
from assistant.journal.writer import Deleted, Journal, JournalLine
from assistant.runtime.mailbox import Mailbox
from assistant.watch.output import Subtitles
from tests.assistant.journals import DAY_S, NOW_UNIX_S, OpenJournal, line, texts
from train.recordings.journal import read_journal


@pytest.fixture
def path(journal_path: Path) -> Path:
    return journal_path


# Whatever is searched for


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("searched") / "journal" / "journal.db"
    journal = Journal.open(path, None)
    for index, text in enumerate(
        ("You pick up the salt.", "AND OR NOT NEAR(the, salt)", 'text: "quoted" * ^', "Ünïcode")
    ):
        journal.write(line(text, NOW_UNIX_S + index))
    journal.close()
    return path


SYNTAX = st.lists(
    st.sampled_from(
        [*"\"'*^+-:(){}[]\\,.;%_\0\n\ud800", "AND", "OR", "NOT", "NEAR", "NEAR(", "text:", " ", "salt", "é", "盐"]
    )
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    search=st.one_of(
        st.text(), SYNTAX.map("".join), SYNTAX.map(" ".join), st.binary().map(lambda b: b.decode("latin1"))
    )
)
def test_no_search_is_an_error(searched: Path, search: str) -> None:
    for found in (entries(searched, search=search), entries(searched, source=search)):
        assert len(found) <= 4


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.characters(codec="utf-8", categories=["L", "N", "P", "Zs", "S"]), max_size=40))
def test_a_line_is_found_by_its_own_words(searched: Path, text: str) -> None:
    journal = Journal.open(searched, None)
    number = journal.write(line(f"{text} zebra"))
    journal.close()
    assert number in {entry.id for entry in entries(searched, search=f"{text} zebra")}


# Files for others


def day_of_talk(journal: Journal) -> None:
    at_unix_s = time.mktime((2026, 3, 3, 8, 12, 0, 0, 0, -1))
    journal.write(line("You pick up the [red] mug.", at_unix_s, time_s=1.0, source="lunch.mp4", silence_prob=0.125))
    journal.write(line("What am I holding?", at_unix_s + 60, "query", time_s=4.0, source="lunch.mp4", query_id=1))
    journal.write(line("The red mug.", at_unix_s + 61, "answer", time_s=4.5, source="lunch.mp4", query_id=1))
    journal.write(line("Out of milk", at_unix_s + 62, "note", time_s=4.6, source="lunch.mp4"))
    journal.write(line("You put down the red\nmug.", at_unix_s + 3600, time_s=9.0, source="lunch.mp4"))
    assert journal.flush()


def test_jsonl_is_what_training_reads(open_journal: OpenJournal, path: Path, make_video, tmp_path: Path) -> None:
    make_video("lunch.mp4", seconds=1.0)
    day_of_talk(open_journal())
    target = tmp_path / "list.jsonl"
    with target.open("w", encoding="utf-8") as file:
        write_jsonl(entries(path), file)
    (recording,) = read_journal(target).recordings
    assert recording.video == tmp_path / "lunch.mp4"
    assert [(said.text, said.question) for said in recording.spoken] == [
        ("You pick up the [red] mug.", None),
        ("The red mug.", "What am I holding?"),
        ("You put down the red mug.", None),
    ]
    first = json.loads(target.read_text(encoding="utf-8").splitlines()[0])
    assert (first["time"], first["kind"], first["silence_prob"], first["source"]) == (1.0, "remark", 0.125, "lunch.mp4")
    assert first["at"].endswith("+00:00")


def test_jsonl_of_a_camera_names_the_video_that_it_is_told(open_journal: OpenJournal, path: Path) -> None:
    journal = open_journal()
    journal.write(line("You look around."))
    journal.flush()
    plain, named = io.StringIO(), io.StringIO()
    write_jsonl(entries(path), plain)
    write_jsonl(entries(path), named, video="film.mkv")
    assert "video" not in json.loads(plain.getvalue())
    assert json.loads(named.getvalue())["video"] == "film.mkv"


def test_srt_is_what_watching_writes(open_journal: OpenJournal, path: Path, tmp_path: Path) -> None:
    day_of_talk(open_journal())
    subtitles = Subtitles(tmp_path / "watched.srt")
    for time_s, text in (
        (1.0, "You pick up the [red] mug."),
        (4.5, "The red mug."),
        (9.0, "You put down the red mug."),
    ):
        subtitles.add(time_s, text)
    subtitles.close(is_whole=True)
    out = io.StringIO()
    write_srt(entries(path), out)
    assert out.getvalue() == (tmp_path / "watched.srt").read_text(encoding="utf-8")


def test_srt_of_two_runs_has_one_after_the_other(open_journal: OpenJournal, path: Path) -> None:
    journal = open_journal()
    for index, (time_s, text) in enumerate(((5.0, "First."), (60.0, "Second."), (2.0, "Again."))):
        journal.write(line(text, NOW_UNIX_S + index, time_s=time_s))
    journal.flush()
    out = io.StringIO()
    write_srt(entries(path), out)
    starts = [row.split(" --> ")[0] for row in out.getvalue().splitlines() if "-->" in row]
    assert starts == ["00:00:05,000", "00:01:00,000", "00:01:03,500"]


def test_markdown_is_a_day_by_the_hour(open_journal: OpenJournal, path: Path) -> None:
    day_of_talk(open_journal())
    out = io.StringIO()
    write_markdown(entries(path), out)
    assert out.getvalue() == (
        "# 2026-03-03\n\n## 08:00\n\n"
        "- 08:12 You pick up the \\[red\\] mug.\n"
        "- 08:13 **What am I holding?**\n"
        "  - 08:13 → The red mug.\n"
        "- 08:13 *Out of milk*\n"
        "\n## 09:00\n\n"
        "- 09:12 You put down the red mug.\n"
    )


# Its thread


def test_the_thread_writes_deletes_and_closes(open_journal: OpenJournal, path: Path) -> None:
    journal = open_journal(1)
    inbox = Mailbox[JournalLine | Forget](64, name="journal")
    thread = threading.Thread(target=run_journal, args=(inbox, journal))
    now_unix_s = time.time()
    inbox.put(line("too old", now_unix_s - 2 * DAY_S))
    inbox.put(line("one", now_unix_s))
    thread.start()
    wait_for(lambda: path.exists() and "one" in texts(path))
    done: list[Deleted] = []
    inbox.put(line("two", now_unix_s))
    inbox.put(Forget(done.append, ids=(2,)))
    wait_for(lambda: bool(done))
    assert done == [Deleted(1, is_done=True, is_gone=True)]
    for index in range(50):
        inbox.put(line(f"last {index}", now_unix_s))
    inbox.close()
    thread.join(10)
    assert not thread.is_alive()
    assert texts(path) == ["two", *(f"last {index}" for index in range(50))]


def wait_for(is_so: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def test_only_a_clock_that_has_gone_well_for_an_hour_deletes():
    """1970 or 2100 for the first minutes, then put right: as computers start that forget the date."""
    calendar = Calendar(is_trusted=False)
    assert not calendar.note(4e9, 0.0)
    assert not calendar.note(4e9 + 3000, 3000.0)
    assert not calendar.note(1.8e9, 3600.0), "it was put"
    assert not calendar.note(1.8e9 + 3500, 7100.0)
    assert calendar.note(1.8e9 + 3600, 7200.0)
    trusted = Calendar(is_trusted=True)
    assert trusted.note(1.8e9, 0.0)
    assert trusted.note(1.8e9 + 61, 1.0), "a minute is no step"
    assert not trusted.note(4e9, 2.0)


def test_what_was_kept_is_not_deleted_by_a_wrong_date(open_journal: OpenJournal, path: Path) -> None:
    journal = open_journal(30)
    journal.write(line("long ago", time.time() - 200 * DAY_S))
    journal.flush()
    inbox = Mailbox[JournalLine | Forget](64, name="journal")
    thread = threading.Thread(target=run_journal, args=(inbox, journal))
    thread.start()
    inbox.put(line("now", time.time()))
    wait_for(lambda: "now" in texts(path))
    inbox.close()
    thread.join(10)
    assert texts(path) == ["long ago", "now"], "until the date is sure"


def test_a_step_of_the_clock_is_noticed_once():
    calendar = Calendar(is_trusted=True)
    steps = []
    for now_unix_s, now_s in ((100.0, 0.0), (101.0, 1.0), (1.8e9, 2.0), (1.8e9 + 1, 3.0)):
        calendar.note(now_unix_s, now_s)
        steps.append(calendar.step_s)
    assert steps == [0.0, 0.0, pytest.approx(1.8e9 - 102), 0.0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_leaves_the_file_to_the_next(path: Path) -> None:
    thread, section = JournalThread(path), PrivacySection(journal=True)
    thread.apply(section)

    def die(_: Deleted) -> None:
        raise SystemExit

    thread.forget(Forget(die, everything=True))
    wait_for(lambda: thread.has_died)
    thread.apply(section)
    thread.keep(line("after it", time.time()))
    wait_for(lambda: texts(path) == ["after it"])
    thread.close()
