"""How fast a streaming model runs on this machine: the same work everywhere, whatever the weights would have decided.

The decoder's head gets a bias by which silence, or one word, always wins. So every frame is passed over in silence and
every reply is as long as was asked for, on random weights as on trained ones, and what is timed is the path that a
running stream takes: pictures from the CPU's memory, tower, connector, decoder, decision.

Shapes: K pictures, S image side in pixels, N tokens a frame, D decoder width.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from model.stream import MAX_FRAMES_PER_PASS, Stream
from model.videolm import VideoLM

REPLY_TOKENS, REPLY_EVERY = 20, 20
BACKLOG_FRAMES = 20
MIXED_FRAMES = 600
MIN_SAMPLES = 5
_WINS = 1e4  # no logit comes near it


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one thing done `count` times."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Timing":
        """From seconds, at least one."""
        return cls(len(seconds), *(1000 * float(value) for value in np.quantile(seconds, (0.5, 0.95, 0.99))))


@dataclass(frozen=True)
class AtLength:
    """What one frame and one word take with a cache that held `num_tokens` when the timing began.

    silent_frame: from a picture to its decision. decoder_frame: the same from the frame's tokens on. token: one word of
    a reply.
    """

    num_tokens: int
    silent_frame: Timing
    decoder_frame: Timing
    token: Timing


@dataclass(frozen=True)
class Bench:
    """All figures of one machine.

    first_ms: the first frame of all. mixed: each of up to MIXED_FRAMES pictures, with a reply of REPLY_TOKENS words
    after every REPLY_EVERY-th; mixed_fps: of those, replies included. backlog: BACKLOG_FRAMES pictures encoded and
    decided together. cache_bytes: of the KV cache. peak_bytes: most memory on the GPU, None on a CPU.
    """

    first_ms: float
    at_length: list[AtLength]
    mixed: Timing
    mixed_fps: float
    backlog: Timing
    cache_bytes: int
    peak_bytes: int | None


class Bencher:
    """One model under measurement. samples: of each timing, or as many as max_seconds allow, but at least MIN_SAMPLES.

    `measure` may be called again; the model is as it was afterwards.
    """

    def __init__(self, model: VideoLM, *, window_tokens: int, samples: int = 30, max_seconds: float = 60.0) -> None:
        self._model = model
        self._window_tokens = window_tokens
        self._samples = samples
        self._max_seconds = max_seconds
        side = model.image_size
        self._pictures_K3SS = torch.randint(0, 256, (BACKLOG_FRAMES, 3, side, side), dtype=torch.uint8)
        head = model.decoder.get_output_embeddings()
        assert isinstance(head, nn.Linear)
        self._head = head

    def measure(self, lengths: Sequence[int], on_part: Callable[[str], None] = lambda _: None) -> Bench:
        """Measure everything. lengths: tokens in the cache, each at most the window. on_part: hears what comes next.

        Raises StreamError for a window that is too small.
        """
        device = self._model.device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        with self._decided() as let_win:
            on_part("first frame")
            stream = self._open()
            first_s = self._time(lambda: self._look_and_observe(stream))
            at_length = []
            for length in lengths:
                on_part(f"{length:,} tokens in the cache")
                at_length.append(self._at_length(length, let_win))
            on_part("frames and replies")
            mixed_s = self._mix(let_win)
            on_part("backlog")
            half_full = self._open(filled=self._window_tokens // 2)
            backlog_s = self._repeat(lambda: self._catch_up(half_full))
        return Bench(
            1000 * first_s,
            at_length,
            Timing.of(mixed_s),
            len(mixed_s) / sum(mixed_s),
            Timing.of(backlog_s),
            half_full.cache.num_bytes,
            torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        )

    def _at_length(self, length: int, let_win: Callable[[str], None]) -> AtLength:
        stream = self._open(filled=length)
        silent_s = self._repeat(lambda: self._look_and_observe(stream))
        stream, seen_KND = self._open(filled=length), self._model.encode(self._pictures_K3SS[:1])
        decoder_s = self._repeat(lambda: stream.observe(seen_KND[0]))
        stream = self._open(filled=length)
        let_win("a word")
        words_s = self._sample(lambda: self._time_words(stream))
        let_win("silence")
        return AtLength(length, Timing.of(silent_s), Timing.of(decoder_s), Timing.of(words_s[: self._samples]))

    def _time_words(self, stream: Stream) -> list[float]:
        """Of one reply, without its first word, which comes with the words before a reply."""
        reply = stream.reply()
        taken_s = [self._time(lambda: next(reply)) for _ in range(REPLY_TOKENS)]
        assert not list(reply)
        return taken_s[1:]

    def _mix(self, let_win: Callable[[str], None]) -> list[float]:
        stream, taken_s = self._open(), []
        until_s = time.perf_counter() + self._max_seconds

        def frame_with_reply() -> None:
            self._look_and_observe(stream)
            let_win("a word")
            for _ in stream.reply():
                pass
            let_win("silence")

        for number in range(1, MIXED_FRAMES + 1):
            has_reply = number % REPLY_EVERY == 0
            taken_s.append(self._time(frame_with_reply if has_reply else lambda: self._look_and_observe(stream)))
            if has_reply and time.perf_counter() > until_s:
                break
        return taken_s

    def _look_and_observe(self, stream: Stream) -> None:
        stream.observe(self._model.encode(self._pictures_K3SS[:1])[0])

    def _catch_up(self, stream: Stream) -> None:
        pictures = self._pictures_K3SS.split(MAX_FRAMES_PER_PASS)
        decisions = stream.observe_many(torch.cat([self._model.encode(some) for some in pictures]))
        assert len(decisions) == BACKLOG_FRAMES

    def _open(self, *, filled: int = 0) -> Stream:
        """A stream that has seen frames until `filled` tokens were in its cache, or the window was full."""
        model = self._model
        stream = model.open_stream(
            silence_threshold=0.0, window_tokens=self._window_tokens, max_reply_tokens=REPLY_TOKENS
        )
        weight = next(model.decoder.parameters())
        size = (MAX_FRAMES_PER_PASS, model.num_frame_tokens, model.decoder.config.hidden_size)
        frames_KND = torch.randn(size, dtype=weight.dtype, device=weight.device) / 50
        before = -1
        while before < stream.num_tokens < filled:  # it shrinks when the window is full
            before = stream.num_tokens
            stream.observe_many(frames_KND)
        return stream

    def _repeat(self, act: Callable[[], object]) -> list[float]:
        return self._sample(lambda: [self._time(act)])

    def _sample(self, take: Callable[[], list[float]]) -> list[float]:
        taken_s, until_s = [], time.perf_counter() + self._max_seconds
        while len(taken_s) < self._samples and (len(taken_s) < MIN_SAMPLES or time.perf_counter() < until_s):
            taken_s += take()
        return taken_s

    def _time(self, act: Callable[[], object]) -> float:
        self._wait()
        started_s = time.perf_counter()
        act()
        self._wait()
        return time.perf_counter() - started_s

    def _wait(self) -> None:
        if self._model.device.type == "cuda":
            torch.cuda.synchronize(self._model.device)

    @contextmanager
    def _decided(self) -> Iterator[Callable[[str], None]]:
        """Within, "silence" wins everywhere, or "a word" after it was let win."""
        ids = {"silence": self._model.grammar.silence_id, "a word": self._model.grammar.ids(" a")[-1]}
        weight, before = self._head.weight, self._head.bias
        bias_V: Tensor = torch.zeros(weight.shape[0], dtype=weight.dtype, device=weight.device)
        self._head.bias = nn.Parameter(bias_V, requires_grad=False)

        def let_win(what: str) -> None:
            bias_V.zero_()
            bias_V[ids[what]] = _WINS

        let_win("silence")
        try:
            yield let_win
        finally:
            self._head.bias = before
