"""The two buffers of a connection, both bounded: requests on their way in, messages on their way out. Pure."""

from __future__ import annotations

from collections import deque
from itertools import islice


class LineBuffer:
    """Bytes in, whole lines out. Feed it only while it has no line to take, and it is bounded.

    unfinished_since_s: when (monotonic) the line that is still without its end began; None without one.
    is_too_long: the oldest line has more than limit_bytes, whole or not, and is never given out.
    """

    def __init__(self, limit_bytes: int):
        self.unfinished_since_s: float | None = None
        self.is_too_long = False
        self._limit_bytes = limit_bytes
        self._data = bytearray()
        self._end = -1  # where the oldest line ends; negative: not here yet

    def feed(self, data: bytes, now_s: float) -> None:
        """Take in what was received. now_s: monotonic."""
        if self.unfinished_since_s is None:
            self.unfinished_since_s = now_s
        num_searched = len(self._data)
        self._data += data
        if self._end < 0:
            self._search(num_searched)

    def take(self, now_s: float) -> bytes | None:
        """The oldest whole line without its newline, or None when there is none."""
        if not self.has_line:
            return None
        line = bytes(self._data[: self._end])
        del self._data[: self._end + 1]
        self._search(0)
        self.unfinished_since_s = now_s if self._data else None
        return line

    @property
    def has_line(self) -> bool:
        """Whether a whole line can be taken."""
        return self._end >= 0 and not self.is_too_long

    def restart_clock(self, now_s: float) -> None:
        """The rest of an unfinished line could not come, because nobody read: its time begins anew."""
        if self.unfinished_since_s is not None:
            self.unfinished_since_s = now_s

    def _search(self, start: int) -> None:
        self._end = self._data.find(b"\n", start)
        self.is_too_long = (len(self._data) if self._end < 0 else self._end) > self._limit_bytes


class Outbox:
    """Messages waiting to be sent, at most num_messages and num_bytes of them. Not thread-safe: its owner locks.

    stalled_since_s: since when (monotonic) none of what waits has gone out; None while nothing waits.
    """

    def __init__(self, num_messages: int, num_bytes: int):
        self.stalled_since_s: float | None = None
        self._limits = (num_messages, num_bytes)
        self._messages: deque[bytes] = deque()
        self._num_bytes = 0
        self._num_sent = 0  # bytes of the first message that have gone

    def put(self, message: bytes, now_s: float, *, force: bool = False) -> bool:
        """Add a message. False, and not added, when there is no room; `force` is for last words."""
        num_messages, num_bytes = self._limits
        if not force and (len(self._messages) >= num_messages or self._num_bytes + len(message) > num_bytes):
            return False
        if not self._messages:
            self.stalled_since_s = now_s
        self._messages.append(message)
        self._num_bytes += len(message)
        return True

    def peek(self, limit_bytes: int) -> bytes:
        """What is to be sent next, whole messages as far as they fit; empty when nothing waits."""
        if not self._messages:
            return b""
        parts = [self._messages[0][self._num_sent :]]
        size = len(parts[0])
        for message in islice(self._messages, 1, None):
            size += len(message)
            if size > limit_bytes:
                break
            parts.append(message)
        return b"".join(parts)

    def advance(self, num_bytes: int, now_s: float) -> None:
        """So many bytes of what was peeked at have been sent."""
        self._num_sent += num_bytes
        while self._messages and self._num_sent >= len(self._messages[0]):
            self._num_sent -= len(self._messages[0])
            self._num_bytes -= len(self._messages.popleft())
        self.stalled_since_s = now_s if self._messages else None

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._messages

    @property
    def is_filling(self) -> bool:
        """A quarter full: time to take no more requests."""
        num_messages, num_bytes = self._limits
        return len(self._messages) * 4 >= num_messages or self._num_bytes * 4 >= num_bytes
