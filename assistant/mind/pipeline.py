"""The threads that look: capture, encoder and mind over one live source, started together and stopped together.

    capture ─► [frames] ─► encoder ─► [tokens] ─► mind ─► report
                               [questions] ────────┘

A source that is lost does not end them (`Keeper`); any other fault does, and is kept in `failure`.
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
from assistant.mind.encoder import FrameSkip, run_encoder
from assistant.mind.loop import MAX_BATCH, Pacing, Report, run_mind
from assistant.mind.thumbnails import Thumbnails
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.messages import Frame, FrameTokens, Query
from assistant.runtime.threads import Threads, failure_of

if TYPE_CHECKING:
    from model.stream import Stream
    from model.videolm import VideoLM

NUM_FRAMES_QUEUED = 8
MAX_QUESTIONS = 32
"""So many may be open at a time."""

LAG_S = 12.0
"""So much of the stream may wait for the mind, while it speaks or is slow; what is older is dropped."""


class Pipeline:
    """Use: `start`; `questions.put`; `stop`, always. Any thread may read.

    failure: what ended a thread, or None. worked_at_s: by thread, the monotonic second at which it last brought
    something forth, as of the latest `look`.
    """

    def __init__(
        self,
        source: Source,
        config: Config,
        model: VideoLM,
        stream: Stream,
        report: Report,
        pacing: Pacing,
        frame_skip: FrameSkip | None = None,
    ):
        self.failure: BaseException | None = None
        self.questions = Mailbox[Query](MAX_QUESTIONS, name="questions")
        self._frames = Mailbox[Frame](NUM_FRAMES_QUEUED, name="frames")
        num_waiting = max(2, ceil(LAG_S * config.stream.fps))
        self._tokens = Mailbox[FrameTokens](num_waiting, name="tokens")
        self._fps = config.stream.fps
        self._model, self._stream, self._report, self._pacing = model, stream, report, pacing
        self._frame_skip = frame_skip or FrameSkip()
        self._stop = threading.Event()
        self._threads = Threads(self._note_failure)
        self.keeper = Keeper(
            source,
            self._frames,
            report,
            fps=config.stream.fps,
            timeout_s=config.capture.timeout_s,
            turn=turn_of(config.capture),
        )
        self.thumbnails = Thumbnails(num_waiting + NUM_FRAMES_QUEUED + MAX_BATCH)
        self.worked_at_s = {"capture": 0.0, "encoder": 0.0}
        self._num_put = {"capture": 0, "encoder": 0}
        self._waiting_since_s = time.monotonic()

    @property
    def seen_s(self) -> float:
        """For how long back the stream still has what it saw, about, in seconds of full rate."""
        return self._stream.num_frames_kept / self._fps

    @property
    def is_prepared(self) -> bool:
        """Whether all is ready that makes the stream fast."""
        return self._stream.is_prepared

    @property
    def num_dropped(self) -> int:
        """Frames that nobody looked at, because something behind was too slow."""
        return self._frames.num_dropped + self._tokens.num_dropped

    @property
    def waited_s(self) -> float:
        """For how long the encoder and the mind had nothing to do, together, so far."""
        return self._frames.waited_s + self._tokens.waited_s

    def look(self, minded_s: float | None) -> None:
        """Note who has worked since the last look; minded_s: when the mind last did. Called often, by one thread."""
        now_s = time.monotonic()
        for name, mailbox in (("capture", self._frames), ("encoder", self._tokens)):
            if mailbox.num_put != self._num_put[name]:
                self._num_put[name], self.worked_at_s[name] = mailbox.num_put, now_s
        if not len(self._tokens):
            self._waiting_since_s = now_s
        elif minded_s is not None:
            self._waiting_since_s = max(self._waiting_since_s, minded_s)

    def hangs(self, patience_s: float) -> bool:
        """Whether frames have waited for the mind for so long, as of the latest `look`."""
        return time.monotonic() - self._waiting_since_s > patience_s

    def start(self) -> None:
        """The last consumer first."""
        self._threads.start("mind", self._think)
        self._threads.start("encoder", self._encode)
        self._threads.start("capture", self._capture)

    def stop(self) -> list[str]:
        """End all, from the capture to the mind, within STOP_TIMEOUT_S; gives the names of threads that hang."""
        self._stop.set()
        self.keeper.wake()
        for mailbox in (self._frames, self._tokens, self.questions):
            mailbox.close()
        return self._threads.join()

    def _capture(self) -> None:
        self.keeper.run(self._stop)
        self._must_be_stopped()

    def _think(self) -> None:
        run_mind(self._stream, self._tokens, self.questions, self._report, self._stop, pacing=self._pacing)
        self._must_be_stopped()

    def _encode(self) -> None:
        run_encoder(
            self._model,
            self._frames,
            self._tokens,
            self._stop,
            lossless=False,
            max_batch=MAX_BATCH,
            note=self.thumbnails.note,
            wants=self._frame_skip.wants,
        )
        self._must_be_stopped()

    def _must_be_stopped(self) -> None:
        if not self._stop.is_set():
            raise WorkerFailed("it ended by itself")

    def _note_failure(self, name: str, error: BaseException) -> None:
        self.failure = self.failure or failure_of(name, error)
