"""Speed and memory of three ways to talk about a video while it runs (VideoLLM-online, table of inference efficiency).

streaming: after each frame one pass decides; words follow only where something is to be said. per-frame: each frame is
a turn of its own, its prompt and its end-of-sequence included. interleaved: a model that has learned words alone, and
not when to say them, so that after every frame a whole reply must be written to know whether there is something to say;
where there is not, it is taken back.

What is measured is one cache and one decoder, driven directly: replies come at given frames and have a given length,
which is all that random weights can do. Nothing is evicted: the cache holds the whole video.

Shapes: N tokens a frame, D decoder width, T tokens.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from model.decoder import append, embedding, make_ring
from model.grammar import Cursor, Grammar

Way = Literal["interleaved", "per-frame", "streaming"]
WAYS: tuple[Way, ...] = ("interleaved", "per-frame", "streaming")
GIB = 2**30


@dataclass(frozen=True)
class Glue:
    """How many tokens stand between frames and words.

    opening: the system prompt, up to the first frame. between: two frames in one silence. closing: before a reply.
    reopening: from a reply's end-of-sequence to the next frame.
    """

    opening: int
    between: int
    closing: int
    reopening: int

    @classmethod
    def of(cls, grammar: Grammar) -> "Glue":
        """As `grammar` says it, which must not be one of per-frame dialogue."""
        return cls(
            len(grammar.before_frame(Cursor())),
            len(grammar.before_frame(Cursor("frame"))),
            len(grammar.before_reply(Cursor("frame"))),
            len(grammar.before_frame(grammar.after_reply())),
        )


@dataclass(frozen=True)
class Plan:
    """A video of `num_frames`, after every `speak_every`-th of which a reply of `reply_tokens` is due."""

    num_frames: int
    frame_tokens: int
    speak_every: int
    reply_tokens: int
    glue: Glue

    def is_due(self, frame: int) -> bool:
        """Whether something is to be said after this frame."""
        return (frame + 1) % self.speak_every == 0

    def capacity(self, way: Way) -> int:
        """Positions that the cache of the whole video takes."""
        glue, following = self.glue, self.num_frames - 1
        num_replies, spoken_before = self.num_frames // self.speak_every, following // self.speak_every
        frames = glue.opening + self.num_frames * self.frame_tokens
        if way == "per-frame":
            turns = self.num_frames * glue.closing + following * glue.reopening
            return frames + turns + num_replies * (self.reply_tokens - 1) + spoken_before
        reply = glue.closing + self.reply_tokens - 1  # its last word is fed with what comes next
        between = (following - spoken_before) * glue.between + spoken_before * (glue.reopening + 1)
        is_last_taken_back = way == "interleaved" and not self.is_due(self.num_frames - 1)
        return frames + between + (num_replies + is_last_taken_back) * reply


@dataclass(frozen=True)
class Measured:
    """One way's figures over `frames_done` of the video's `num_frames`; never extrapolated.

    ms: of a frame and what was said after it. cache_gib: as allocated, for the whole video. peak_gib: of all memory on
    the GPU, weights included; None on a CPU.
    """

    way: Way
    num_frames: int
    frames_done: int
    seconds: float
    fps: float
    p50_ms: float
    p95_ms: float
    cache_tokens: int
    cache_gib: float
    peak_gib: float | None


def measure(
    way: Way, decoder: PreTrainedModel, next_frame: Callable[[], Tensor], plan: Plan, *, max_seconds: float
) -> Measured:
    """Show the video in one way, for `max_seconds` at most; a few frames before that, unmeasured, to warm up.

    next_frame: gives frame tokens N×D.
    """
    warm = replace(plan, num_frames=4, speak_every=2)
    _show(way, decoder, next_frame, warm, max_seconds)
    device = next(decoder.parameters()).device
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    talk, taken_s = _show(way, decoder, next_frame, plan, max_seconds)
    p50_s, p95_s = np.quantile(taken_s, (0.5, 0.95))
    return Measured(
        way=way,
        num_frames=plan.num_frames,
        frames_done=len(taken_s),
        seconds=sum(taken_s),
        fps=len(taken_s) / sum(taken_s),
        p50_ms=1000 * float(p50_s),
        p95_ms=1000 * float(p95_s),
        cache_tokens=talk.num_tokens,
        cache_gib=talk.num_bytes / GIB,
        peak_gib=torch.cuda.max_memory_allocated(device) / GIB if device.type == "cuda" else None,
    )


def _show(
    way: Way, decoder: PreTrainedModel, next_frame: Callable[[], Tensor], plan: Plan, max_seconds: float
) -> tuple["_Talk", list[float]]:
    """The talk as it stood in the end, and the seconds that each frame took."""
    talk, taken_s = _Talk(decoder, plan.capacity(way)), []
    talk.feed(1)  # the cache gets its memory with the first token
    talk.take_back(0)
    until_s = time.perf_counter() + max_seconds
    for frame in tqdm(range(plan.num_frames), desc=way, unit="frame"):
        started_s = time.perf_counter()
        if started_s >= until_s:
            break
        _show_frame(way, talk, next_frame(), plan, frame)
        taken_s.append(time.perf_counter() - started_s)
    return talk, taken_s


def _show_frame(way: Way, talk: "_Talk", tokens_ND: Tensor, plan: Plan, frame: int) -> None:
    glue = plan.glue
    has_spoken = frame > 0 and plan.is_due(frame - 1)
    if frame == 0:
        before = glue.opening
    elif way == "per-frame" or has_spoken:
        before = glue.reopening + has_spoken  # the last word of a reply comes with what follows it
    else:
        before = glue.between
    if way == "per-frame":
        talk.feed(before, tokens_ND, glue.closing)
        if plan.is_due(frame):
            talk.write(plan.reply_tokens - 1)
        return
    talk.feed(before, tokens_ND)
    if way == "interleaved" or plan.is_due(frame):
        mark = talk.num_tokens
        talk.feed(glue.closing)
        talk.write(plan.reply_tokens - 1)
        if not plan.is_due(frame):
            talk.take_back(mark)


class _Talk:
    """A decoder and its cache, fed with frames and with words of which only the number matters."""

    def __init__(self, decoder: PreTrainedModel, capacity: int) -> None:
        self._decoder = decoder
        self._cache = make_ring(decoder, capacity)
        self._embed = embedding(decoder)
        self._device = next(decoder.parameters()).device

    @property
    def num_tokens(self) -> int:
        """Positions in use."""
        return self._cache.num_tokens

    @property
    def num_bytes(self) -> int:
        """Memory of the cache."""
        return self._cache.num_bytes

    @torch.inference_mode()
    def feed(self, before: int, frame_ND: Tensor | None = None, after: int = 0) -> int:
        """One pass over words, a frame, words; the most likely next token, which is waited for."""
        words_TD = self._embed(torch.zeros(before + after, dtype=torch.long, device=self._device))
        pieces = [words_TD[:before], *([frame_ND] if frame_ND is not None else []), words_TD[before:]]
        embeds_TD = torch.cat(pieces)
        return int(append(self._decoder, self._cache, embeds_TD, [len(embeds_TD) - 1]).argmax())

    def write(self, count: int) -> None:
        """`count` words, one pass each."""
        for _ in range(count):
            self.feed(1)

    def take_back(self, num_tokens: int) -> None:
        """Forget all but the first positions."""
        self._cache.rollback(num_tokens)
