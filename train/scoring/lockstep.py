"""Many models left to themselves at once, one decoder pass a step for all: what `free_run` gives, in far fewer passes.

In a step every stream feeds its next frame, or one word of its reply, or a part of something longer. A stream that is
over makes room for the next clip. The streams decide, evict and speak as `model.stream.Stream` does, token for token.

Shapes: B streams at once, T tokens of a step, M frame tokens of the longest clip, N tokens a frame, F feature width, D
decoder width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from model.engine import Reading, read_logits
from model.grammar import Cursor, Grammar
from model.stream import StreamOptions, decide
from model.templates import Place
from model.videolm import VideoLM
from model.window import Window
from train.scoring.batched import RowsCache, append_rows
from train.scoring.freerun import FreeRun, Said

WIDTHS = (1, 2, 4, 8, 12, 16, 24)
"""Tokens of a step; what is longer, such as the system prompt, is fed in parts."""


@dataclass(frozen=True)
class Job:
    """A clip to be run. features_TNF: of T frames, anywhere. questions: by the frame after which they are asked."""

    features_TNF: Tensor
    questions: Mapping[int, str] = field(default_factory=dict)
    threshold: float = 0.725


def free_run_many(
    model: VideoLM,
    jobs: Sequence[Job],
    *,
    batch: int,
    window_tokens: int = 2048,
    max_reply_tokens: int = 100,
    label: str = "run",
) -> list[FreeRun]:
    """What `free_run` gives for each job with a stream of its own, `batch` of them at a time. Raises StreamError.

    The model's decoder must compute its attention by SDPA.
    """
    options = model.open_stream(window_tokens=window_tokens, max_reply_tokens=max_reply_tokens).options
    order = iter(sorted(range(len(jobs)), key=lambda index: -len(jobs[index].features_TNF)))
    runs: dict[int, FreeRun] = {}
    if not jobs:
        return []
    lanes = _Lanes(model, jobs, min(batch, len(jobs)), options)
    with tqdm(total=sum(len(job.features_TNF) for job in jobs), desc=label, unit="frame") as bar:
        while lanes.fill(order):
            bar.update(lanes.step())
            runs |= lanes.finished()
    return [runs[index] for index in range(len(jobs))]


class _Lanes:
    """B places for streams, the cache under them, and the frame tokens of the clips that they are showing."""

    def __init__(self, model: VideoLM, jobs: Sequence[Job], num_lanes: int, options: StreamOptions) -> None:
        self._model, self._jobs, self._options = model, jobs, options
        self._cache = RowsCache(model.decoder, num_lanes, options.window_tokens)
        self._rows: list[Row | None] = [None] * num_lanes
        self._indices = [-1] * num_lanes
        weight = next(model.decoder.parameters())
        longest = max(len(job.features_TNF) for job in jobs) * model.num_frame_tokens
        shape = (num_lanes, longest, model.decoder.config.hidden_size)
        self._frames_BMD = torch.zeros(shape, dtype=weight.dtype, device=weight.device)

    def fill(self, order: Iterator[int]) -> bool:
        """Put the next jobs into free lanes; whether any lane is busy."""
        for lane, row in enumerate(self._rows):
            if row is not None:
                continue
            index = next(order, None)
            if index is None:
                break
            job = self._jobs[index]
            tokens_MD = self._model.connect(job.features_TNF).flatten(0, 1)
            self._frames_BMD[lane, : len(tokens_MD)] = tokens_MD

            def evict(num_tokens: int, start: int, stop: int, lane: int = lane) -> None:
                self._cache.evict(lane, num_tokens, start, stop)

            self._rows[lane], self._indices[lane] = Row(self._model.grammar, job, self._options, evict), index
        return any(row is not None for row in self._rows)

    @torch.inference_mode()
    def step(self) -> int:
        """One pass: every stream feeds what it has, and reads on if that was all of it. Returns the frames decided."""
        chunks = [row.unfed[: WIDTHS[-1]] if row else [] for row in self._rows]
        longest = max(len(chunk) for chunk in chunks)
        if not longest:
            return 0  # clips without frames
        width = next(width for width in WIDTHS if width >= longest)
        codes = np.zeros((len(chunks), width), dtype=np.int64)
        for lane, chunk in enumerate(chunks):
            codes[lane, width - len(chunk) :] = chunk
        codes_BT = torch.from_numpy(codes).to(self._frames_BMD.device)
        embeds_BTD = self._model.decoder.get_input_embeddings()(codes_BT.clamp(min=0))
        index_BT1 = (-1 - codes_BT).clamp(min=0)[..., None]
        frames_BTD = self._frames_BMD.gather(1, index_BT1.expand(-1, -1, embeds_BTD.shape[-1]))
        embeds_BTD = torch.where(codes_BT[..., None] < 0, frames_BTD, embeds_BTD)
        starts = [row.num_tokens if row else 0 for row in self._rows]
        logits_BV = append_rows(self._model.decoder, self._cache, embeds_BTD, starts, [len(c) for c in chunks])
        readings = read_logits(logits_BV, self._model.grammar.silence_id)
        before = self._count_frames()
        for row, chunk, reading in zip(self._rows, chunks, readings, strict=True):
            if row and chunk:
                row.advance(len(chunk), reading)
        return self._count_frames() - before

    def _count_frames(self) -> int:
        return sum(len(row.silence_probs) for row in self._rows if row)

    def finished(self) -> dict[int, FreeRun]:
        """Take out the streams that are over: their runs by job."""
        runs = {}
        for lane, row in enumerate(self._rows):
            if row is not None and not row.unfed:
                self._rows[lane] = None
                runs[self._indices[lane]] = FreeRun(row.silence_probs, row.said)
        return runs


class Row:
    """One stream among many: what it feeds next, and what it makes of what it reads. Holds no tensors.

    unfed: what is still to be fed, ids, and −1 − k for the clip's k-th frame token; empty when the clip is over.
    num_tokens: positions of its cache in use. evict: (num_tokens, start, stop), as `RowsCache.evict`.
    """

    def __init__(
        self, grammar: Grammar, job: Job, options: StreamOptions, evict: Callable[[int, int, int], None]
    ) -> None:
        self._grammar, self._job, self._options, self._evict_from_cache = grammar, job, options, evict
        self._window = Window(options.window_tokens)
        self._cursor = Cursor()
        self._question: str | None = None
        self._reply_ids: list[int] | None = None
        self.num_tokens = 0
        self.unfed: list[int] = []
        self.silence_probs: list[float] = []
        self.said: list[Said] = []
        self._show_next()

    def advance(self, count: int, reading: Reading) -> None:
        """`count` unfed tokens are in the cache; what is predicted after the last, silence being watched."""
        self.num_tokens += count
        self.unfed = self.unfed[count:]
        if self.unfed:
            return
        if self._reply_ids is not None:
            self._write(self._reply_ids, reading)
            return
        self.num_tokens -= len(self._grammar.before_decision)
        self._window.note_frame(self.num_tokens)
        self._cursor = Cursor("frame", opening_id=reading.other)
        if self._question is None:
            self._decide(reading)
        else:
            self._begin_reply()

    def _show(self, frame: int) -> None:
        closing = self._grammar.before_decision
        num_frame_tokens = self._grammar.spec.num_frame_tokens
        self._make_room(len(self._grammar.before_frame(self._cursor)) + num_frame_tokens + len(closing))
        first = frame * num_frame_tokens
        self.unfed = [
            *self._grammar.before_frame(self._cursor),
            *(-1 - k for k in range(first, first + num_frame_tokens)),
            *closing,
        ]

    def _show_next(self) -> None:
        self._question = self._reply_ids = None
        frame = len(self.silence_probs)
        if frame == len(self._job.features_TNF):
            return
        if self._window.is_crowded(self.num_tokens):
            self._forget()
        self._show(frame)

    def _decide(self, reading: Reading) -> None:
        frame = len(self.silence_probs)
        self.silence_probs.append(reading.watched_prob)
        self._question = self._job.questions.get(frame)
        (decision,) = decide([reading], self._grammar, self._job.threshold)
        if self._question is not None:
            self._ask(self._question)
        if self._question is not None and self._grammar.template.answers_after_frame:
            self._show(frame)
        elif self._question is not None or decision.speaks:
            self._begin_reply()
        else:
            self._show_next()

    def _begin_reply(self) -> None:
        self._make_room(len(self._grammar.before_reply(self._cursor)) + self._options.max_reply_tokens + 1)
        self._reply_ids, self.unfed = [], self._grammar.before_reply(self._cursor)
        if not self.unfed and self._cursor.opening_id is not None:
            self._go_on(self._reply_ids, self._cursor.opening_id)

    def _ask(self, question: str) -> None:
        self._window.check_question(len(self._grammar.ids(question)))
        self._cursor = replace(self._cursor, questions=(question,))

    def _write(self, reply_ids: list[int], reading: Reading) -> None:
        is_to_speak = self._grammar.template.writes_header and not reply_ids
        self._go_on(reply_ids, reading.other if is_to_speak else reading.winner)

    def _go_on(self, reply_ids: list[int], token_id: int) -> None:
        reply_ids.append(token_id)
        is_over = token_id == self._grammar.eos_id
        if not is_over and len(reply_ids) < self._options.max_reply_tokens:
            self.unfed = [token_id]
            return
        text = whole_text(self._grammar, reply_ids)
        self.said.append(Said(len(self.silence_probs) - 1, self._question, tuple(reply_ids), text))
        self._cursor = self._grammar.after_reply([] if is_over else [token_id])
        self._show_next()

    def _make_room(self, num_tokens: int) -> None:
        cut = self._window.cut(self.num_tokens, num_tokens)
        if cut is not None and cut.is_all:
            self._forget()
        elif cut is not None:
            self._evict(cut.stop)

    def _forget(self) -> None:
        self._evict(self.num_tokens)
        place: Place = "frame" if self._window.marks.kept else "system"
        self._cursor = replace(self._cursor, place=place, pending_ids=())

    def _evict(self, stop: int) -> None:
        self._evict_from_cache(self.num_tokens, self._window.marks.kept, stop)
        self.num_tokens -= self._window.note_cut(stop)


def whole_text(grammar: Grammar, reply_ids: Sequence[int]) -> str:
    """What a reply's ids say, without a character at its end that is still incomplete."""
    for stop in range(len(reply_ids), 0, -1):
        text = grammar.text(reply_ids[:stop])
        if not text.endswith("\ufffd"):
            return text
    return ""
