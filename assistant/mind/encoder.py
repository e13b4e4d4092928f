"""The encoder thread: pixels in, frame tokens out. The only one that runs the vision tower."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from assistant.runtime.mailbox import Mailbox, put_until
from assistant.runtime.messages import Frame, FrameTokens

if TYPE_CHECKING:
    from model.videolm import VideoLM

KEEP_ONE_IN = 4
MAX_BATCH_CPU = 4  # more is no faster there, and each frame more takes 100 MB at 384 pixels


class FrameSkip:
    """Which frames are encoded: all of them, or while it is on one in KEEP_ONE_IN.

    `is_on` may be set by any thread; `wants` is called by one.
    """

    def __init__(self) -> None:
        self.is_on = False
        self._number = 0

    @property
    def keeps_one_in(self) -> int:
        """One frame in so many is encoded just now."""
        return KEEP_ONE_IN if self.is_on else 1

    def wants(self) -> bool:
        """Of the next frame."""
        self._number += 1
        return self._number % self.keeps_one_in == 0


def run_encoder(
    model: VideoLM,
    frames: Mailbox[Frame],
    tokens: Mailbox[FrameTokens],
    stop: threading.Event,
    *,
    lossless: bool,
    max_batch: int,
    note: Callable[[Frame], object] = lambda _: None,
    wants: Callable[[], bool] = lambda: True,
) -> None:
    """Encode what has queued, up to `max_batch` frames at once, until `frames` is drained or `stop` is set.

    note: is shown every frame. wants: whether the next one is to be encoded. lossless: wait for room in `tokens` rather
    than drop its oldest. Closes `tokens` at the end.
    """
    import torch

    if model.device.type == "cpu":
        max_batch = min(max_batch, MAX_BATCH_CPU)
    try:
        while not (stop.is_set() or frames.is_drained):
            batch = frames.take_many(max_batch, timeout_s=0.1)
            if not batch:
                model.encoder.prepare()
                continue
            for frame in batch:
                note(frame)
            batch = [frame for frame in batch if wants()]
            if not batch:
                continue
            squares = np.stack([model.preprocess(frame.pixels) for frame in batch])
            seen = model.look(torch.from_numpy(squares))
            strange = [None] * len(batch) if seen.strangeness_B is None else seen.strangeness_B.tolist()
            for frame, tokens_ND, strangeness in zip(batch, seen.tokens_BNE, strange, strict=True):
                encoded = FrameTokens(tokens_ND, frame.time_s, frame.captured_s, frame.index, strangeness)
                if lossless:
                    put_until(tokens, encoded, stop)
                else:
                    tokens.put(encoded)
    finally:
        tokens.close()
