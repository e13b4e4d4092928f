"""A running stream: frames and questions go in, decisions and replies come out, memory stays constant.

One thread owns a stream; nothing here locks. The grammar decides what stands between turns, the ring what is kept.

Shapes: K frames, N tokens a frame, D decoder width, T tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from model.draft import Drafter, confirmed_ids
from model.engine import MAX_FRAMES_PER_PASS, Engine, Reading
from model.errors import StreamError
from model.grammar import Cursor, Grammar
from model.templates import Place
from model.window import Marks, Window

Eviction = Literal["rotate", "recompute"]
WhenFull = Literal["window", "summary"]


@dataclass(frozen=True)
class Decision:
    """What the model wants after one frame.

    silence_prob: probability of the silence token, 0–1. speaks: whether a reply should follow.
    """

    silence_prob: float
    speaks: bool


def speaks(decision: Decision) -> bool:
    """Where a look at several frames ends, if nothing else is said."""
    return decision.speaks


@dataclass(frozen=True)
class StreamOptions:
    """How a stream behaves.

    silence_threshold: silence is kept if it is at least this probable (0–1) and, in most families, the likeliest
    token (`Grammar.is_silence`).
    window_tokens: positions that the cache holds, prefix included; also the largest position the decoder sees.
    max_reply_tokens: a longer reply is closed.
    draft_tokens: words of a reply that are guessed and checked at a time (model.draft); 0 for none.
    when_full: what `model.summary.make_stream` makes: a window that slides, or one that begins anew from a summary.
    eviction: "rotate" moves the kept keys to their new positions, in which they still carry what they once saw;
    "recompute" runs the kept window through the decoder again, which equals a fresh start with that window.
    """

    silence_threshold: float = 0.725
    window_tokens: int = 2048
    max_reply_tokens: int = 100
    eviction: Eviction = "rotate"
    draft_tokens: int = 6
    when_full: WhenFull = "window"


def decide(
    readings: Sequence[Reading], grammar: Grammar, threshold: float, stops_at: Callable[[Decision], bool] = speaks
) -> list[Decision]:
    """Decisions after some frames, up to the first one to stop at. threshold: of silence, 0–1."""
    decisions = []
    for prob, winner, _ in readings:
        decisions.append(Decision(prob, not grammar.is_silence(prob, winner, threshold)))
        if stops_at(decisions[-1]):
            break
    return decisions


def check_window(grammar: Grammar, window_tokens: int, max_reply_tokens: int) -> None:
    """Raises StreamError if the window cannot hold the prefix, a reply and a few frames."""
    frame_tokens = grammar.spec.num_frame_tokens
    prefix = len(grammar.before_frame(Cursor())) + frame_tokens
    step = len(grammar.before_frame(Cursor("frame"))) + frame_tokens
    needed = 2 * (prefix + max_reply_tokens + 4 * step + len(grammar.before_decision))
    if window_tokens < needed:
        raise StreamError(
            f"window_tokens = {window_tokens}: too small for this checkpoint's prompt and replies of up to "
            f"{max_reply_tokens} tokens; must be at least {needed}"
        )


class _History:
    """The embeddings at all positions of a cache, from which those that are kept can be computed anew."""

    def __init__(self, engine: Engine, capacity: int) -> None:
        self.rows_TD = torch.zeros((capacity, engine.width), dtype=engine.dtype, device=engine.device)

    def note(self, start: int, embeds_TD: Tensor) -> None:
        """These stand from `start` on."""
        self.rows_TD[start : start + len(embeds_TD)] = embeds_TD

    def cut(self, start: int, stop: int, end: int) -> Tensor:
        """Take out those from `start` to `stop`; gives what stood between there and `end`, now from `start` on."""
        self.note(start, self.rows_TD[stop:end].clone())
        return self.rows_TD[start : start + end - stop]


def _check_frames(frame_tokens_KND: Tensor, num_tokens: int) -> None:
    if frame_tokens_KND.ndim != 3 or frame_tokens_KND.shape[1] != num_tokens:
        raise StreamError(f"frame tokens of shape {tuple(frame_tokens_KND.shape)}: expected K × {num_tokens} × width")


class Stream:
    """One continuous conversation over one video, with a cache of fixed size.

    What is kept of it when that is full: model.window; `pin` extends the prefix that is kept for ever. Raises
    StreamError for a window that is too small. reply_ids: of the latest reply, with its end-of-sequence if the model
    wrote it. is_prepared: whether all is ready that makes this stream fast.
    """

    def __init__(self, engine: Engine, grammar: Grammar, options: StreamOptions) -> None:
        self._engine = engine
        self._grammar = grammar
        self._frame_tokens = grammar.spec.num_frame_tokens
        check_window(grammar, options.window_tokens, options.max_reply_tokens)
        self.options = options
        self.silence_threshold = options.silence_threshold
        self.cache = engine.make_cache(options.window_tokens)
        self.cursor = Cursor()
        self._window = Window(options.window_tokens)
        self.reply_ids: list[int] = []
        self._is_replying = False
        self.is_prepared = False
        self._drafter = Drafter(min(options.draft_tokens, engine.max_draft_tokens))
        self._latest_ND: Tensor | None = None  # the latest frame, where a question needs one behind it
        self._history = _History(engine, options.window_tokens) if options.eviction == "recompute" else None

    @property
    def num_tokens(self) -> int:
        """Positions of the cache in use."""
        return self.cache.num_tokens

    @property
    def num_frames(self) -> int:
        """Frames observed since the stream began."""
        return self._window.marks.num_frames

    @property
    def num_frames_kept(self) -> int:
        """Frames that are still in the cache, but for those of the prefix. Any thread may read it."""
        return len(self._window.marks.frame_ends)

    @property
    def kept_tokens(self) -> int:
        """Length of the prefix that is never evicted."""
        return self._window.marks.kept

    @property
    def system_prompt(self) -> str:
        """The prompt that the stream began with."""
        return self._grammar.system_prompt

    # ---- frames --------------------------------------------------------------------------------------------

    def observe(self, frame_tokens_ND: Tensor) -> Decision:
        """Append one frame to the stream and say how likely silence is.

        frame_tokens_ND: connector output, in the decoder's dtype and on its device.
        """
        return self.observe_many(frame_tokens_ND[None])[0]

    def observe_many(self, frame_tokens_KND: Tensor, stops_at: Callable[[Decision], bool] = speaks) -> list[Decision]:
        """Append frames together, as if all but the last were silent; same decisions as one by one.

        Returns the decisions up to and including the first one that `stops_at` is true of: that speaks, or, for a
        caller who would leave some of what the model wants to say unsaid, that is to be said. Frames after that one are
        not consumed: the caller brings them again after the reply.
        """
        self._check_idle()
        if self._window.is_crowded(self.num_tokens):
            self._forget()
        _check_frames(frame_tokens_KND, self._frame_tokens)
        decisions: list[Decision] = []
        while len(decisions) < len(frame_tokens_KND) and not (decisions and stops_at(decisions[-1])):
            decisions += self._observe_pass(frame_tokens_KND[len(decisions) :], stops_at)
        return decisions

    def _observe_pass(self, frames_KND: Tensor, stops_at: Callable[[Decision], bool]) -> list[Decision]:
        """Append as many frames as fit in one pass without evicting between them; at least one."""
        opening, closing = self._grammar.before_frame(self.cursor), self._grammar.before_decision
        if self._make_room(len(opening) + self._frame_tokens + len(closing)):
            opening = self._grammar.before_frame(self.cursor)
        interval = self._grammar.before_frame(Cursor("frame"))
        step = len(interval) + self._frame_tokens
        room = 1 + (self.cache.free - len(opening) - self._frame_tokens - len(closing)) // step
        most = 1 if self._window.marks.pins_next_frame else MAX_FRAMES_PER_PASS
        count = min(len(frames_KND), most, room)
        opening_TD, interval_TD = self._engine.embed(opening, keep=True), self._engine.embed(interval, keep=True)
        pieces = [piece for frame in frames_KND[:count] for piece in (interval_TD, frame)]
        pieces[0] = opening_TD
        pieces.append(self._engine.embed(closing, keep=True))
        start = self.cache.num_tokens
        ends = [len(opening) + self._frame_tokens + k * step for k in range(count)]
        readings = self._append(torch.cat(pieces), [end - 1 + len(closing) for end in ends])
        decisions = decide(readings, self._grammar, self.silence_threshold, stops_at)
        for end in ends[: len(decisions)]:
            self._window.note_frame(start + end)
        self.cache.rollback(start + ends[len(decisions) - 1])
        last = len(decisions) - 1
        self.cursor = Cursor("frame", opening_id=readings[last].other)
        if self._grammar.template.answers_after_frame:
            self._latest_ND = frames_KND[last].clone()
        return decisions

    # ---- words ---------------------------------------------------------------------------------------------

    def ask(self, text: str, notes: Sequence[str] = ()) -> None:
        """Queue a question; `reply` answers it. Several may be asked before one reply. notes: of the past.

        Raises StreamError if the questions together would take more than an eighth of the window.
        """
        self._check_idle()
        text = self._grammar.said_by_user(self._grammar.with_notes(text, notes))
        cursor = replace(self.cursor, questions=(*self.cursor.questions, text))
        self._window.check_question(sum(len(self._grammar.ids(question)) for question in cursor.questions))
        self.cursor = cursor

    def pin(self) -> None:
        """Keep everything up to the end of the next frame for ever: a standing instruction, for example.

        Refused with StreamError if that would fill more than half of the window.
        """
        self._window.pin(self.num_tokens)

    def reply(self) -> Iterator[str]:
        """Write a reply, greedily, piece by piece; the first piece may begin with a space.

        Where questions are answered after a frame, the latest one is shown again behind a question that waits.

        Closing the iterator cuts the reply off: what was yielded stays in the cache, properly closed.
        """
        self._check_idle()
        if self.cursor.questions and self._latest_ND is not None:
            self._observe_pass(self._latest_ND[None], speaks)
        self._make_room(len(self._grammar.before_reply(self.cursor)) + self.options.max_reply_tokens + 1)
        unfed, written, length = self._grammar.before_reply(self.cursor), "", self.num_tokens
        begun = [self.cursor.opening_id] if not unfed and self.cursor.opening_id is not None else []
        self._is_replying, self.reply_ids = True, []
        try:
            while len(self.reply_ids) < self.options.max_reply_tokens:
                self.cache.rollback(length)  # of guesses that were wrong
                for token_id in begun or self._next_ids(unfed):
                    length += len(unfed)
                    self.reply_ids.append(token_id)
                    unfed = [token_id]
                    if token_id == self._grammar.eos_id:
                        unfed = []
                        return
                    text = self._grammar.text(self.reply_ids)
                    if not text.endswith("\ufffd"):  # else a character is still incomplete
                        piece, written = text[len(written) :], text
                        if piece:  # not of a header
                            yield piece
                begun = []
        finally:
            self.cache.rollback(length)
            self._drafter.note(self.reply_ids)
            self.cursor = self._grammar.after_reply(unfed)
            self._is_replying = False

    def _next_ids(self, unfed: list[int]) -> list[int]:
        """The most likely next tokens: one, and as many more as were guessed rightly. They are not in the cache, or too
        many are: the caller knows how long it should be."""
        room = self.options.max_reply_tokens - len(self.reply_ids) - 1
        guessed = self._drafter.guess(self.reply_ids)[:room]
        if self._grammar.eos_id in guessed:
            guessed = guessed[: guessed.index(self._grammar.eos_id)]
        first = len(unfed) - 1
        readings = self._append(self._engine.embed([*unfed, *guessed]), list(range(first, first + len(guessed) + 1)))
        begins = self._grammar.template.writes_header and not self.reply_ids
        first_id = readings[0].other if begins else readings[0].winner
        return confirmed_ids(guessed, [first_id, *(reading.winner for reading in readings[1:])])

    # ---- the window ----------------------------------------------------------------------------------------

    def _make_room(self, num_tokens: int) -> bool:
        """Evict until `num_tokens` fit; whether anything was evicted (the cursor may then have changed)."""
        cut = self._window.cut(self.num_tokens, num_tokens)
        if cut is None:
            return False
        if cut.is_all:
            self._forget()
        else:
            self._evict(cut.stop)
        if num_tokens > self.cache.free:
            raise StreamError(
                f"{num_tokens} tokens do not fit beside the {self.num_tokens} that are kept: widen the window "
                f"(window_tokens = {self.cache.capacity}), pin less, or shorten replies"
            )
        return True

    def _forget(self) -> None:
        """Evict everything behind the prefix; questions that wait still wait."""
        self._evict(self.num_tokens)
        place: Place = "frame" if self._window.marks.kept else "system"
        self.cursor = replace(self.cursor, place=place, pending_ids=())

    @torch.inference_mode()
    def _evict(self, stop: int) -> None:
        start, end = self._window.marks.kept, self.num_tokens
        self._window.note_cut(stop)
        if self._history is None:
            self.cache.evict(start, stop)
            return
        kept_TD = self._history.cut(start, stop, end)
        self.cache.rollback(start)
        if len(kept_TD):
            self._engine.read(self.cache, kept_TD, [len(kept_TD) - 1], self._grammar.silence_id)

    # ---- saving ---------------------------------------------------------------------------------------------

    def marks(self) -> Marks:
        """A copy of the stream's bookkeeping."""
        return replace(self._window.marks, frame_ends=list(self._window.marks.frame_ends))

    def export(self) -> dict[str, Tensor]:
        """Copies of all tensors that the stream is made of, by name. Not while a reply is being written."""
        self._check_idle()
        tensors = self.cache.export()
        if self._history is not None:
            tensors["history"] = self._history.rows_TD[: self.num_tokens].clone()
        if self._latest_ND is not None:
            tensors["latest_frame"] = self._latest_ND.clone()
        return tensors

    @torch.inference_mode()
    def restore(self, tensors: dict[str, Tensor], cursor: Cursor, marks: dict) -> None:
        """Take over what another stream of the same options exported."""
        self.cache.restore(tensors, self._engine.device)
        if self._history is not None:
            self._history.note(0, tensors["history"])
        if "latest_frame" in tensors:
            self._latest_ND = tensors["latest_frame"].to(self._engine.device, self._engine.dtype)
        self.cursor, self._window.marks = cursor, Marks(**marks)

    # ---- the decoder ---------------------------------------------------------------------------------------

    def prepare(self) -> bool:
        """Make one more thing ready that will make this stream faster; False if no more can be. For idle moments."""
        is_more = self._engine.prepare(self.cache)
        self.is_prepared = not is_more and not self._engine.is_out_of_memory(self.cache)
        return is_more

    def _append(self, embeds_TD: Tensor, wanted: list[int]) -> list[Reading]:
        start = self.num_tokens
        if self._history is not None:
            self._history.note(start, embeds_TD)
        return self._engine.read(self.cache, embeds_TD, wanted, self._grammar.silence_id)

    def _check_idle(self) -> None:
        if self._is_replying:
            raise StreamError("a reply is still being written: finish or close it first")
