"""Which moments of a source become frames: a fixed grid of `fps` a second. Pure.

Files are sampled and held: the frame of grid time k/fps is the newest picture at or before it, so that a file of any
frame rate, constant or not, gives the same number of frames a second. Live sources give the first picture at or after
each grid time, and nothing is made up when none comes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

EPSILON_S = 1e-4


def first_index(start_s: float, fps: float) -> int:
    """The number of the first frame of a video whose first picture is shown from start_s on: the grid time nearest to
    it.

    So nothing of a video is lost whose sound begins a moment earlier than its pictures.
    """
    return max(0, math.floor(start_s * fps + 0.5))


def end_index(end_s: float, fps: float) -> int:
    """One more than the number of the last frame of a video whose last picture is shown until end_s."""
    return max(0, math.ceil((end_s - EPSILON_S) * fps))


class FileGrid:
    """Turns the times at which pictures of a file are shown into the numbers of the frames that each of them fills."""

    def __init__(self, fps: float):
        self._fps = fps
        self._first = 0
        self._next: int | None = None

    def indexes(self, start_s: float, end_s: float, *, is_last: bool = False) -> Iterator[int]:
        """The frames k, of time k/fps, that a picture fills which is shown from start_s until end_s. Pictures in order.

        is_last: no picture follows. A video of one short picture, between two grid times, still gives one frame.
        """
        if self._next is None:
            self._first = self._next = first_index(start_s, self._fps)
        stop = end_index(end_s, self._fps)
        if is_last and self._next == self._first:
            stop = max(stop, self._first + 1)
        while self._next < stop:
            self._next += 1
            yield self._next - 1


class LiveGrid:
    """Says of each picture as it comes whether it is to be a frame."""

    def __init__(self, fps: float):
        self._fps = fps
        self._next = 0

    def is_due(self, time_s: float) -> bool:
        """True for the first picture at or after each grid time; missed grid times are not made up for."""
        if time_s + EPSILON_S < self._next / self._fps:
            return False
        self._next = int((time_s + EPSILON_S) * self._fps) + 1
        return True
