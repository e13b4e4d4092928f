"""The three threads that look, wired once for every kind of run: started together, and stopped together.

capture ─► [frames] ─► encoder ─► [tokens] ─► mind ─► report
                           [questions] ────────┘
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.mind.encoder import run_encoder
from assistant.mind.familiarity import Familiarity
from assistant.mind.loop import MAX_BATCH, Pacing, Report, run_mind
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.messages import Frame, FrameTokens, Query
from assistant.runtime.threads import Threads

if TYPE_CHECKING:
    from model.stream import Stream
    from model.videolm import VideoLM

Capture = Callable[[Mailbox[Frame], threading.Event], None]
"""Puts frames into the mailbox until the source ends or the event is set."""


@dataclass(frozen=True)
class QueueSizes:
    """How frames go from thread to thread. num_frames, num_tokens: so many may wait, as pixels and as tokens.

    lossless: a full mailbox is waited for; otherwise the oldest frame in it is dropped. max_batch: so many may be
    looked at together.
    """

    num_frames: int
    num_tokens: int
    num_questions: int
    lossless: bool = False
    max_batch: int = MAX_BATCH


class Pipeline:
    """Use: `questions.put`; `start`; `stop`, always. Any thread may read.

    stop: set when the run is to end; whoever made it may set it, too. threads: in which all are started. ended: is
    called, in its thread, with the name of a thread ("capture", "encoder", "mind") whose work is over; what it raises
    ends that thread as a failure. note: is shown every frame before it is encoded. wants: whether the next frame is to
    be encoded.
    """

    def __init__(
        self,
        capture: Capture,
        model: VideoLM,
        stream: Stream,
        report: Report,
        sizes: QueueSizes,
        *,
        stop: threading.Event,
        threads: Threads,
        ended: Callable[[str], None],
        pacing: Pacing | None = None,
        familiarity: Familiarity | None = None,
        note: Callable[[Frame], object] = lambda _: None,
        wants: Callable[[], bool] = lambda: True,
    ):
        self.questions = Mailbox[Query](sizes.num_questions, name="questions")
        self._frames = Mailbox[Frame](sizes.num_frames, name="frames")
        self._tokens = Mailbox[FrameTokens](sizes.num_tokens, name="tokens")
        self._capture, self._model, self._stream, self._report, self._sizes = capture, model, stream, report, sizes
        self._stop, self._threads, self._ended, self._pacing = stop, threads, ended, pacing
        self._familiarity = familiarity
        self._note, self._wants = note, wants

    @property
    def is_prepared(self) -> bool:
        """Whether all is ready that makes the stream fast."""
        return self._stream.is_prepared

    @property
    def num_dropped(self) -> int:
        """Frames that were captured and never looked at, because something behind was too slow."""
        return self._frames.num_dropped + self._tokens.num_dropped

    @property
    def waited_s(self) -> float:
        """For how long the encoder and the mind had nothing to do, together, so far."""
        return self._frames.waited_s + self._tokens.waited_s

    def start(self) -> None:
        """The last consumer first."""
        for name, work in (("mind", self._run_mind), ("encoder", self._run_encoder), ("capture", self._run_capture)):
            self._threads.start(name, lambda name=name, work=work: self._run(name, work))

    def stop(self) -> list[str]:
        """End all, from the capture to the mind, within STOP_TIMEOUT_S; gives the names of threads that hang."""
        self._stop.set()
        for mailbox in (self._frames, self._tokens, self.questions):
            mailbox.close()
        return self._threads.join()

    def _run(self, name: str, work: Callable[[], None]) -> None:
        work()
        self._ended(name)

    def _run_capture(self) -> None:
        self._capture(self._frames, self._stop)

    def _run_encoder(self) -> None:
        run_encoder(
            self._model,
            self._frames,
            self._tokens,
            self._stop,
            lossless=self._sizes.lossless,
            max_batch=self._sizes.max_batch,
            note=self._note,
            wants=self._wants,
        )

    def _run_mind(self) -> None:
        run_mind(
            self._stream,
            self._tokens,
            self.questions,
            self._report,
            self._stop,
            pacing=self._pacing,
            familiarity=self._familiarity,
            max_batch=self._sizes.max_batch,
        )
