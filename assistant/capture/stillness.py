"""Notices a live picture that shows nothing: a covered lens, or a camera that sends the same picture again and again.

Pure; the capture thread owns it. Pixels on a coarse grid are looked at, which takes microseconds.
"""

from __future__ import annotations

import numpy as np

AFTER_S = 10.0
STEP_PX = 16
BLACK_LEVEL = 10
"""Of 255: a sensor in the dark is noisy, and seldom brighter."""


class Stillness:
    """Use: `note` for every picture, in order."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._since_s: dict[str, float] = {}
        self._told = ""

    def note(self, pixels_HW3: np.ndarray, at_s: float) -> str | None:
        """What to tell the user now: "black", "frozen", "" when it is over; None: nothing new. at_s: monotonic."""
        coarse = pixels_HW3[::STEP_PX, ::STEP_PX].copy()
        is_black = float(np.quantile(coarse, 0.99)) < BLACK_LEVEL
        is_frozen = self._last is not None and np.array_equal(coarse, self._last)
        self._last = coarse
        for name, is_so in (("black", is_black), ("frozen", is_frozen)):
            if not is_so or name not in self._since_s:
                self._since_s[name] = at_s
        state = next((name for name, since_s in self._since_s.items() if at_s - since_s >= AFTER_S), "")
        if state == self._told:
            return None
        self._told = state
        return state
