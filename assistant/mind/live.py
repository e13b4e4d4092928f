"""The pipeline over a live source, without end: the source may be lost and found again, and hanging is noticed.

A source that is lost ends nothing (`Keeper`); any other fault does, and is kept in `failure`.
"""

from __future__ import annotations

import threading
import time
from math import ceil
from typing import TYPE_CHECKING

from assistant.capture.keeper import Keeper
from assistant.capture.source import Source
from assistant.capture.worker import turn_of
from assistant.config.keys import Config
from assistant.errors import WorkerFailed
from assistant.mind.encoder import FrameSkip
from assistant.mind.loop import MAX_BATCH, Pacing, Report
from assistant.mind.opening import familiarity_of
from assistant.mind.pipeline import Pipeline, QueueSizes
from assistant.mind.thumbnails import Thumbnails
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.messages import Frame
from assistant.runtime.threads import Threads, failure_of

if TYPE_CHECKING:
    from model.stream import Stream
    from model.videolm import VideoLM

NUM_FRAMES_QUEUED = 8
MAX_QUESTIONS = 32
"""So many may be open at a time."""

LAG_S = 12.0
"""So much of the stream may wait for the mind, while it speaks or is slow; what is older is dropped."""


class LivePipeline(Pipeline):
    """Use: `start`; `questions.put`; `stop`, always. Any thread may read.

    keeper: opens and closes the source. thumbnails: small pictures of the last seconds, while they are switched on.
    failure: what ended a thread, or None. worked_at_s: by thread, the monotonic second at which it last brought
    something forth, as of the latest `note_progress`.
    """

    def __init__(
        self,
        source: Source,
        config: Config,
        model: VideoLM,
        stream: Stream,
        report: Report,
        pacing: Pacing,
        frame_skip: FrameSkip,
    ):
        self.failure: BaseException | None = None
        self._fps = config.stream.fps
        num_waiting = max(2, ceil(LAG_S * self._fps))
        self.thumbnails = Thumbnails(num_waiting + NUM_FRAMES_QUEUED + MAX_BATCH)
        super().__init__(
            self._keep,
            model,
            stream,
            report,
            QueueSizes(NUM_FRAMES_QUEUED, num_waiting, MAX_QUESTIONS),
            stop=threading.Event(),
            threads=Threads(self._note_failure),
            ended=self._must_be_stopped,
            pacing=pacing,
            familiarity=familiarity_of(model, config.stream),
            note=self.thumbnails.note,
            wants=frame_skip.wants,
        )
        self.keeper = Keeper(
            source,
            self._frames,
            report,
            fps=self._fps,
            timeout_s=config.capture.timeout_s,
            turn=turn_of(config.capture),
        )
        self.worked_at_s = {"capture": 0.0, "encoder": 0.0}
        self._num_put = {"capture": 0, "encoder": 0}
        self._waiting_since_s = time.monotonic()

    @property
    def seen_s(self) -> float:
        """For how long back the stream still has what it saw, about, in seconds of full rate."""
        return self._stream.num_frames_kept / self._fps

    def note_progress(self, minded_s: float | None) -> None:
        """Note who has worked since the last call; minded_s: when the mind last did. Called often, by one thread."""
        now_s = time.monotonic()
        for name, mailbox in (("capture", self._frames), ("encoder", self._tokens)):
            if mailbox.num_put != self._num_put[name]:
                self._num_put[name], self.worked_at_s[name] = mailbox.num_put, now_s
        if not len(self._tokens):
            self._waiting_since_s = now_s
        elif minded_s is not None:
            self._waiting_since_s = max(self._waiting_since_s, minded_s)

    def hangs(self, patience_s: float) -> bool:
        """Whether frames have waited for the mind for so long, as of the latest `note_progress`."""
        return time.monotonic() - self._waiting_since_s > patience_s

    def stop(self) -> list[str]:
        self._stop.set()
        self.keeper.wake()
        return super().stop()

    def _keep(self, _: Mailbox[Frame], stop: threading.Event) -> None:
        self.keeper.run(stop)

    def _must_be_stopped(self, name: str) -> None:
        if not self._stop.is_set():
            raise WorkerFailed("it ended by itself")

    def _note_failure(self, name: str, error: BaseException) -> None:
        self.failure = self.failure or failure_of(name, error)
