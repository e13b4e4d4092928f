"""Recorded videos as frames on the grid of time that the assistant, too, looks at them by."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.errors import VideoError
from model.frames import letterbox
from model.video.grid import FileGrid, end_index, first_index
from model.video.reading import Video
from train.recordings.record import RecordingsError


@dataclass(frozen=True)
class Footage:
    """A video that can be read. first_s, end_s: when its first picture comes and its last one ends, on its own clock.

    That clock is the one that players show: where sound begins before the picture, the first picture comes later than
    at 0.
    """

    path: Path
    first_s: float
    end_s: float
    num_bytes: int

    def frames(self, fps: float) -> range:
        """The numbers k of its frames, those of the times k/fps; at least one."""
        first = first_index(self.first_s, fps)
        return range(first, max(first + 1, end_index(self.end_s, fps)))


def probe(path: Path, warn: Callable[[str], object] = lambda _: None) -> Footage:
    """Look through a video without decoding it. Raises RecordingsError if it cannot be read."""
    try:
        with Video.open(path, name=str(path), warn=warn) as video:
            first_s, end_s = video.measure()
        return Footage(path, first_s, end_s, path.stat().st_size)
    except VideoError as error:
        raise RecordingsError(str(error)) from None
    except OSError as error:
        raise RecordingsError(f"{path}: cannot be read: {error.strerror}; is the copy whole?") from None


def sample(
    footage: Footage, fps: float, size: int, warn: Callable[[str], object] = lambda _: None
) -> Iterator[tuple[int, np.ndarray]]:
    """The frames of the video with their numbers, size × size × 3 uint8, letterboxed as for the model.

    Fewer than `footage.frames` if its end is damaged. Damaged pictures are passed over; the one before them stays. A
    picture shown at several times is one array.
    """
    grid, wanted = FileGrid(fps), footage.frames(fps)
    try:
        with Video.open(footage.path, name=str(footage.path), warn=warn) as video:
            for shown in video.pictures():
                frame: np.ndarray | None = None
                for index in grid.indexes(shown.start_s, shown.end_s, is_last=shown.is_last):
                    if index >= wanted.stop:
                        return
                    if frame is None:
                        square = letterbox(video.upright.rgb(shown.picture), size)
                        frame = np.ascontiguousarray(square.transpose(1, 2, 0))
                    yield index, frame
    except VideoError as error:
        raise RecordingsError(str(error)) from None
