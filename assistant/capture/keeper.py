"""The capture thread of a run without end: a source that is lost is opened again, for as long as it takes.

`Keeper.run` is the thread. `pause` closes the device for certain, since its reader is a child process that then ends;
`resume` opens it anew. Both may be called by any thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from assistant.capture.source import Source
from assistant.capture.worker import NO_TURN, StreamPlace, Turn, run_capture
from assistant.errors import MediaError, SourceMissing, WorkerFailed
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.messages import Event, Frame, Opened, Status
from assistant.runtime.states import State

FIRST_DELAY_S, LAST_DELAY_S = 0.1, 2.0
"""Between two attempts to open a source: what returns is noticed within LAST_DELAY_S and the time of opening it."""

STEADY_S = 2.0
"""A source that brought pictures for so long is opened again soon; one that ends at once, again and again, is not."""


class Keeper:
    """Posts the frames of one live source into `frames` for ever, and says by `report` what becomes of it.

    Of each loss there is one Status("capture", State.LOST), however often it is tried again in vain, and one "ready"
    when it is back. Frames are counted, and their times run on, over all of it.
    """

    def __init__(
        self,
        source: Source,
        frames: Mailbox[Frame],
        report: Callable[[Event], object],
        *,
        fps: float,
        timeout_s: float,
        turn: Turn = NO_TURN,
    ):
        self._source, self._frames, self._report = source, frames, report
        self._fps, self._timeout_s, self._turn = fps, timeout_s, turn
        self._place = StreamPlace()
        self._state = State.OPENING
        self._is_paused = threading.Event()
        self._break = threading.Event()  # ends the attempt under way, or the wait for the next one
        self._delay_s = FIRST_DELAY_S
        self._is_new = False  # the source is another one than before, or is opened on purpose
        self._closed = threading.Event()  # and stays so for as long as the pause does
        self._opened_s: float | None = None

    @property
    def state(self) -> str:
        """ "opening", "waiting" (for a sender), "ready", "lost" or "paused"."""
        return self._state

    @property
    def is_paused(self) -> bool:
        """Whether `pause` was called last. Any thread."""
        return self._is_paused.is_set()

    @property
    def is_closed(self) -> bool:
        """Whether the device is closed since the latest `pause`, and stays so until `resume`. Any thread."""
        return self._is_paused.is_set() and self._closed.is_set()

    def pause(self) -> None:
        """Let the device go."""
        if not self._is_paused.is_set():
            self._closed.clear()
        self._is_paused.set()
        self._break.set()

    def resume(self) -> None:
        """Open it again, at once."""
        self._is_paused.clear()
        self._is_new = True
        self._delay_s = FIRST_DELAY_S
        self._break.set()

    def change(self, source: Source, *, fps: float, timeout_s: float, turn: Turn = NO_TURN) -> None:
        """Go on with another source, or another rate. Any thread."""
        self._source, self._fps, self._timeout_s, self._turn = source, fps, timeout_s, turn
        self._delay_s = FIRST_DELAY_S
        self._is_new = True
        self._break.set()

    def wake(self) -> None:
        """Look at `stop` and at the pause at once."""
        self._break.set()

    def run(self, stop: threading.Event) -> None:
        """Capture until `stop` is set (and `wake` called); then close `frames`."""
        try:
            while not stop.is_set():
                self._break.clear()
                if stop.is_set():
                    return
                if self._is_paused.is_set():
                    self._closed.set()
                    self._enter(State.PAUSED, "")
                    self._break.wait(1.0)
                    continue
                self._attempt()
                if self._opened_s is not None and time.monotonic() - self._opened_s >= STEADY_S:
                    self._delay_s = FIRST_DELAY_S
                if not self._break.is_set():
                    self._break.wait(self._delay_s)
                    self._delay_s = min(2 * self._delay_s, LAST_DELAY_S)
        finally:
            self._frames.close()

    def _attempt(self) -> None:
        self._opened_s = None
        if self._state == State.PAUSED or self._is_new:
            self._is_new = False
            self._enter(State.OPENING, self._source.shown)
        try:
            run_capture(
                self._source,
                self._frames,
                self._hear,
                self._break,
                fps=self._fps,
                timeout_s=self._timeout_s,
                lossless=False,
                turn=self._turn,
                place=self._place,
            )
            if self._source.is_recording:
                return  # it is repeated
            why = f"{self._source.shown}: it ended"
        except (SourceMissing, MediaError, WorkerFailed) as error:
            why = str(error)
        if not self._break.is_set():
            self._enter(State.LOST, why)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Opened):
            self._opened_s = time.monotonic()
            self._enter(State.READY, self._source.shown)
        if isinstance(event, Status) and event.state == State.WAITING:
            self._enter(State.WAITING, event.detail)
        else:
            self._report(event)

    def _enter(self, state: State, detail: str) -> None:
        if state != self._state:
            self._state = state
            self._report(Status("capture", state, detail, time.monotonic()))
