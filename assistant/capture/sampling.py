"""Which moments of a source become frames: a fixed grid of `fps` a second. Pure.

Files are sampled and held: the frame of grid time k/fps is the newest picture at or before it, so that a
file of any frame rate, constant or not, gives the same number of frames a second. Live sources give the
first picture at or after each grid time, and nothing is made up when none comes.
"""

from __future__ import annotations

EPSILON_S = 1e-4
MAX_GAP_S = 60.0


class FileGrid:
    """Turns the pictures' own times into the grid times that each picture fills."""

    def __init__(self, fps: float):
        self._fps = fps
        self._next = 0

    def due_before(self, time_s: float) -> list[float]:
        """The grid times that the picture *before* one at time_s still fills: all up to just before time_s.

        A gap of more than a minute is a broken clock rather than a still picture: it is skipped, not filled.
        """
        end = time_s - EPSILON_S
        if end - self._next / self._fps > MAX_GAP_S:
            self._next = int(time_s * self._fps)
            return []
        times = []
        while (at_s := self._next / self._fps) < end:
            times.append(at_s)
            self._next += 1
        return times


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
