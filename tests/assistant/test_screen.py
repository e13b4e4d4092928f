"""What a real X server shows, at the rate that is asked for."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.capture.source import parse_source
from assistant.capture.worker import run_capture
from assistant.errors import SourceMissing, UsageError
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.messages import Event, Frame


@pytest.fixture
def display(tmp_path: Path, monkeypatch) -> Iterator[str]:
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "1600x900x24", "-noreset", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=(writer,), stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        name = f":{pipe.readline().strip()}"
    monkeypatch.setenv("DISPLAY", name)
    yield name
    server.terminate()
    server.wait(10)


def paint(colour: str) -> None:
    subprocess.run(["xsetroot", "-solid", colour], check=True, timeout=10)


def capture(frames: Mailbox[Frame], events: list[Event], stop: threading.Event, name: str = "screen:1") -> None:
    source = parse_source(name)
    run_capture(source, frames, events.append, stop, fps=5, timeout_s=2, lossless=False)


def test_what_the_screen_shows_is_seen(display):
    paint("#c02040")
    frames, stop = Mailbox[Frame](100, name="frames"), threading.Event()
    thread = threading.Thread(target=capture, args=(frames, [], stop))
    thread.start()
    try:
        first = frames.take(timeout_s=20)
        assert first is not None
        assert first.pixels.shape == (720, 1280, 3)
        assert first.pixels[300, 600].tolist() == [0xC0, 0x20, 0x40]
        paint("#10b030")
        seen = [frames.take(timeout_s=5) for _ in range(10)]
        assert all(seen)
        assert seen[-1].pixels[300, 600].tolist() == [0x10, 0xB0, 0x30]  # type: ignore[union-attr]
        assert seen[-1].time_s - seen[0].time_s == pytest.approx(9 / 5, abs=0.3)  # type: ignore[union-attr]
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


def test_a_screen_that_is_not_there_is_named(display, monkeypatch):
    with pytest.raises(SourceMissing, match="there are 1 screens"):
        capture(Mailbox[Frame](9, name="frames"), [], threading.Event(), "screen:3")
    monkeypatch.delenv("DISPLAY")
    with pytest.raises(SourceMissing, match="no X display"):
        capture(Mailbox[Frame](9, name="frames"), [], threading.Event())
    monkeypatch.setenv("DISPLAY", ":999")
    with pytest.raises(SourceMissing, match="cannot be read"):
        capture(Mailbox[Frame](9, name="frames"), [], threading.Event())
    with pytest.raises(UsageError, match="screen:N"):
        parse_source("screen:left")
