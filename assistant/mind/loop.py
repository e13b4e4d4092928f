"""The mind: frames and questions in, words out. The only thread that touches the stream and its cache."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from assistant.mind.familiarity import UNFAMILIAR, WARNING, Familiarity
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.messages import Asked, Event, FrameTokens, Query, Seen, Status, Words
from assistant.runtime.states import State
from model.errors import StreamError

if TYPE_CHECKING:
    from torch import Tensor

    from assistant.config.keys import Config
    from model.stream import Decision

MAX_BATCH = 16
LATE_S = 1.0
SLOW_S = 1.5
"""A look at several frames should take no longer."""

Report = Callable[[Event], object]


class Pacing:
    """Which remarks are made: here, those that the model wants. See `assistant.mind.pacing` for what a user may want.

    Called by the mind's thread only, in the order of the frames, but for `update`. reminds: what the remark that was
    noted last tells of what was asked for, "" for nothing.
    """

    reminds = ""

    def update(self, config: Config) -> None:
        """Go on as this configuration says. Any thread."""

    def threshold(self, own: float) -> float:
        """The silence threshold for the next frames; own: the stream's, as it was opened."""
        return own

    def wants(self, decision: Decision) -> bool:
        """Whether a remark is to be made after this frame. Called once for every frame; the first one that it is true
        of ends a look at several."""
        return decision.speaks

    def held(self) -> str:
        """What holds remarks back now, as the policy names it; "" for nothing."""
        return ""

    def note(self, text: str, *, is_answer: bool) -> bool:
        """Take note of what was written. False: a remark that is not to be heard after all."""
        return True


class MindStream(Protocol):
    """What the mind needs of a stream; `model.stream.Stream` says what each does."""

    silence_threshold: float

    def observe_many(self, frame_tokens_KND: Tensor, stops_at: Callable[[Decision], bool]) -> list[Decision]:
        """Append K frames of N tokens each and decide after each; ends early behind the first that `stops_at`."""
        ...

    def ask(self, text: str, notes: Sequence[str] = ()) -> None:
        """Append a question, after lines the answer may rest on."""
        ...

    def reply(self) -> Iterator[str]:
        """Speak: the reply piece by piece as it is decoded."""
        ...

    def prepare(self) -> bool:
        """Make the next thing ready that makes the stream fast; whether anything was left to do."""
        ...


def run_mind(
    stream: MindStream,
    frames: Mailbox[FrameTokens],
    questions: Mailbox[Query],
    report: Report,
    stop: threading.Event,
    *,
    pacing: Pacing | None = None,
    familiarity: Familiarity | None = None,
    max_batch: int = MAX_BATCH,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Look at every frame, speak when the stream and the pacing want to, answer questions in their turn.

    Ends when `frames` is drained and everything is answered, or soon after `stop` is set: a sentence that is being
    written is then cut and closed. Frames that queued meanwhile go through the decoder together. familiarity: while
    what is seen is strange, nothing is said of it, and questions get that for an answer.
    """
    mind = _Mind(stream, report, stop, pacing or Pacing(), familiarity or Familiarity(None, 1.0), max_batch, clock)
    while not stop.is_set():
        mind.note_questions(questions.take_many(questions.capacity, timeout_s=0))
        if mind.room:
            mind.pending.extend(frames.take_many(mind.room, timeout_s=0 if mind.pending else 0.1))
        has_ended = not mind.pending and frames.is_drained
        query = mind.next_due(has_ended=has_ended)
        if query is not None:
            mind.answer(query)
        elif mind.pending:
            mind.look()
        elif has_ended:
            return
        else:
            stream.prepare()  # nothing to do just now


class _Once:
    """Asks of each decision once, however often the stream comes back to the latest one."""

    def __init__(self, ask: Callable[[Decision], bool]):
        self._ask, self._said = ask, False
        self._latest: Decision | None = None

    def __call__(self, decision: Decision) -> bool:
        if decision is not self._latest:
            self._latest, self._said = decision, self._ask(decision)
        return self._said


class _Mind:
    """The loop's state. pending: encoded frames that the stream has not consumed yet, oldest first."""

    def __init__(
        self,
        stream: MindStream,
        report: Report,
        stop: threading.Event,
        pacing: Pacing,
        familiarity: Familiarity,
        max_batch: int,
        clock: Callable[[], float],
    ):
        self.pending: deque[FrameTokens] = deque()
        self._max_batch = max_batch
        self._pacing, self._threshold = pacing, stream.silence_threshold
        self._familiarity, self._has_warned = familiarity, False
        self._stream, self._report, self._stop, self._clock = stream, report, stop, clock
        self._waiting: list[Query] = []
        self._last_s: float | None = None  # time in the stream of the last frame it has seen
        self._num_replies = 0
        self._replied_at_s = float("-inf")  # when the latest reply was complete
        self._batch_size = 1

    @property
    def room(self) -> int:
        return max(0, self._batch_size - len(self.pending))

    def note_questions(self, queries: list[Query]) -> None:
        if queries:
            self._waiting = sorted([*self._waiting, *queries], key=lambda query: (query.asked_s, query.id))

    def next_due(self, *, has_ended: bool) -> Query | None:
        """Take out the next question whose moment is now: after the last frame at or before its time."""
        if not self._waiting or self._last_s is None:
            return None
        asked_s = self._waiting[0].asked_s
        if asked_s <= self._last_s or has_ended or (self.pending and self.pending[0].time_s > asked_s):
            return self._waiting.pop(0)
        return None

    def look(self) -> None:
        """Show the stream frames up to the next question, together; reply if it wants to speak.

        What comes after a frame that speaks was computed in vain. So the batches grow while it is silent, and shrink
        when it speaks: a busy scene costs at most twice its frames. They also shrink when they take long, so that
        what waits elsewhere, where the oldest may be dropped, is not taken out too early.
        """
        import torch

        until_s = max(self._waiting[0].asked_s, self.pending[0].time_s) if self._waiting else float("inf")
        batch = [frame for frame in self.pending if frame.time_s <= until_s][: self._batch_size]
        self._stream.silence_threshold = self._pacing.threshold(self._threshold)
        started_s = self._clock()
        shown, strange = iter(batch), []

        def asks(decision: Decision) -> bool:
            strange.append(self._familiarity.note(next(shown).strangeness))
            return self._pacing.wants(decision) and not strange[-1]

        wants = _Once(asks)
        decisions = self._stream.observe_many(torch.stack([frame.tokens for frame in batch]), wants)
        is_speaking = wants(decisions[-1])
        is_slow = self._clock() - started_s > SLOW_S
        threshold, held = self._stream.silence_threshold, self._pacing.held()
        for frame, decision, is_strange in zip(batch, decisions, strange, strict=False):
            self.pending.popleft()
            self._last_s = frame.time_s
            latency_s, behind_reply = self._clock() - frame.captured_s, frame.captured_s < self._replied_at_s
            self._report(
                Seen(
                    frame.time_s,
                    frame.index,
                    decision,
                    latency_s,
                    behind_reply,
                    frame.captured_s,
                    is_strange,
                    threshold,
                    held,
                )
            )
        last = batch[len(decisions) - 1]
        shrinks = is_speaking or is_slow
        self._batch_size = max(1, self._batch_size // 2) if shrinks else min(self._max_batch, self._batch_size * 2)
        if self._familiarity.is_strange and not self._has_warned:
            self._has_warned = True
            self._report(Status("mind", State.WARNING, WARNING, self._clock()))
        if is_speaking:
            self._reply(last.time_s, last.captured_s, None, decisions[-1].silence_prob)

    def answer(self, query: Query) -> None:
        assert self._last_s is not None
        if query.cancelled is not None and query.cancelled.is_set():
            self._leave_unanswered(query)
            return
        asked_at_s = self._clock()
        if self._familiarity.is_strange:
            self._report(Asked(query, self._last_s, late=query.asked_s > self._last_s + LATE_S))
            words = Words(self._num_replies, UNFAMILIAR, False, self._last_s, query.id, None, 0.0)
            self._num_replies += 1
            self._report(words)
            self._report(replace(words, text="", final=True))
            return
        try:
            self._stream.ask(query.text, query.notes)
        except StreamError as error:
            why = f"the question was not asked: {error}"
            self._report(Status("mind", State.WARNING, why, self._clock()))
            self._leave_unanswered(query, why)
            return
        self._report(Asked(query, self._last_s, late=query.asked_s > self._last_s + LATE_S))
        self._reply(self._last_s, asked_at_s, query.id, None, query.cancelled)

    def _leave_unanswered(self, query: Query, why: str = "") -> None:
        """Its end, without any words."""
        assert self._last_s is not None
        reply_id = self._num_replies
        self._num_replies += 1
        self._report(Words(reply_id, "", True, self._last_s, query.id, None, 0.0, cut=True, why=why))

    def _reply(
        self,
        time_s: float,
        since_s: float,
        query_id: int | None,
        silence_prob: float | None,
        cancelled: threading.Event | None = None,
    ) -> None:
        reply_id = self._num_replies
        self._num_replies += 1
        latency_s: float | None = None
        is_cut = False

        def words(text: str, *, final: bool) -> Words:
            return Words(reply_id, text, final, time_s, query_id, silence_prob, latency_s or 0.0, is_cut)

        text = ""
        pieces = self._stream.reply()
        assert isinstance(pieces, Generator), "closing a reply is what ends its sentence properly"
        for piece in pieces:
            if latency_s is None:
                latency_s = self._clock() - since_s
            text += piece
            self._report(words(piece, final=False))
            if self._stop.is_set() or (cancelled is not None and cancelled.is_set()):
                is_cut = True
                break
        pieces.close()
        self._replied_at_s = self._clock()
        is_heard = self._pacing.note(text, is_answer=query_id is not None)
        self._report(replace(words("", final=True), unheard=not is_heard, reminds=self._pacing.reminds))
