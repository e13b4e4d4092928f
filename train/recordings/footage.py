"""Videos of any kind as frames on a grid of time. By PyAV.

Pictures leave upright (rotation applied), with square pixels; the frame of grid time k/fps is the picture shown then.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from model.frames import letterbox
from train.recordings.record import RecordingsError

MAX_SIDE_PX = 1280  # as the assistant sees it: larger pictures are scaled down in two steps
EPSILON_S = 1e-4
MAX_STEP_S = 1.0
MAX_GAP_S = 60.0


@dataclass(frozen=True)
class Footage:
    """A video that can be read. duration_s: from its first picture until the last one has been shown."""

    path: Path
    duration_s: float
    num_bytes: int

    def num_frames(self, fps: float) -> int:
        """Frames on the grid: those of all times k/fps before the end."""
        return max(1, math.ceil((self.duration_s - EPSILON_S) * fps))


def probe(path: Path) -> Footage:
    """Look through a video without decoding it. Raises RecordingsError if it cannot be read."""
    try:
        with _open(path) as container:
            stream = _video_stream(container, path)
            duration_s = _duration_s(container, stream, path)
    except (FFmpegError, OSError) as error:
        raise RecordingsError(f"{path}: cannot be read: {error.strerror}; is the copy whole?") from None
    return Footage(path, duration_s, path.stat().st_size)


def sample(footage: Footage, fps: float, size: int) -> Iterator[np.ndarray]:
    """The frames of the video, size × size × 3 uint8, letterboxed as for the model; fewer if its end is damaged.

    Damaged pictures are passed over; the one before them stays. A picture shown at several times is one array.
    """
    count = footage.num_frames(fps)
    shown, time_s = 0, 0.0
    held: VideoFrame | None = None
    with _open(footage.path) as container:
        stream = _video_stream(container, footage.path)
        aspect = float(stream.sample_aspect_ratio or 1)
        for next_s, picture in _timed(container, stream):
            due = _due(shown, count, fps, next_s)
            if held is not None and due:
                yield from [_to_frame(held, aspect, size)] * due
                shown += due
            if shown == count:
                return
            held, time_s = picture, next_s
        if held is not None:  # the last picture stays as long as any; what is missing beyond that is damaged
            due = _due(shown, count, fps, time_s + MAX_STEP_S)
            yield from [_to_frame(held, aspect, size)] * due


def _due(shown: int, count: int, fps: float, end_s: float) -> int:
    """How many more of `count` grid times lie before end_s."""
    return max(0, min(count, math.ceil((end_s - EPSILON_S) * fps)) - shown)


def _timed(container: InputContainer, stream: VideoStream) -> Iterator[tuple[float, VideoFrame]]:
    """Each picture that can be decoded, with seconds since the first; a clock that runs backwards stands still."""
    stream.thread_type = "AUTO"
    step_s = _step_s(stream)
    first_s: float | None = None
    time_s = -step_s
    for packet in container.demux(stream):
        try:
            pictures = packet.decode()
        except FFmpegError:
            continue
        for picture in pictures:
            stamp_s = picture.time
            first_s = (stamp_s or 0.0) if first_s is None else first_s
            time_s = time_s + step_s if stamp_s is None else max(time_s, stamp_s - first_s)
            time_s = max(0.0, time_s)
            yield time_s, picture


def _to_frame(picture: VideoFrame, aspect: float, size: int) -> np.ndarray:
    """The picture upright, S×S×3. aspect: width of a stored pixel over its height."""
    turns = round(picture.rotation / 90) % 4  # counterclockwise
    width, height = max(1, round(picture.width * aspect)), picture.height
    scale = min(1.0, MAX_SIDE_PX / max(width, height))
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    how = "AREA" if width * height < picture.width * picture.height else "BILINEAR"
    rgb = np.rot90(picture.to_ndarray(format="rgb24", width=width, height=height, interpolation=how), turns)
    return np.ascontiguousarray(letterbox(rgb, size).transpose(1, 2, 0))


def _open(path: Path) -> InputContainer:
    return av.open(str(path))


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first real video stream; cover pictures of music files do not count."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise RecordingsError(f"{path}: has no picture, only {'sound' if container.streams.audio else 'other data'}")


def _duration_s(container: InputContainer, stream: VideoStream, path: Path) -> float:
    """From the first picture's time to the last one's end, by the packets' time stamps."""
    step_s, base = _step_s(stream), float(stream.time_base or Fraction(1, 90_000))
    packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
    if not packets:
        raise RecordingsError(f"{path}: holds not one picture; is the copy whole?")
    times_s = sorted(packet.pts * base for packet in packets if packet.pts is not None)
    if len(times_s) < len(packets):  # without time stamps, the frame rate has to do
        return len(packets) * step_s
    for before_s, after_s in itertools.pairwise(times_s):
        if after_s - before_s > MAX_GAP_S:
            at_s, gap_s = before_s - times_s[0], after_s - before_s
            raise RecordingsError(f"{path}: its clock jumps by {gap_s:.0f} s at {at_s:.1f} s; cut it in two there")
    last = max(packets, key=lambda packet: packet.pts or 0)
    last_s = last.duration * base if last.duration else step_s
    return times_s[-1] - times_s[0] + min(last_s, MAX_STEP_S)


def _step_s(stream: VideoStream) -> float:
    rate = stream.average_rate or stream.guessed_rate
    return float(1 / rate) if rate else 1 / 30
