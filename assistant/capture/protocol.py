"""What the capture thread and its child say to each other, and the shared memory the pictures travel in.

The pipe carries these small messages; pixels lie in one of a few slots of shared memory. The child fills a free slot
and says so (`Picture`); the parent copies it out and hands the slot back (its number). The memory has no name in any
file system: nobody else can open it, and it is gone with the two processes, however they end.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from model.video.upright import MAX_SIDE_PX

if TYPE_CHECKING:
    from assistant.capture.source import Kind

NUM_SLOTS = 4
SLOT_BYTES = MAX_SIDE_PX * MAX_SIDE_PX * 3
HEARTBEAT_S = 1.0


@dataclass(frozen=True)
class Start:
    """The first message to the child. fps: samples a second. tls_verify: refuse certificates that are not trusted."""

    kind: Kind
    target: str = field(repr=False)
    shown: str
    fps: float
    timeout_s: float
    tls_verify: bool = True


@dataclass(frozen=True)
class Ready:
    """The source is open. Sizes in pixels as shown (upright); duration_s: None when it has no known end."""

    width: int
    height: int
    duration_s: float | None
    is_live: bool


@dataclass(frozen=True)
class Picture:
    """A picture waits in `slot`. time_s: seconds since the source's first picture; captured_s: monotonic.

    num_lost: how many were due since the one before and found no free slot (live sources only).
    """

    slot: int
    width: int
    height: int
    time_s: float
    captured_s: float
    num_lost: int


@dataclass(frozen=True)
class Alive:
    """Nothing to show yet, but working."""


@dataclass(frozen=True)
class Warned:
    text: str


@dataclass(frozen=True)
class Finished:
    """The source has come to its end. time_s: where that is, in seconds since its second 0."""

    time_s: float = 0.0


@dataclass(frozen=True)
class Failed:
    """The source cannot be used (any more). kind: "media" = not a video we read; "missing" = not there, or lost."""

    kind: Literal["media", "missing"]
    text: str


class SourceFailed(Exception):
    """Inside the child: ends the reading with this `Failed`."""

    def __init__(self, kind: Literal["media", "missing"], text: str):
        super().__init__(text)
        self.failed = Failed(kind, text)


class PictureMemory:
    """The slots. Made by the parent, handed to its child when that is started. Raises OSError if there is no room."""

    def __init__(self, descriptor: int | None = None):
        self._descriptor = _anonymous_file(NUM_SLOTS * SLOT_BYTES) if descriptor is None else descriptor
        self._bytes = mmap.mmap(self._descriptor, NUM_SLOTS * SLOT_BYTES)

    def slot(self, number: int, width: int, height: int) -> np.ndarray:
        """The picture in a slot, height × width × 3 uint8: a view, to be let go of before `close`."""
        return np.ndarray((height, width, 3), np.uint8, self._bytes, number * SLOT_BYTES)

    def close(self) -> None:
        """Let go of it. Twice is fine."""
        with contextlib.suppress(BufferError):  # somebody still looks at a picture; it ends with that
            self._bytes.close()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __reduce__(self) -> tuple[Any, ...]:
        return _attach, (reduction.DupFd(self._descriptor),)


def _attach(handed_over: Any) -> PictureMemory:
    return PictureMemory(handed_over.detach())


def _anonymous_file(num_bytes: int) -> int:
    """A descriptor of so many bytes of memory, or of a file that has lost its name already."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("onlooker-pictures", os.MFD_CLOEXEC)
    else:
        descriptor, path = tempfile.mkstemp(prefix="onlooker-")
        os.unlink(path)
    try:
        os.ftruncate(descriptor, num_bytes)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class Outlet:
    """The child's end: puts pictures into free slots. Raises EOFError or BrokenPipeError when the parent has gone."""

    def __init__(self, connection: Connection, memory: PictureMemory):
        self._connection = connection
        self._memory = memory
        self._free = list(range(NUM_SLOTS))
        self._told_at_s = time.monotonic()
        self._num_lost = 0

    def ready(self, width: int, height: int, duration_s: float | None, *, is_live: bool) -> None:
        """Say that the source is open. width, height: pixels as shown. duration_s: None for a source without end."""
        self._tell(Ready(width, height, duration_s, is_live))

    def ship(self, rgb_HW3: np.ndarray, time_s: float, captured_s: float, *, wait: bool) -> None:
        """Send one RGB uint8 picture of at most MAX_SIDE_PX a side.

        wait: for a free slot, however long it takes (files); otherwise the picture is dropped and counted
        (live).
        """
        while self._connection.poll(0) or (wait and not self._free):
            self._free.append(self._connection.recv())
        if not self._free:
            self._num_lost += 1
            return
        slot = self._free.pop()
        height, width, _ = rgb_HW3.shape
        self._memory.slot(slot, width, height)[:] = rgb_HW3
        self._tell(Picture(slot, width, height, time_s, captured_s, self._num_lost))
        self._num_lost = 0

    def alive(self) -> None:
        """Call often; says at most once a second that the child is working, and notices a parent that has gone."""
        if time.monotonic() - self._told_at_s >= HEARTBEAT_S:
            self._tell(Alive())

    def warn(self, text: str) -> None:
        """Have a line shown to the user; the source goes on."""
        self._tell(Warned(text))

    def close(self) -> None:
        """Let go of the memory that pictures are put into."""
        self._memory.close()

    def _tell(self, message: Ready | Picture | Alive | Warned) -> None:
        self._connection.send(message)
        self._told_at_s = time.monotonic()
