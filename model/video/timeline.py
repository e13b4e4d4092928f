"""When the pictures of a video are shown. Pure: numbers in, numbers out.

A file's time stamps are not to be taken as they are: recordings were joined, clocks were set, stamps are missing. The
rules here are those of ffmpeg's own reading, so that `ffmpeg` and players show the same picture at the same time, with
one exception: where a clock falls back in a format that does not allow it, ffmpeg loses the pictures until the clock
has caught up again, and here the times go on.

Two stages. `PacketClock` takes the packets in the order of the file, before they are decoded, and takes joins and jumps
out of their stamps. `PictureClock` takes the decoded pictures in the order they are shown, and gives each a time.
"""

from __future__ import annotations

from dataclasses import dataclass

FALL_S, RARE_FALL_S = 0.1, 1.0
"""A clock that falls back by more was set anew: the recording behind goes on where the one before ended. The first is
for formats whose clock may be set anew; in others, where decoding times are often made up, less is only disorder."""

JUMP_S = 10.0
"""So far a clock may jump ahead in a format whose clock may be set anew (MPEG-TS, HLS); beyond, time goes on without.
"""

BROKEN_S = 30 * 3600.0
"""In any other format a longer step is no pause between two pictures, but a broken stamp: it is not believed."""


@dataclass(frozen=True)
class Break:
    """Where the clock of a file was set anew. by_s: how far it is ahead of where it should be, or (negative) behind."""

    by_s: float


class PacketClock:
    """Takes joins, jumps and broken stamps out of the packets of one stream, in the order of the file.

    tick_s: the unit of all stamps, in seconds. may_break: whether the format lets its clock be set anew. step_s: from
    picture to picture, for packets that do not say how long they last.
    """

    def __init__(self, tick_s: float, *, may_break: bool, step_s: float):
        self._tick_s, self._may_break = tick_s, may_break
        self._step = max(1, round(step_s / tick_s))
        self._offset = 0  # to be added to every stamp from the last break on
        self._last: int | None = None  # decoding time of the packet before
        self._next: int | None = None  # where the next one should be

    def place(
        self, pts: int | None, dts: int | None, duration: int | None
    ) -> tuple[int | None, int | None, Break | None]:
        """A packet's stamps on one line, and the break before it, if there is one.

        pts, dts, duration: when it is shown and decoded, and for how long, in ticks; None or 0 where that is not known.
        """
        found = None
        if self._offset:
            pts, dts = (None if stamp is None else stamp + self._offset for stamp in (pts, dts))
        if dts is not None and self._next is not None and self._last is not None:
            ahead_s = (dts - self._next) * self._tick_s
            falls = (dts - self._last) * self._tick_s < -(FALL_S if self._may_break else RARE_FALL_S)
            if falls or (self._may_break and ahead_s > JUMP_S):
                found = Break(ahead_s)
                shift = self._next - dts
                self._offset += shift
                dts += shift
                pts = None if pts is None else pts + shift
            elif not self._may_break:
                dts = dts if self._is_believed(dts) else None
                pts = pts if pts is None or self._is_believed(pts) else None
        now = self._next if dts is None else dts
        if now is not None:
            self._last, self._next = now, now + (duration or self._step)
        return pts, dts, found

    def _is_believed(self, stamp: int) -> bool:
        assert self._next is not None
        return abs(stamp - self._next) * self._tick_s <= BROKEN_S


class PictureClock:
    """Gives decoded pictures their times, in the order they are shown; times never fall.

    step_s: from picture to picture, where the file says nothing. origin_s: the container's start, which is second 0 of
    the stream; None: the first picture's time.
    """

    def __init__(self, step_s: float, origin_s: float | None = None):
        self.last_duration_s = step_s
        self._origin_s = origin_s
        self._last_s: float | None = None
        self._last_pts_s = self._last_dts_s = float("-inf")
        self._num_bad_pts = self._num_bad_dts = 0

    def time_of(self, pts_s: float | None, dts_s: float | None, duration_s: float | None) -> float:
        """Seconds from the stream's second 0 until this picture is shown. `last_duration_s` is then for how long.

        pts_s, dts_s, duration_s: what the decoder says of it, in seconds; None where it says nothing.
        """
        stamp_s = self._guess(pts_s, dts_s)
        if self._origin_s is None:
            self._origin_s = stamp_s or 0.0
        last_s = self._last_s
        if stamp_s is not None:
            time_s = stamp_s - self._origin_s
        else:
            time_s = 0.0 if last_s is None else last_s + self.last_duration_s
        time_s = time_s if last_s is None else max(time_s, last_s)
        if duration_s:
            self.last_duration_s = min(duration_s, BROKEN_S)
        elif last_s is not None and time_s > last_s:
            self.last_duration_s = time_s - last_s
        self._last_s = time_s
        return time_s

    def _guess(self, pts_s: float | None, dts_s: float | None) -> float | None:
        """The stamp that has been wrong less often so far: some formats have only one of the two, or a useless one."""
        if dts_s is not None:
            self._num_bad_dts += dts_s <= self._last_dts_s
            self._last_dts_s = dts_s
        elif pts_s is not None:
            self._last_dts_s = pts_s
        if pts_s is not None:
            self._num_bad_pts += pts_s <= self._last_pts_s
            self._last_pts_s = pts_s
        elif dts_s is not None:
            self._last_pts_s = dts_s
        if pts_s is not None and (self._num_bad_pts <= self._num_bad_dts or dts_s is None):
            return pts_s
        return dts_s
