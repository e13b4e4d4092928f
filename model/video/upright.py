"""How a decoded picture is meant to be shown: turned and mirrored as its container says, square pixels, at most so
large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.video.tone import is_high_dynamic_range, to_standard_range

if TYPE_CHECKING:
    from av import VideoFrame

MAX_SIDE_PX = 1280
"""Larger pictures are scaled down before anything else is done to them; a model sees a few hundred pixels a side."""


@dataclass(frozen=True)
class Orientation:
    """What is done to stored pixels, in this order: rows and columns change places, left and right, top and bottom."""

    transposes: bool = False
    mirrors: bool = False
    flips: bool = False

    def apply(self, pixels_HW3: np.ndarray) -> np.ndarray:
        """The picture as it is shown; a view."""
        shown = pixels_HW3.swapaxes(0, 1) if self.transposes else pixels_HW3
        return shown[:: -1 if self.flips else 1, :: -1 if self.mirrors else 1]


def orientation_of(matrix: tuple[int, ...]) -> Orientation:
    """What a container's display matrix (nine numbers, 16.16 fixed point, row by row) asks for.

    A stored point (x, y) is shown at (a·x + c·y, b·x + d·y), where a, b and c, d begin the first two rows. Angles
    between quarter turns become the nearest one.
    """
    a, b, _, c, d = matrix[:5]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(mirrors=a < 0, flips=d < 0)
    return Orientation(transposes=True, mirrors=c < 0, flips=b < 0)


def fit_within(width: int, height: int, limit: int) -> tuple[int, int]:
    """The size with the same proportions and neither side above `limit` (nor below 1), in pixels."""
    scale = min(1.0, limit / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


class Upright:
    """Makes pictures look as they are meant to be shown. aspect: width of a stored pixel over its height."""

    def __init__(self, aspect: float = 1.0):
        self._aspect = aspect

    def size(self, picture: VideoFrame) -> tuple[int, int]:
        """Width and height in square pixels, as shown."""
        width = max(1, round(picture.width * self._aspect))
        return (picture.height, width) if _orientation(picture).transposes else (width, picture.height)

    def rgb(self, picture: VideoFrame) -> np.ndarray:
        """Height × width × 3 RGB uint8; sides at most MAX_SIDE_PX. A view of pixels that nobody else has."""
        orientation = _orientation(picture)
        width, height = fit_within(max(1, round(picture.width * self._aspect)), picture.height, MAX_SIDE_PX)
        is_smaller = width * height < picture.width * picture.height
        how = "AREA" if is_smaller else "BILINEAR"
        if is_high_dynamic_range(picture):
            deep = picture.to_ndarray(format="rgb48le", width=width, height=height, interpolation=how)
            return orientation.apply(to_standard_range(deep, picture))
        return orientation.apply(picture.to_ndarray(format="rgb24", width=width, height=height, interpolation=how))


def _orientation(picture: VideoFrame) -> Orientation:
    data = picture.side_data.get("DISPLAYMATRIX")
    return orientation_of(tuple(np.frombuffer(bytes(data), np.int32).tolist())) if data else Orientation()
