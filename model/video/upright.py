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
    from av.video.reformatter import VideoReformatter

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
    """Makes the pictures of one stream look as they are meant. aspect: width of a stored pixel over its height."""

    def __init__(self, aspect: float = 1.0):
        self._aspect = aspect
        self._reformatter: VideoReformatter | None = None  # one for all pictures: each has threads of its own
        self._orientation, self._oriented = Orientation(), (0, 0, 0)

    def size(self, picture: VideoFrame) -> tuple[int, int]:
        """Width and height in square pixels, as shown."""
        width = max(1, round(picture.width * self._aspect))
        return (picture.height, width) if self._orientation_of(picture).transposes else (width, picture.height)

    def rgb(self, picture: VideoFrame) -> np.ndarray:
        """Height × width × 3 RGB uint8; sides at most MAX_SIDE_PX. A view of pixels that nobody else has."""
        from av.video.reformatter import VideoReformatter

        orientation = self._orientation_of(picture)
        width, height = fit_within(max(1, round(picture.width * self._aspect)), picture.height, MAX_SIDE_PX)
        how = "AREA" if width * height < picture.width * picture.height else "BILINEAR"
        is_bright = is_high_dynamic_range(picture)
        self._reformatter = self._reformatter or VideoReformatter()
        form = "rgb48le" if is_bright else "rgb24"
        pixels = self._reformatter.reformat(picture, width, height, form, interpolation=how).to_ndarray()
        return orientation.apply(to_standard_range(pixels, picture) if is_bright else pixels)

    def _orientation_of(self, picture: VideoFrame) -> Orientation:
        """Looked up when a picture is unlike the one before: a look at its side data keeps it from being let go of."""
        about = (picture.width, picture.height, int(picture.rotation))
        if about != self._oriented:
            data = picture.side_data.get("DISPLAYMATRIX")
            matrix = np.frombuffer(bytes(data), np.int32).tolist() if data else [1, 0, 0, 0, 1]
            self._orientation, self._oriented = orientation_of(tuple(matrix)), about
        return self._orientation
