"""The way out for the pictures of a live source, the same for all readers. Runs in the capture child."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from assistant.capture.protocol import Outlet
from model.video.grid import LiveGrid


class LiveOutlet:
    """Says that the source is ready, ships the pictures that are due at the rate `fps`, and notices that the parent has
    gone, which raises as `Outlet` does.
    """

    def __init__(self, outlet: Outlet, fps: float):
        self._outlet, self._grid = outlet, LiveGrid(fps)
        self._first_s: float | None = None  # monotonic: second 0 of the stream

    def show(self, width: int, height: int, rgb: Callable[[], np.ndarray]) -> None:
        """A picture of this size has just come. rgb: asked if it is due; height × width × 3, uint8, and smaller where a
        side has more than MAX_SIDE_PX."""
        now_s = time.monotonic()
        if self._first_s is None:
            self._first_s = now_s
            self._outlet.ready(width, height, None, is_live=True)
        self._outlet.alive()
        time_s = now_s - self._first_s
        if self._grid.is_due(time_s):
            self._outlet.ship(rgb(), time_s, now_s, wait=False)
