"""The capture thread: starts the child, takes its pictures out of shared memory, paces them, and posts them.

A file is paced by its own clock, or, when lossless, as fast as the frames are taken. A child that crashes,
hangs or reports a failure ends the run with one message.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from assistant.capture.child import capture_main
from assistant.capture.protocol import (
    Alive,
    Failed,
    Finished,
    Picture,
    PictureMemory,
    Ready,
    Start,
    Warned,
)
from assistant.capture.source import Source
from assistant.capture.stillness import Stillness
from assistant.config.keys import CaptureSection
from assistant.errors import MediaError, SourceMissing, WorkerFailed
from assistant.runtime.children import Child
from assistant.runtime.mailbox import Mailbox, put_until, sleep_until
from assistant.runtime.messages import Ended, Event, Frame, Opened, Status
from assistant.runtime.states import State

START_TIMEOUT_S = 30.0  # a fresh interpreter on a busy machine, on top of the source's own time-out
END_GRACE_S = 0.3
WAIT_S = 0.1
MAX_WAIT_S = 1.0
"""No wait counts for more, so that a process that was stopped for a while (Ctrl-Z) takes nothing for lost."""

LISTENS_AFTER_S = 3.0  # a port that cannot be had is told of earlier
FILE_PATIENCE_S = 10.0  # more than `timeout_s`: nobody waits for the next moment of a file
STILL = {
    "black": "the picture is black: is the lens covered, or the light off?",
    "frozen": "the picture does not change at all: the camera may hang",
}


class _Silent(Exception):
    """The reader says nothing any more."""


@dataclass
class StreamPlace:
    """Where a stream stands, over all the times that its source is opened: since_s is the monotonic second of the
    stream's second 0, None before the first picture; index is the next frame's."""

    since_s: float | None = None
    index: int = 0


@dataclass(frozen=True)
class Turn:
    """How a camera is mounted. degrees: clockwise, a multiple of 90. mirror: left and right change sides, after it."""

    degrees: int = 0
    mirror: bool = False

    def apply(self, pixels_HW3: np.ndarray) -> np.ndarray:
        """A copy of its own."""
        turned = np.rot90(pixels_HW3, -self.degrees // 90)
        return np.array(turned[:, ::-1] if self.mirror else turned, order="C")


NO_TURN = Turn()


def turn_of(section: CaptureSection) -> Turn:
    """What the configuration says of the camera's mounting."""
    return Turn(section.rotate_degrees, section.mirror)


def run_capture(
    source: Source,
    frames: Mailbox[Frame],
    report: Callable[[Event], object],
    stop: threading.Event,
    *,
    fps: float,
    timeout_s: float,
    lossless: bool,
    turn: Turn = NO_TURN,
    place: StreamPlace | None = None,
) -> None:
    """Post the source's frames, `fps` a second of its own time, until it ends or `stop` is set; then close
    `frames`, unless this is one of several times that a source is opened for one stream.

    timeout_s: a live source that brings no picture for so long is lost; there is more time to open it. lossless:
    nothing is dropped and nothing is paced (files only). place: where in the stream the source begins; it is
    moved on. Raises MediaError, SourceMissing or WorkerFailed.
    """
    memory = _picture_memory()
    child, grace_s = None, END_GRACE_S
    try:
        child = Child(capture_main, memory, name=f"onlooker-capture {source.shown}")
        child.send(Start(source.kind, source.target, source.shown, fps, timeout_s, source.tls_verify))
        _take_pictures(
            child,
            memory,
            source,
            frames,
            report,
            stop,
            place or StreamPlace(),
            turn,
            timeout_s=timeout_s,
            lossless=lossless,
        )
    except _Silent as error:
        grace_s = 0.0  # it is stuck, in a driver perhaps, and would not end by itself
        raise SourceMissing(str(error)) from None
    finally:
        if child is not None:
            child.end(grace_s=grace_s)
        memory.close()
        if place is None:
            frames.close()


def _take_pictures(
    child: Child,
    memory: PictureMemory,
    source: Source,
    frames: Mailbox[Frame],
    report: Callable[[Event], object],
    stop: threading.Event,
    place: StreamPlace,
    turn: Turn,
    *,
    timeout_s: float,
    lossless: bool,
) -> None:
    is_live = source.kind == "camera"
    start_s: float | None = None  # when the source's second 0 was, on our clock
    offset_s = 0.0  # of the source's second 0 in the stream
    patience_s = START_TIMEOUT_S + timeout_s
    if source.kind == "push":
        patience_s = float("inf")
    begun_s, is_waiting = time.monotonic(), False
    silent_s, waited_at_s = 0.0, time.monotonic()
    stillness = Stillness()
    while not stop.is_set():
        try:
            message = child.receive(timeout_s=WAIT_S)
        except EOFError:
            raise SourceMissing(f"{source.shown}: its reader died: {child.how_it_died()}; start again") from None
        if message is None:
            if source.kind == "push" and not is_waiting and time.monotonic() - begun_s > LISTENS_AFTER_S:
                is_waiting = True
                report(Status("capture", State.WAITING, f"for a sender at {source.shown}", time.monotonic()))
            now_s = time.monotonic()
            silent_s, waited_at_s = silent_s + min(now_s - waited_at_s, MAX_WAIT_S), now_s
            if silent_s > patience_s:
                raise _Silent(f"{source.shown}: nothing came for {patience_s:g} s; it is taken for lost")
            continue
        match message:
            case Ready():
                is_live, is_waiting = message.is_live, True
                patience_s = timeout_s if is_live else timeout_s + FILE_PATIENCE_S
                report(Opened(message.width, message.height, message.duration_s, message.is_live))
            case Picture():
                pixels = turn.apply(memory.slot(message.slot, message.width, message.height))
                is_camera = is_live and source.kind != "screen"  # a desktop may be still, or black
                still = stillness.note(pixels, message.captured_s) if is_camera else None
                if still is not None:
                    report(Status("capture", State.READY, STILL.get(still, source.shown), time.monotonic()))
                child.send(message.slot)
                frames.note_lost(message.num_lost)
                captured_s = message.captured_s
                if start_s is None:
                    start_s = time.monotonic() - message.time_s
                    place.since_s = start_s if place.since_s is None else place.since_s
                    offset_s = start_s - place.since_s
                if not is_live and not lossless:
                    captured_s = start_s + message.time_s
                    sleep_until(captured_s, stop)
                elif lossless:
                    captured_s = time.monotonic()
                frame = Frame(pixels, offset_s + message.time_s, captured_s, place.index)
                place.index += 1
                if lossless:
                    put_until(frames, frame, stop)
                else:
                    frames.put(frame)
            case Warned():
                report(Status("capture", State.WARNING, message.text, time.monotonic()))
            case Failed():
                raise (MediaError if message.kind == "media" else SourceMissing)(message.text)
            case Finished():
                report(Ended(message.time_s))
                return
            case Alive():
                pass
        silent_s, waited_at_s = 0.0, time.monotonic()


def _picture_memory() -> PictureMemory:
    try:
        return PictureMemory()
    except OSError as error:
        raise WorkerFailed(f"no memory for the pictures under way: {error.strerror}") from None
