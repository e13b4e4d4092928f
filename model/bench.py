"""How fast a streaming model runs on this machine: the same work everywhere, whatever the weights would have decided.

What the decoder reads is replaced by silence, or by one word, after it was computed. So every frame is passed over in
silence and every reply is as long as was asked for, on random weights as on trained ones, and what is timed is the path
that a running stream takes: pictures from the CPU's memory, tower, connector, decoder, decision. One thing it takes is
left out: no word is guessed (model.draft). Here the tower and the decoder take turns, in one thread.

Shapes: K pictures, S image side in pixels, N tokens a frame, D decoder width.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
import psutil
import torch
from torch import Tensor

from model.cache import KVRing
from model.engine import MAX_FRAMES_PER_PASS, Engine, Reading
from model.stream import Stream, StreamOptions
from model.videolm import VideoLM

REPLY_TOKENS, REPLY_EVERY = 20, 20
BACKLOG_FRAMES, LONG_BACKLOG_FRAMES = 20, 200
MIXED_FRAMES = 600
MIN_SAMPLES = 5
END_FRAMES = 2000


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
    """What one frame and one word take with about `num_tokens` in the cache.

    first_tokens, last_tokens: in the cache when the first silent frame was timed, and after the last; a full window
    begins again at seven eighths.

    silent_frame: from a picture to its decision. decoder_frame: the same from the frame's tokens on. token: one word of
    a reply.
    """

    num_tokens: int
    first_tokens: int
    last_tokens: int
    silent_frame: Timing
    decoder_frame: Timing
    token: Timing


@dataclass(frozen=True)
class Memory:
    """What is held at one moment: by this process in the CPU's memory, and in tensors on the GPU (None on a CPU)."""

    process_bytes: int
    gpu_bytes: int | None


@dataclass(frozen=True)
class Stretch:
    """Frames in a row, one by one, a reply after every REPLY_EVERY-th: how long the others took, from picture to
    decision, and the memory after the last."""

    silent_frame: Timing
    memory: Memory


@dataclass(frozen=True)
class LongRun:
    """One stream of `num_frames` pictures over a full window: what has changed between its first and last frames.

    Each end is a tenth of it, or END_FRAMES. Between them the pictures go MAX_FRAMES_PER_PASS at a time.
    """

    num_frames: int
    first: Stretch
    last: Stretch


@dataclass(frozen=True)
class Bench:
    """All figures of one machine.

    first_ms: opening the first stream of all, and its first frame. ready_ms: that, and making ready all that makes it
    fast. mixed: each of up to MIXED_FRAMES pictures, with a reply of REPLY_TOKENS words after every REPLY_EVERY-th;
    mixed_fps: of those, replies included. backlog, long_backlog: BACKLOG_FRAMES and LONG_BACKLOG_FRAMES pictures
    encoded and decided together. opened: memory with the model alone. memory: after all those, with one stream open.
    cache_bytes: of the KV cache.
    peak_bytes: most memory on the GPU, None on a CPU. long_run: None if none was asked for.
    """

    opened: Memory
    first_ms: float
    ready_ms: float
    at_length: list[AtLength]
    mixed: Timing
    mixed_fps: float
    backlog: Timing
    long_backlog: Timing
    memory: Memory
    cache_bytes: int
    peak_bytes: int | None
    long_run: LongRun | None


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
        self._engine = Decided(model)
        self._is_prepared = False

    def measure(
        self, lengths: Sequence[int], on_part: Callable[[str], None] = lambda _: None, *, long_run_frames: int = 0
    ) -> Bench:
        """Measure everything. lengths: tokens in the cache, each at most the window. on_part: hears what comes next.

        long_run_frames: of a long run, at least 10, however long they take; 0 for none. Raises StreamError for a window
        that is too small.
        """
        device = self._model.device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        opened = self._memory()
        on_part("first frame")
        started_s = time.perf_counter()
        stream = self._open()
        self._look_and_observe(stream)
        first_s = time.perf_counter() - started_s
        self._prepare(stream)
        ready_s = time.perf_counter() - started_s
        del stream
        at_length = []
        for length in lengths:
            on_part(f"{length:,} tokens in the cache")
            at_length.append(self._at_length(length))
        on_part("frames and replies")
        mixed_s = self._mix()
        stream, backlogs_s = self._open(filled=self._window_tokens // 2), []
        for num_frames in (BACKLOG_FRAMES, LONG_BACKLOG_FRAMES):
            on_part(f"backlog of {num_frames} frames")
            backlogs_s.append(self._catch_up(stream, num_frames))
        memory, cache_bytes, long_run = self._memory(), stream.cache.num_bytes, None
        del stream  # else it would count in the long run's memory
        if long_run_frames:
            on_part(f"long run of {long_run_frames:,} frames")
            long_run = self._run_long(long_run_frames)
        return Bench(
            opened=opened,
            first_ms=1000 * first_s,
            ready_ms=1000 * ready_s,
            at_length=at_length,
            mixed=Timing.of(mixed_s),
            mixed_fps=len(mixed_s) / sum(mixed_s),
            backlog=Timing.of(backlogs_s[0]),
            long_backlog=Timing.of(backlogs_s[1]),
            memory=memory,
            cache_bytes=cache_bytes,
            peak_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
            long_run=long_run,
        )

    def _at_length(self, length: int) -> AtLength:
        seen_ND = self._model.encode(self._pictures_K3SS[:1])[0]
        stream = self._open(filled=length)
        first = stream.num_tokens
        silent_s = self._repeat(lambda: self._look_and_observe(stream))
        last = stream.num_tokens
        del stream  # one cache at a time
        stream = self._open(filled=length)
        decoder_s = self._repeat(lambda: stream.observe(seen_ND))
        del stream
        stream = self._open(filled=length)
        words_s = self._sample(lambda: self._time_words(stream))
        figures = Timing.of(silent_s), Timing.of(decoder_s), Timing.of(words_s[: self._samples])
        return AtLength(length, first, last, *figures)

    def _time_words(self, stream: Stream) -> list[float]:
        """Of one reply, without its first word, which comes with the words before a reply."""
        self._engine.speak()
        reply = stream.reply()
        taken_s = [self._time(lambda: next(reply)) for _ in range(REPLY_TOKENS)]
        rest = list(reply)
        assert not rest
        return taken_s[1:]

    def _mix(self) -> list[float]:
        taken_s, until_s = [], time.perf_counter() + self._max_seconds
        for frame_s, has_reply in islice(self._frames_and_replies(self._open()), MIXED_FRAMES):
            taken_s.append(frame_s)
            if has_reply and time.perf_counter() > until_s:
                break
        return taken_s

    def _run_long(self, num_frames: int) -> LongRun:
        stream, num_end = self._open(filled=self._window_tokens), min(END_FRAMES, num_frames // 10)
        frames = self._frames_and_replies(stream)
        assert num_end

        def stretch() -> Stretch:
            silent_s = [frame_s for frame_s, has_reply in islice(frames, num_end) if not has_reply]
            return Stretch(Timing.of(silent_s), self._memory())

        first = stretch()
        for number, start in enumerate(range(2 * num_end, num_frames, MAX_FRAMES_PER_PASS), 1):
            together = min(MAX_FRAMES_PER_PASS, num_frames - start)
            stream.observe_many(self._model.encode(self._pictures_K3SS[:together]))
            if number % REPLY_EVERY == 0:
                self._reply(stream)
        return LongRun(num_frames, first, stretch())

    def _frames_and_replies(self, stream: Stream) -> Iterator[tuple[float, bool]]:
        """Without end: the seconds of each picture, and whether a reply after it is in them."""

        def frame_with_reply() -> None:
            self._look_and_observe(stream)
            self._reply(stream)

        for number in count(1):
            has_reply = number % REPLY_EVERY == 0
            yield self._time(frame_with_reply if has_reply else lambda: self._look_and_observe(stream)), has_reply

    def _reply(self, stream: Stream) -> None:
        self._engine.speak()
        pieces = list(stream.reply())
        assert len(pieces) == REPLY_TOKENS

    def _look_and_observe(self, stream: Stream) -> None:
        stream.observe(self._model.encode(self._pictures_K3SS[:1])[0])

    def _catch_up(self, stream: Stream, num_frames: int) -> list[float]:
        """Seconds of each time that so many pictures had waited."""
        pictures_K3SS = self._pictures_K3SS[torch.arange(num_frames) % BACKLOG_FRAMES]

        def catch_up() -> None:
            frames_KND = torch.cat([self._model.encode(some) for some in pictures_K3SS.split(MAX_FRAMES_PER_PASS)])
            decisions = stream.observe_many(frames_KND)
            assert len(decisions) == num_frames

        return self._repeat(catch_up)

    def _open(self, *, filled: int = 0) -> Stream:
        """A stream that has seen frames until `filled` tokens were in its cache, or the window was full."""
        options = StreamOptions(0.0, self._window_tokens, max_reply_tokens=REPLY_TOKENS, draft_tokens=0)
        stream, engine = Stream(self._engine, self._model.grammar, options), self._engine
        if self._is_prepared:
            self._prepare(stream)
        size = (MAX_FRAMES_PER_PASS, self._model.num_frame_tokens, engine.width)
        frames_KND = torch.randn(size, dtype=engine.dtype, device=engine.device) / 50
        before = -1
        while before < stream.num_tokens < filled:  # it shrinks when the window is full
            before = stream.num_tokens
            stream.observe_many(frames_KND)
        return stream

    def _prepare(self, stream: Stream) -> None:
        """From here on no stream grows faster while it is timed, nor does the encoder."""
        while stream.prepare() or self._model.encoder.prepare():
            pass
        self._is_prepared = True

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

    def _memory(self) -> Memory:
        device = self._model.device
        gpu_bytes = torch.cuda.memory_allocated(device) if device.type == "cuda" else None
        return Memory(psutil.Process().memory_info().rss, gpu_bytes)


class Decided(Engine):
    """A model's engine, whose readings say silence or one word, whatever was computed: the same work for all weights.

    reply_every: a reply of REPLY_TOKENS words follows after so many frames; None: only where `speak` is called.
    busy_s: seconds spent in passes so far, what is copied back included.
    """

    max_draft_tokens = 0  # one word again and again would always be guessed rightly

    def __init__(self, model: VideoLM, *, reply_every: int | None = None) -> None:
        self._engine = engine = model.engine
        self.kind, self.weights = engine.kind, engine.weights
        self.decoder, self.device, self.dtype, self.width = engine.decoder, engine.device, engine.dtype, engine.width
        self.busy_s = 0.0
        self._silence, self._word = model.grammar.silence_id, model.grammar.ids(" a")[-1]
        self._reply_every, self._num_frames, self._words_left = reply_every, 0, 0

    def speak(self) -> None:
        """The next passes are those of a reply."""
        self._words_left = REPLY_TOKENS

    def embed(self, ids: Sequence[int], *, keep: bool = False) -> Tensor:
        return self._engine.embed(ids, keep=keep)

    def make_cache(self, capacity: int) -> KVRing:
        return self._engine.make_cache(capacity)

    def read(self, cache: KVRing, embeds_TE: Tensor, wanted: Sequence[int], watched_id: int) -> list[Reading]:
        started_s = time.perf_counter()
        readings = self._engine.read(cache, embeds_TE, wanted, watched_id)
        self.busy_s += time.perf_counter() - started_s
        if self._words_left:
            self._words_left -= 1
            return [reading._replace(winner=self._word, other=self._word) for reading in readings]
        return list(self._over_frames(readings))

    def _over_frames(self, readings: list[Reading]) -> Iterator[Reading]:
        """Up to the frame that speaks; what comes after it will be read again."""
        for reading in readings:
            self._num_frames += 1
            if self._reply_every and self._num_frames % self._reply_every == 0:
                self.speak()
                yield Reading(0.0, self._word, self._word)
                return
            yield reading._replace(winner=self._silence)

    def prepare(self, cache: KVRing) -> bool:
        return self._engine.prepare(cache)
