"""One run over one source: the pipeline, the events that come of it, and the voice that says them.

    pipeline (capture, encoder, mind) ─► [events] ─► caller ─► [lines] ─► voice thread

The caller's thread (the main one) reads the events. A part that fails ends the run with its error, never with a hang.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from assistant.capture.source import Source
from assistant.capture.worker import run_capture, turn_of
from assistant.config.keys import Config
from assistant.errors import WorkerFailed
from assistant.mind.loop import MAX_BATCH
from assistant.mind.opening import familiarity_of, open_stream
from assistant.mind.pipeline import Pipeline, QueueSizes
from assistant.runtime.mailbox import Mailbox, put_until
from assistant.runtime.messages import Ended, Event, Frame, Opened, Query, Seen, Words
from assistant.runtime.threads import STOP_TIMEOUT_S, Threads, failure_of, stuck_message
from assistant.voice.lines import Lines, Sentence
from assistant.voice.speaker import Voice, run_voice
from assistant.voice.telling import Teller
from model.errors import OnlookerError

if TYPE_CHECKING:
    from model.videolm import VideoLM

NUM_FRAMES_QUEUED = 32  # pixels, before the encoder; 16 s at 2 fps
NUM_TOKENS_QUEUED = 64
NUM_QUEUED_LOSSLESS = 16  # nothing is lost, so more would only be memory
NUM_EVENTS_QUEUED = 256


@dataclass(frozen=True)
class WatchPlan:
    """What a run is to do. lossless: every frame of a file, as fast as it goes, instead of real time.

    max_batch: frames that may be looked at together; with 1 the numbers do not depend on what has queued.
    """

    source: Source
    config: Config
    questions: tuple[Query, ...] = ()
    lossless: bool = False
    max_batch: int = MAX_BATCH


class App:
    """One run over one source. Use: `start`, iterate over `events`, `stop` (always), then look at `failure`.

    failure: the error that ended the run, or None. stop_event: set when the run is to end.
    """

    def __init__(self, plan: WatchPlan, model: VideoLM):
        self.failure: OnlookerError | None = None
        self.stop_event = threading.Event()
        self._plan, self._model = plan, model
        self._voice: Voice | None = None
        self._voice_thread: threading.Thread | None = None
        self._events = Mailbox[Event](NUM_EVENTS_QUEUED, name="events")
        self._lines = Lines()
        self._teller = Teller(self._say)
        self._threads = Threads(self._note_failure)
        self._pipeline: Pipeline | None = None
        self._end_s, self._has_seen = 0.0, False
        self._duration_s: float | None = None

    @property
    def num_dropped(self) -> int:
        """Frames that were captured and never looked at, because something behind was too slow."""
        return self._pipeline.num_dropped if self._pipeline else 0

    def start(self, voice: Voice | None = None) -> None:
        """Open the stream and start all threads, the last consumer first. Raises ConfigError (window too small)."""
        plan = self._plan
        num_questions = max(16, len(plan.questions))
        sizes = QueueSizes(NUM_FRAMES_QUEUED, NUM_TOKENS_QUEUED, num_questions, max_batch=plan.max_batch)
        if plan.lossless:
            sizes = replace(sizes, num_frames=NUM_QUEUED_LOSSLESS, num_tokens=NUM_QUEUED_LOSSLESS, lossless=True)
        pipeline = self._pipeline = Pipeline(
            self._capture,
            self._model,
            open_stream(self._model, plan.config.stream),
            self._report,
            sizes,
            stop=self.stop_event,
            threads=self._threads,
            ended=self._note_end,
            familiarity=familiarity_of(self._model, plan.config.stream),
        )
        for query in plan.questions:
            pipeline.questions.put(query)
        self._voice = voice
        if voice is not None:
            self._voice_thread = self._threads.start("voice", lambda: run_voice(self._lines, voice, self.stop_event))
        pipeline.start()

    def events(self) -> Iterator[Event]:
        """Everything that happens, in order, until the run has ended; after `stop_event`, its last words only."""
        stopped_at_s: float | None = None
        while True:
            event = self._events.take(timeout_s=0.2)
            if stopped_at_s is None and self.stop_event.is_set():
                stopped_at_s = time.monotonic()
            if event is None:
                has_stuck = stopped_at_s is not None and time.monotonic() - stopped_at_s > STOP_TIMEOUT_S
                if self._events.is_drained or has_stuck:
                    return
                continue
            if isinstance(event, Seen):
                self._end_s, self._has_seen = event.time_s, True
            elif isinstance(event, Opened):
                self._duration_s = event.duration_s
            elif isinstance(event, Ended):  # which is right also where the file's own figure is not
                self._duration_s = event.time_s
            yield event

    def hear(self, words: Words) -> None:
        """Have a piece of a reply said. In real time it never waits: a voice that lags loses its oldest lines."""
        if self._voice is not None:
            self._teller.hear(words)

    def _say(self, line: Sentence) -> None:
        if self._plan.lossless:
            put_until(self._lines, line, self.stop_event)
        else:
            self._lines.put(line)

    def finish_speaking(self) -> str | None:
        """After the events: let the voice say what is left; where the speech went, None without a voice."""
        if self._voice is None or self._voice_thread is None:
            return None
        self._lines.close()
        while self._voice_thread.is_alive() and not self.stop_event.is_set():
            self._voice_thread.join(0.2)
        self._voice_thread.join(STOP_TIMEOUT_S)
        if self._voice_thread.is_alive():  # `stop` will say so; it still owns the voice
            return "broken off"
        whole = None if self.stop_event.is_set() or self.failure else self._duration_s
        came_to_nothing = self.failure is not None and not self._has_seen
        self._voice.close(None if came_to_nothing else max(self._end_s, whole or 0.0))
        return self._voice.where

    def stop(self) -> None:
        """End everything within STOP_TIMEOUT_S, from the capture to the voice. Safe to call twice."""
        self.stop_event.set()
        self._events.close()
        self._lines.close()
        stuck = self._pipeline.stop() if self._pipeline else []
        if stuck and self.failure is None:
            self.failure = WorkerFailed(stuck_message(stuck))

    def _capture(self, frames: Mailbox[Frame], stop: threading.Event) -> None:
        plan, section = self._plan, self._plan.config.capture
        run_capture(
            plan.source,
            frames,
            self._report,
            stop,
            fps=plan.config.stream.fps,
            timeout_s=section.timeout_s,
            lossless=plan.lossless,
            turn=turn_of(section),
        )

    def _report(self, event: Event) -> bool:
        """Post an event without losing it; while the run is being stopped, without waiting either."""
        return put_until(self._events, event, self.stop_event) or self._events.put(event)

    def _note_end(self, name: str) -> None:
        if name == "mind":  # nothing more will happen
            self._events.close()

    def _note_failure(self, name: str, error: BaseException) -> None:
        """A source that fails lets what was captured be seen; all else stops the run."""
        is_fault = not isinstance(error, OnlookerError)
        self.failure = self.failure or (failure_of(name, error) if is_fault else error)
        if is_fault or name != "capture":
            self.stop_event.set()
        self._note_end(name)
