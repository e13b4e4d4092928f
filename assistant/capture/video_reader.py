"""Reads files and network streams with PyAV. Runs in the capture child.

Pictures leave upright (rotation applied), with square pixels, as RGB. Damaged packets are skipped and told
of at the end; a file that stops early is read as far as it goes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from assistant.capture.protocol import MAX_SIDE_PX, Outlet, SourceFailed, Start, fit_within
from assistant.capture.sampling import FileGrid, LiveGrid

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

EARLY_END_S = 1.0
PUSH_OPTIONS = {"listen": "1", "analyzeduration": "500000", "probesize": "100000"}
PATIENCE_S = 10.0  # to open it, or for the next piece of a file; a live source is given up earlier by the parent


def read_video(start: Start, outlet: Outlet) -> None:
    """Ship a file's or stream's frames until it ends. Raises SourceFailed."""
    from av.error import FFmpegError

    container = _open(start)
    try:
        stream = _video_stream(container, start)
        duration_s = _duration_s(container, stream)
        is_live = start.kind == "push" or (start.kind == "network" and duration_s is None)
        # decoding whole frames in parallel is faster, but holds each back until the next ones have come
        stream.thread_type = "SLICE" if is_live else "AUTO"
        upright = Upright(float(stream.sample_aspect_ratio or 1))
        pictures = _Pictures(container, stream, outlet, start)
        if is_live:
            _read_live(pictures, upright, outlet, start)
            raise SourceFailed("missing", f"{start.shown}: the stream was lost: {pictures.ended_by or 'it ended'}")
        _read_file(pictures, upright, outlet, start, duration_s)
    except FFmpegError as error:
        raise SourceFailed("media", f"{start.shown}: cannot be decoded: {error.strerror}") from None
    finally:
        container.close()


class _Pictures:
    """Iterates over the decoded pictures, passing over what is damaged.

    num_damaged: packets that could not be decoded. ended_by: what ended the reading before the end, if anything did.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, outlet: Outlet, start: Start):
        self._container, self._stream, self._outlet, self._start = container, stream, outlet, start
        self.num_damaged = 0
        self.ended_by: str | None = None

    def __iter__(self) -> Iterator[av.VideoFrame]:
        from av.error import FFmpegError

        packets = self._container.demux(self._stream)
        while True:
            self._outlet.alive()
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (FFmpegError, OSError) as error:
                self.ended_by = _reason(error, self._start)
                return
            try:
                decoded = packet.decode()
            except FFmpegError:
                self.num_damaged += 1
                continue
            for picture in decoded:
                self._outlet.alive()
                yield picture


def _read_file(pictures: _Pictures, upright: Upright, outlet: Outlet, start: Start, duration_s: float | None) -> None:
    grid = FileGrid(start.fps)
    held: av.VideoFrame | None = None
    first_s, time_s, step_s = 0.0, 0.0, 1 / 30

    def fill(picture: av.VideoFrame, before_s: float) -> None:
        times = grid.due_before(before_s)
        if times:
            rgb = upright.rgb(picture)
            for at_s in times:
                outlet.ship(rgb, at_s, time.monotonic(), wait=True)

    for picture in pictures:
        stamp_s = picture.time
        if held is None:
            first_s = stamp_s or 0.0
            outlet.ready(*upright.size(picture), duration_s, is_live=False)
        else:
            at_s = time_s + step_s if stamp_s is None else stamp_s - first_s
            at_s = max(at_s, time_s)  # a clock that runs backwards stands still
            if at_s > time_s:
                step_s = min(at_s - time_s, 1.0)
            fill(held, at_s)
            time_s = at_s
        held = picture
    if held is None:
        raise SourceFailed("media", f"{start.shown}: not one picture in it can be decoded; the file is damaged")
    fill(held, time_s + step_s)
    if duration_s is not None and time_s + step_s < duration_s - max(EARLY_END_S, step_s):
        outlet.warn(f"{start.shown}: the picture ends early: {time_s + step_s:.1f} s of {duration_s:.1f} s can be read")
    if pictures.num_damaged:
        outlet.warn(f"{start.shown}: {pictures.num_damaged} damaged packets were passed over")


def _read_live(pictures: _Pictures, upright: Upright, outlet: Outlet, start: Start) -> None:
    grid = LiveGrid(start.fps)
    first_s: float | None = None
    for picture in pictures:
        now_s = time.monotonic()
        if first_s is None:
            first_s = now_s
            outlet.ready(*upright.size(picture), None, is_live=True)
        if grid.is_due(now_s - first_s):
            outlet.ship(upright.rgb(picture), now_s - first_s, now_s, wait=False)


class Upright:
    """Makes pictures look as they are meant to be shown. aspect: width of a stored pixel over its height."""

    def __init__(self, aspect: float):
        self._aspect = aspect

    def size(self, picture: av.VideoFrame) -> tuple[int, int]:
        """Width and height in square pixels, after rotation."""
        width = max(1, round(picture.width * self._aspect))
        return (picture.height, width) if _quarter_turns(picture) % 2 else (width, picture.height)

    def rgb(self, picture: av.VideoFrame) -> np.ndarray:
        """Height × width × 3 RGB uint8; sides at most MAX_SIDE_PX."""
        turns = _quarter_turns(picture)
        width, height = fit_within(*self.size(picture), MAX_SIDE_PX)
        if turns % 2:
            width, height = height, width
        is_smaller = width * height < picture.width * picture.height
        how = "AREA" if is_smaller else "BILINEAR"
        return np.rot90(picture.to_ndarray(format="rgb24", width=width, height=height, interpolation=how), turns)


def _quarter_turns(picture: av.VideoFrame) -> int:
    """Counterclockwise turns that bring the picture upright: 0–3."""
    return round(picture.rotation / 90) % 4


def _open(start: Start) -> InputContainer:
    import av
    from av.error import FFmpegError, InvalidDataError

    options = {"rtsp_transport": "tcp"} if start.target.startswith("rtsp") else {}
    try:
        if start.kind == "push":  # waits for a sender, for ever
            return av.open(start.target, format="flv", options=PUSH_OPTIONS, timeout=(None, None))
        return av.open(start.target, timeout=_patience_s(start), options=options)
    except InvalidDataError:
        text = f"{start.shown}: is not a video that can be read (not a known format, or cut off before its index)"
        raise SourceFailed("media", text) from None
    except (FFmpegError, OSError) as error:
        raise SourceFailed("missing", f"{start.shown}: cannot be opened: {_reason(error, start)}") from None


def _patience_s(start: Start) -> float:
    return max(PATIENCE_S, start.timeout_s)


def _reason(error: Exception, start: Start) -> str:
    """What libav says, without the address: that one may hold a password."""
    from av.error import ExitError, FFmpegError

    if isinstance(error, (ExitError, TimeoutError)):
        return f"no answer within {_patience_s(start):g} s"
    words = error.strerror if isinstance(error, (FFmpegError, OSError)) else None
    return words or type(error).__name__


def _video_stream(container: InputContainer, start: Start) -> VideoStream:
    """The first real video stream; cover pictures of music files do not count."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    what = "only sound, no picture" if container.streams.audio else "no video stream"
    raise SourceFailed("media", f"{start.shown}: has {what}; name a video")


def _duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / 1_000_000 if container.duration else None
