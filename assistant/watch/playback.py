"""A whole video through the threads of a run, as fast as it goes: for counting and timing what comes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.runtime.messages import Event, Seen
from assistant.watch.app import App, WatchPlan

if TYPE_CHECKING:
    from assistant.capture.source import Source
    from assistant.config.keys import Config
    from model.videolm import VideoLM


@dataclass(frozen=True)
class Playback:
    """num_frames: decided. seconds: from the first decision to the last. decoder_s: of those that the decoder was at
    work, replies included."""

    num_frames: int
    seconds: float
    decoder_s: float


def replay(model: VideoLM, config: Config, source: Source, *, max_batch: int) -> Iterator[Event]:
    """Everything that happens while a fresh stream sees all of the video, as `onlooker watch --max-speed` does it.

    Raises what ends the run, such as a file that cannot be read.
    """
    app = App(WatchPlan(source, config, lossless=True, max_batch=max_batch), model)
    app.start()
    try:
        yield from app.events()
    finally:
        app.stop()
    if app.failure:
        raise app.failure


def play(model: VideoLM, config: Config, source: Source, *, max_batch: int) -> Playback:
    """Time it, with the replies of `model.bench` instead of the model's own: 20 words after every 20th frame.

    Unlike there, the tower and the decoder work at the same time, each in its thread.
    """
    from model.bench import REPLY_EVERY, REPLY_TOKENS, Decided
    from model.videolm import VideoLM

    engine = Decided(model, reply_every=REPLY_EVERY)
    decided = VideoLM(
        name=model.name,
        engine=engine,
        encoder=model.encoder,
        grammar=model.grammar,
        fps=model.fps,
        silence_threshold=0.0,
    )
    stream = config.stream.model_copy(update={"silence_threshold": "checkpoint", "max_reply_tokens": REPLY_TOKENS})
    config = config.model_copy(update={"stream": stream})
    seen_s, decoder_s = [], 0.0
    for event in replay(decided, config, source, max_batch=max_batch):
        if isinstance(event, Seen):
            seen_s.append(time.perf_counter())
            decoder_s = decoder_s or engine.busy_s
    return Playback(len(seen_s), seen_s[-1] - seen_s[0], engine.busy_s - decoder_s)
