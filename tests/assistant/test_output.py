"""Times as people and subtitle players read them, JSON as programs do, and the figures of the end record."""

import io
import json

import pytest

from assistant.errors import OutputError
from assistant.runtime.messages import Seen, Words
from assistant.runtime.subtitles import srt_time
from assistant.watch.output import JsonLines, Subtitles, Terminal, clock
from assistant.watch.tally import PeakMemory, Tally, percentile
from model.stream import Decision


def test_clock():
    assert clock(0) == "00:00.0"
    assert clock(12.5) == "00:12.5"
    assert clock(59.999) == "00:59.9"
    assert clock(3725) == "1:02:05.0"
    assert srt_time(3725.25) == "01:02:05,250"


def test_subtitles_end_after_reading_time_or_at_the_next(tmp_path):
    path = tmp_path / "deep" / "a.srt"
    subtitles = Subtitles(path)
    subtitles.add(1.0, "You pick up the red mug.")
    subtitles.add(1.5, "You put down the red mug.")
    subtitles.add(30.0, "Ä.")
    subtitles.close(is_whole=True)
    assert path.read_text(encoding="utf-8") == (
        "1\n00:00:01,000 --> 00:00:01,500\nYou pick up the red mug.\n\n"
        "2\n00:00:01,500 --> 00:00:03,000\nYou put down the red mug.\n\n"
        "3\n00:00:30,000 --> 00:00:31,500\nÄ.\n\n"
    )


def test_subtitles_on_a_full_disk_are_one_message(tmp_path):
    path = tmp_path / "full.srt"
    path.symlink_to("/dev/full")
    subtitles = Subtitles(path)
    subtitles.add(1.0, "You pick up the red mug.")
    with pytest.raises(OutputError, match="No space left"):
        subtitles.add(2.0, "You put down the red mug.")


def seen(index: int, latency_s: float, *, speaks: bool = False) -> Seen:
    return Seen(index / 2, index, Decision(0.1 if speaks else 0.9, speaks), latency_s)


def test_tally_counts_silent_latencies_only():
    tally = Tally()
    for index in range(100):
        tally.note(seen(index, (index + 1) / 1000))
    tally.note(seen(100, 9.0, speaks=True))
    tally.note(Words(0, "", True, 50.0, None, 0.1, 9.0), "You look around.")
    tally.note(Words(1, "", True, 50.0, None, 0.1, 9.0), "")
    tally.note(Words(2, "", True, 50.0, 4, None, 9.0), "Nothing.")
    assert tally.num_frames == 101
    assert (tally.num_remarks, tally.num_answers) == (1, 1)
    assert tally.silent_latency_ms() == {"p50": 50.0, "p95": 95.0, "max": 100.0}
    assert tally.last_time_s == 50.0
    tally.note(Seen(50.5, 101, Decision(0.9, False), 3.0, behind_reply=True))
    assert tally.silent_latency_ms()["max"] == 3000.0
    assert tally.silent_latency_ms(alone=True)["max"] == 100.0


def test_percentile_is_a_value_that_was_seen():
    assert percentile([1.0], 95) == 1.0
    assert percentile([1.0, 2.0], 50) == 1.0
    assert percentile([1.0, 2.0], 51) == 2.0


def test_peak_memory_is_what_the_process_held():
    block = bytearray(300_000_000)
    block[::4096] = b"x" * len(block[::4096])
    del block
    memory = PeakMemory()
    memory.sample()
    assert memory.megabytes > 300


def test_terminal_lines():
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(out, err, has_bar=False)
    terminal.reply(12.5, "You pick up the red mug.", is_answer=False, silence_prob=0.1, latency_s=0.2)
    terminal.warn("the disk is full")
    terminal.end(Tally(), 3, "out/demo.wav (no sound device)")
    assert out.getvalue() == "[00:12.5] You pick up the red mug.\n"
    assert "onlooker: warning: the disk is full\n" in err.getvalue()
    assert "3 dropped" in err.getvalue()
    assert err.getvalue().endswith("speech: out/demo.wav (no sound device)\n")


def test_bar_follows_the_stream_and_leaves_the_lines_whole():
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(out, err, has_bar=True)
    terminal.opened(10.0)
    for index in range(21):
        terminal.seen(seen(index, 0.1))
        if index == 10:
            terminal.reply(5.0, "You wave.", is_answer=False, silence_prob=0.1, latency_s=0.2)
    terminal.end(Tally(), 0, None)
    assert out.getvalue() == "[00:05.0] You wave.\n"
    assert "10/10 s" in err.getvalue() or "100%" in err.getvalue()


def test_json_lines():
    out = io.StringIO()
    lines = JsonLines(out, io.StringIO())
    lines.frame(seen(3, 0.0123))
    lines.reply(1.5, "Häh?", is_answer=True, silence_prob=None, latency_s=0.5)
    lines.end(Tally(), 2, None)
    frame, answer, end = (json.loads(line) for line in out.getvalue().splitlines())
    assert frame == {
        "time": 1.5, "kind": "frame", "text": None, "silence_prob": 0.9, "latency_ms": 12.3, "index": 3
    }  # fmt: skip
    assert answer == {"time": 1.5, "kind": "answer", "text": "Häh?", "silence_prob": None, "latency_ms": 500.0}
    assert end["kind"] == "end"
    assert end["dropped_frames"] == 2
    assert end["latency_ms"] == {"p50": None, "p95": None, "max": None}
