"""One picture of a source, to see whether it works, and how the picture is."""

from __future__ import annotations

import threading
import time

from assistant.capture.source import Source
from assistant.capture.worker import run_capture
from assistant.errors import SourceMissing
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.messages import Frame
from assistant.runtime.threads import STOP_TIMEOUT_S, make_thread

TRIAL_S = 15.0
SETTLES_S = 1.5  # the first pictures of many cameras are dark
DARK, BRIGHT = 12, 245
"""Mean brightness, 0–255, below and above which a picture shows nothing."""


def try_source(source: Source, timeout_s: float) -> str:
    """Open the source, take pictures for a moment, close it; gives what the last one is like. Who
    sends to an address of ours is not waited for.

    timeout_s: as `run_capture`. Raises SourceMissing, MediaError or WorkerFailed if no picture comes.
    """
    if source.kind == "push":
        return "waits for who sends to it"
    frames, stop, failures = Mailbox[Frame](1, name="trial"), threading.Event(), []

    def work() -> None:
        try:
            run_capture(source, frames, lambda _: None, stop, fps=10.0, timeout_s=timeout_s, lossless=False)
        except Exception as error:
            failures.append(error)

    thread = make_thread("trial", work)
    thread.start()
    try:
        frame = _latest(frames, thread)
    finally:
        stop.set()
        frames.close()
        thread.join(STOP_TIMEOUT_S)
    if frame is None:
        raise failures[0] if failures else SourceMissing(f"{source.shown}: no picture came in {TRIAL_S:.0f} s")
    height, width, _ = frame.pixels.shape
    return f"{width} × {height} pixels{_light(float(frame.pixels.mean()))}"


def _latest(frames: Mailbox[Frame], thread: threading.Thread) -> Frame | None:
    """The last frame of the moment after the first one."""
    until_s, latest = time.monotonic() + TRIAL_S, None
    while time.monotonic() < until_s and (thread.is_alive() or len(frames)):
        frame = frames.take(timeout_s=0.2)
        if frame is not None and latest is None:
            until_s = min(until_s, time.monotonic() + SETTLES_S)
        latest = frame or latest
    return latest


def _light(mean: float) -> str:
    if mean < DARK:
        return ", almost black: is the lens covered?"
    return ", almost white: is it dazzled?" if mean > BRIGHT else ""
