"""Opens a video and gives its pictures with the times at which they are shown. By PyAV.

A `Video` belongs to the thread that opened it. What is wrong with it on the way (damaged pictures, a clock that was set
anew, an early end) is told to `warn`, in the words for the user; it is read as far as it goes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import VideoError, VideoMissing
from model.video.timeline import PacketClock, PictureClock
from model.video.upright import Upright

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

EARLY_END_S = 1.0
LONG_S = 60.0
"""A picture that stays for longer is told of: in real time it looks like a program that hangs."""

PLAYLISTS = ("hls", "applehttp", "dash", "rtsp", "sdp", "mpjpeg")
"""Formats whose address has a length that is not the video's, or none."""

TS_DISCONT = 0x0200
"""libav's mark of formats whose clock may be set anew within a file (AVFMT_TS_DISCONT)."""

DEFAULT_STEP_S = 1 / 25
CUT_PACKETS = 3  # so far before a break the last packets of a recording may lie that was cut off there
NUM_EXPLAINED = 30  # packets that are looked at again, to find out why none could be decoded


@dataclass(frozen=True)
class Shown:
    """A decoded picture, as it is stored, and from when until when it is shown: seconds from the video's second 0."""

    picture: VideoFrame
    start_s: float
    end_s: float
    is_last: bool = False


def _nothing(*_: object) -> None:
    pass


class Video:
    """An opened video. Use `Video.open`, then `pictures` or `arriving` once, then `close`; or as a context.

    upright: makes its pictures look as they are meant. duration_s: of the whole, as the container says; None where it
    has no known end. is_file: whether it has an end, and waits until it is read; live sources do neither.
    """

    @classmethod
    def open(
        cls,
        target: str | Path,
        *,
        name: str,
        options: Mapping[str, str] | None = None,
        file_format: str | None = None,
        timeout_s: tuple[float | None, float | None] | float | None = None,
        warn: Callable[[str], object] = _nothing,
        alive: Callable[[], object] = _nothing,
    ) -> Video:
        """Open it and choose its picture, as players do.

        target: a file's path, or an address. name: for messages, without passwords. timeout_s: for opening and for each
        reading. alive: is called often while it is read. Raises VideoError (not a video that can be read) or
        VideoMissing (cannot be opened).
        """
        import av
        from av.error import FFmpegError, InvalidDataError

        with contextlib.ExitStack() as kept:
            began_s = time.monotonic()
            try:
                address = target if isinstance(target, str) else _address_of(target, kept)
                container = av.open(
                    address,
                    format=file_format,
                    options=dict(options or {}),
                    timeout=timeout_s,
                    metadata_errors="replace",
                )
            except InvalidDataError:
                limit_s = _limit_s(timeout_s)
                if limit_s is not None and time.monotonic() - began_s >= limit_s:  # of RTSP no other word comes
                    raise VideoMissing(f"{name}: cannot be opened: {_no_answer(limit_s)}") from None
                why = "is not a video that can be read (not a known format, or cut off before its index)"
                raise VideoError(f"{name}: {why}") from None
            except (FFmpegError, OSError, ValueError) as error:
                raise VideoMissing(f"{name}: cannot be opened: {_reason(error, timeout_s)}") from None
            kept.callback(container.close)
            stream = _choose(container, name)
            return cls(container, stream, address, name, timeout_s, warn, alive, kept.pop_all())

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        address: str,
        name: str,
        timeout_s: Any,
        warn: Callable[[str], object],
        alive: Callable[[], object],
        kept: contextlib.ExitStack,
    ):
        """Use `Video.open`."""
        self._container, self._stream, self._address, self._name = container, stream, address, name
        self._timeout_s, self._warn, self._alive, self._kept = timeout_s, warn, alive, kept
        self.upright = Upright(float(stream.sample_aspect_ratio or 1))
        self._origin_s = None if container.start_time is None else container.start_time / 1e6
        end_s = _end_s(container, stream)
        self.duration_s = container.duration / 1e6 if container.duration else end_s and end_s - (self._origin_s or 0.0)
        self.end_s = 0.0  # of the last picture that was given
        self.ended_by = ""  # what ended the reading before the end
        self._has_told_of_long = False
        self._num_pictures = self._num_packets = self._num_damaged = self._num_breaks = 0
        rate = stream.average_rate or stream.guessed_rate
        step_s = float(1 / rate) if rate else DEFAULT_STEP_S
        self._tick_s = float(stream.time_base or 1 / 90_000)
        may_break = bool(container.format.flags & TS_DISCONT)
        self._packet_clock = PacketClock(self._tick_s, may_break=may_break, step_s=step_s)
        self._clock = PictureClock(step_s, self._origin_s)

    @property
    def is_file(self) -> bool:
        """As the source says: it has a duration, or a length in bytes. A live stream has neither."""
        names = self._container.format.name.split(",")
        return self.duration_s is not None or (not set(names) & set(PLAYLISTS) and self._container.size > 0)

    @property
    def has_size(self) -> bool:
        """Whether a picture was seen in it when it was opened."""
        return self._stream.codec_context.width > 0

    def pictures(self) -> Iterator[Shown]:
        """All pictures in order; what is damaged is passed over and told at the end. Raises VideoError if there are
        none.
        """
        self._stream.thread_type = "AUTO"
        held: VideoFrame | None = None
        held_s = 0.0
        try:
            for picture in self._decoded():
                start_s = self._time_of(picture)
                if held is not None:
                    self._tell_of_a_long_one(held_s, start_s)
                    yield Shown(held, held_s, start_s)
                held, held_s = picture, start_s
            if held is None:
                raise VideoError(f"{self._name}: {self._why_nothing()}")
            self.end_s = held_s + self._clock.last_duration_s
            yield Shown(held, held_s, self.end_s, is_last=True)
            self._tell_of_an_early_end()
        finally:
            if held is not None and self._num_damaged:
                count = max(self._num_packets, self._num_pictures)
                self._warn(f"{self._name}: {self._num_damaged} of {count} pictures are damaged")

    def arriving(self) -> Iterator[VideoFrame]:
        """The pictures of a live source, each as soon as it has come, until it is lost (`ended_by` says why)."""
        # whole frames in parallel would be faster, but each is held back for the next ones
        self._stream.thread_type = "SLICE"
        yield from self._decoded()

    def measure(self) -> tuple[float, float]:
        """When the first picture comes and the last one ends, in seconds, by the packets alone: nothing is decoded.

        The same as `pictures` gives if all can be decoded. Raises VideoError if there is not one, or there is no end.
        """
        if not self.is_file:
            raise VideoError(f"{self._name}: is a live stream, which has no end")
        packets = [
            (packet.pts, packet.dts, packet.duration)
            for packet in self._placed_packets()
            if packet.size and not packet.is_discard
        ]
        if not packets:
            raise VideoError(f"{self._name}: {self._why_nothing()}")
        if all(pts is not None or dts is not None for pts, dts, _ in packets):
            packets.sort(key=lambda stamps: (stamps[1] if stamps[0] is None else stamps[0]) or 0)  # as they are shown
        first_s = self._seconds(*packets[0])
        last_s = first_s
        for stamps in packets[1:]:
            last_s = self._seconds(*stamps)
        return first_s, last_s + self._clock.last_duration_s

    def close(self) -> None:
        """Let go of the file. Twice is fine."""
        self._kept.close()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _placed_packets(self) -> Iterator[Packet]:
        """The packets of the stream with their stamps put right; the last one is empty, and asks the decoder for the
        rest.
        """
        from av.error import FFmpegError

        packets, cut_at = self._container.demux(self._stream), -CUT_PACKETS
        while True:
            self._alive()
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (FFmpegError, OSError) as error:
                self.ended_by = _reason(error, self._timeout_s)
                return
            if packet.size:
                self._num_packets += 1
                pts, dts, found = self._packet_clock.place(packet.pts, packet.dts, packet.duration)
                packet.pts, packet.dts = pts, dts
                if found is not None:
                    self._tell_of_a_break(found.by_s, packet)
                    if self._num_packets - cut_at <= CUT_PACKETS:  # it only meant that another recording follows
                        self._num_damaged -= 1
                elif packet.is_corrupt:
                    self._num_damaged += 1
                    cut_at = self._num_packets
            yield packet

    def _decoded(self) -> Iterator[VideoFrame]:
        from av.error import DecoderNotFoundError, FFmpegError

        for packet in self._placed_packets():
            try:
                decoded = packet.decode()
            except DecoderNotFoundError:
                raise VideoError(f"{self._name}: {_unknown(self._stream)}") from None
            except FFmpegError:
                self._num_damaged += 1
                continue
            yield from self._counted(decoded)
        if self.ended_by:  # what the decoder still holds back
            with contextlib.suppress(FFmpegError):
                yield from self._counted(self._stream.codec_context.decode(None))

    def _counted(self, decoded: list[VideoFrame]) -> Iterator[VideoFrame]:
        for picture in decoded:
            self._alive()
            self._num_pictures += 1
            self._num_damaged += picture.is_corrupt
            yield picture

    def _time_of(self, picture: VideoFrame) -> float:
        return self._seconds(picture.pts, picture.dts, picture.duration)

    def _seconds(self, pts: int | None, dts: int | None, duration: int | None) -> float:
        pts_s, dts_s = (None if stamp is None else stamp * self._tick_s for stamp in (pts, dts))
        return self._clock.time_of(pts_s, dts_s, (duration or 0) * self._tick_s or None)

    def _tell_of_a_break(self, by_s: float, packet: Packet) -> None:
        self._num_breaks += 1
        if self._num_breaks == 1:
            at_s = (packet.dts or 0) * self._tick_s - (self._origin_s or 0.0)
            way = "ahead" if by_s > 0 else "back"
            text = f"its clock jumps {way} by {abs(by_s):.1f} s at {at_s:.1f} s (recordings that were joined?)"
            self._warn(f"{self._name}: {text}; the times go on without that")

    def _tell_of_a_long_one(self, start_s: float, end_s: float) -> None:
        if end_s - start_s > LONG_S and not self._has_told_of_long:
            self._has_told_of_long = True
            self._warn(f"{self._name}: one picture stays for {end_s - start_s:.0f} s, from {start_s:.1f} s on")

    def _tell_of_an_early_end(self) -> None:
        if self.ended_by:
            self._warn(f"{self._name}: cannot be read beyond {self.end_s:.1f} s: {self.ended_by}")
            return
        expected_s = _end_s(self._container, self._stream)
        if expected_s is None or self._num_breaks:
            return
        expected_s -= self._origin_s or 0.0
        if self.end_s < expected_s - max(EARLY_END_S, 2 * self._clock.last_duration_s):
            text = f"the picture ends early: {self.end_s:.1f} s of {expected_s:.1f} s can be read"
            self._warn(f"{self._name}: {text}")

    def _why_nothing(self) -> str:
        """Of a video without one picture: what is wrong with it, as well as can be told."""
        codec = _codec_of(self._stream)
        if not self._num_packets:
            return f"holds no picture; is the copy whole? ({codec})" + (f": {self.ended_by}" if self.ended_by else "")
        words = _explain(self._address) if self._address.startswith("file:") else ""
        said = f" (the decoder says: {words})" if words else ""
        return f"not one picture of its {codec} can be decoded{said}; it is damaged, or of a kind that is not supported"


def _address_of(path: Path, keep: contextlib.ExitStack) -> str:
    """What to open for a file of this name, whatever the name holds: "12:30.mp4" is no protocol."""
    absolute = os.path.abspath(path)
    try:
        absolute.encode("utf-8")
    except UnicodeEncodeError:  # libav is told names in UTF-8 only
        descriptor = os.open(absolute, os.O_RDONLY | os.O_CLOEXEC)
        keep.callback(os.close, descriptor)
        absolute = f"/proc/self/fd/{descriptor}"
    return f"file:{absolute}"


def _choose(container: InputContainer, name: str) -> VideoStream:
    """The default picture, of several the largest; cover pictures of music files do not count. Raises VideoError."""
    from av.stream import Disposition

    no_picture = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & no_picture]
    if not streams:
        what = "only sound, no picture" if container.streams.audio else "no video stream"
        raise VideoError(f"{name}: has {what}; name a video")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise VideoError(f"{name}: {_unknown(streams[0])}")

    def rank(stream: VideoStream) -> tuple[bool, int]:
        return bool(stream.disposition & Disposition.default), stream.codec_context.width * stream.codec_context.height

    return max(known, key=rank)


def _unknown(stream: VideoStream) -> str:
    return f"holds {_codec_of(stream)}, which cannot be decoded here; convert it to H.264"


def _codec_of(stream: VideoStream) -> str:
    """What a stream is coded in, for people."""
    return f"{stream.codec_context.name} video" if stream.codec_context is not None else "video of an unknown codec"


def _end_s(container: InputContainer, stream: VideoStream) -> float | None:
    """When a stream ends by its file's own clock, as that file says; None where it does not."""
    if stream.duration is not None and stream.time_base is not None:
        start = 0 if container.format.name == "asf" else stream.start_time or 0  # ASF counts from 0
        return float((start + stream.duration) * stream.time_base)
    try:  # Matroska's, "00:01:02.500000000"; some writers leave out what comes before the first picture
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except (KeyError, ValueError):
        return None


def _explain(address: str) -> str:
    """What libav complains of first when it decodes the beginning of a file; "" if it says nothing."""
    import av
    from av import logging as libav_log
    from av.error import FFmpegError

    before = libav_log.get_level()
    libav_log.set_level(libav_log.WARNING)
    try:
        with (
            libav_log.Capture(local=False) as said,
            contextlib.suppress(FFmpegError, OSError),
            av.open(address) as container,
        ):
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            for number, packet in enumerate(container.demux(stream)):
                with contextlib.suppress(FFmpegError):
                    packet.decode()
                if number >= NUM_EXPLAINED:
                    break
    finally:
        libav_log.set_level(before)
    return next((" ".join(text.split())[:120] for _, _, text in said if text.strip()), "")


def _limit_s(timeout_s: Any) -> float | None:
    return timeout_s[-1] if isinstance(timeout_s, tuple) else timeout_s


def _no_answer(limit_s: float | None) -> str:
    return "no answer in time" if limit_s is None else f"no answer within {limit_s:g} s"


def _reason(error: Exception, timeout_s: Any) -> str:
    """What libav says, without the address: that one may hold a password."""
    from av.error import ExitError, FFmpegError, ProtocolNotFoundError

    if isinstance(error, ExitError | TimeoutError):
        return _no_answer(_limit_s(timeout_s))
    if isinstance(error, ProtocolNotFoundError):
        return "the PyAV that is installed was built without this kind of address (`pip install av` has no srt://)"
    words = error.strerror if isinstance(error, FFmpegError | OSError) else None
    return words or type(error).__name__
