"""One client: its unread lines, its open requests, and what waits to be sent to it.

The server's thread owns a connection. Other threads reach it only through `Reply` and `Connection.publish`, which lock
for a moment, never wait, and wake the server's thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from assistant.control import lines, protocol
from assistant.control.buffers import LineBuffer, Outbox
from assistant.control.protocol import Done, Events, Message, Refusal, RequestId, Result
from assistant.control.reply import Reply
from assistant.control.transport import Wire


@dataclass(frozen=True)
class Limits:
    """What one client, and all of them, may take up.

    unfinished_s: for a line to end after it began. stalled_s: for a client to read something when something waits.
    linger_s: for last words to go out.
    """

    num_clients: int = 50
    num_open_requests: int = 32
    line_bytes: int = protocol.MAX_LINE_BYTES
    outbox_messages: int = 1000
    outbox_bytes: int = 1024 * 1024
    unfinished_s: float = 10.0
    stalled_s: float = 30.0
    linger_s: float = 1.0


class Connection:
    """The state of one client."""

    def __init__(self, wire: Wire, limits: Limits, wake: Callable[[], None]):
        self.wire = wire
        self.lines = LineBuffer(limits.line_bytes)
        self.is_broken = False  # nothing can be sent or received any more
        self.closes_at_s: float | None = None  # last words were said
        self.watched: tuple[bool, bool] = (False, False)  # reads, writes
        self._limits = limits
        self._wake = wake
        self._lock = threading.Lock()
        self._outbox = Outbox(limits.outbox_messages, limits.outbox_bytes)
        self._has_overflowed = False
        self._open: dict[RequestId, Reply] = {}
        self._was_paused = False

    # Any thread

    def say(self, reply: Reply, message: Message, *, is_last: bool = False) -> bool:
        """Send a message of an open request. False when it is over already."""
        line = lines.encode(message)
        if len(line) > protocol.MAX_MESSAGE_BYTES:
            problem = f"the answer has {len(line)} bytes; at most {protocol.MAX_MESSAGE_BYTES} can be sent"
            line = lines.encode(Refusal(reply.id, protocol.TOO_LARGE, problem, "ask for less at a time", 2))
            is_last = True
        with self._lock:
            if reply.is_over:
                return False
            if is_last:
                reply.is_over = True
                del self._open[reply.id]
            self._put(line)
        self._wake()
        return True

    def publish(self, kind: str, part: str | None, body: bytes) -> None:
        """Send an event to the subscriptions that want it. body: from `lines.event_body`."""
        with self._lock:
            wanting = [
                reply.id
                for reply in self._open.values()
                if isinstance(reply.body, Events) and reply.body.wants(kind, part)
            ]
            for request_id in wanting:
                self._put(lines.encode_event(request_id, body))
        if wanting:
            self._wake()

    # The server's thread

    def open(self, request_id: RequestId, body: protocol.Body) -> Reply | Refusal:
        """Take a request on, if there is room and its id is free."""
        with self._lock:
            if request_id in self._open:
                problem = f"id = {request_id!r}: is the id of a request that is still open"
                return Refusal(request_id, protocol.INVALID, problem, exit_code=2)
            if len(self._open) >= self._limits.num_open_requests:
                problem = f"{len(self._open)} requests of this client are open, and no more can be"
                return Refusal(request_id, protocol.BUSY, problem, "wait for their answers, or cancel some", 3)
            reply = self._open[request_id] = Reply(self, request_id, body)
            if isinstance(body, Events):  # said under the same lock, so that it comes before the first event
                terms = {"kinds": sorted(body.kinds), "parts": sorted(body.parts)}
                self._put(lines.encode(Result(request_id, terms)))
            return reply

    def cancel(self, request_id: RequestId) -> bool:
        """End an open request as the client wished. False when there is none of that id."""
        with self._lock:
            reply = self._open.pop(request_id, None)
            if reply is None:
                return False
            self._end(reply)
            self._put(lines.encode(Done(request_id, cancelled=True)))
            return True

    def tell(self, message: Message) -> None:
        """Send a message that belongs to no open request."""
        with self._lock:
            self._put(lines.encode(message))

    def say_goodbye(self, last_words: Refusal | None, now_s: float) -> None:
        """Cancel all that is open and close once everything, with the last words, is sent, or linger_s has passed."""
        with self._lock:
            if self.closes_at_s is not None:
                return
            self.closes_at_s = now_s + self._limits.linger_s
            for reply in self._open.values():
                self._end(reply)
            self._open.clear()
            if last_words is not None:
                self._outbox.put(lines.encode(last_words), now_s, force=True)

    def flush(self, limit_bytes: int) -> None:
        """Send what goes without waiting."""
        with self._lock:
            data = self._outbox.peek(limit_bytes)
        if not data:
            return
        try:
            num_sent = self.wire.send(data)
        except OSError:
            self.is_broken = True
            return
        if num_sent:
            with self._lock:
                self._outbox.advance(num_sent, time.monotonic())

    def hang_up(self) -> None:
        """The end: cancel what is open, close the wire."""
        with self._lock:
            self.closes_at_s = self.closes_at_s or 0.0
            for reply in self._open.values():
                self._end(reply)
            self._open.clear()
        self.wire.close()

    def is_over(self, now_s: float) -> bool:
        """Nothing more to do for it but to hang up."""
        return self.is_broken or (self.closes_at_s is not None and (self._outbox.is_empty or now_s >= self.closes_at_s))

    def complaint(self, now_s: float) -> Refusal | None:
        """Why this client is to be dropped now, if it is."""
        limits, since_s = self._limits, self._outbox.stalled_since_s
        if self.lines.is_too_long:
            problem = f"a request of more than {limits.line_bytes} bytes"
            return Refusal(None, protocol.TOO_LONG, problem, "requests are short JSON lines", 2)
        if self._has_overflowed or (since_s is not None and now_s - since_s >= limits.stalled_s):
            problem = "the client did not read what it was sent, and was dropped"
            return Refusal(None, protocol.SLOW, problem, "connect again, and read on", 3)
        if self._line_ends_by_s() <= now_s:
            problem = f"a request without an end: no newline within {limits.unfinished_s:g} s"
            return Refusal(None, protocol.UNFINISHED, problem, "end every request with a newline", 2)
        return None

    def deadline_s(self) -> float:
        """When (monotonic) `complaint` or `is_over` may change though nothing happens; infinity if never."""
        if self.closes_at_s is not None:
            return self.closes_at_s
        since_s = self._outbox.stalled_since_s
        stalled_s = float("inf") if since_s is None else since_s + self._limits.stalled_s
        return min(stalled_s, self._line_ends_by_s())

    def wants(self, now_s: float) -> tuple[bool, bool]:
        """Whether to read from it, and whether something waits to be sent. Who lets answers pile up asks no more."""
        is_paused = self._outbox.is_filling
        if self._was_paused and not is_paused:
            self.lines.restart_clock(now_s)
        self._was_paused = is_paused
        return not is_paused and self.closes_at_s is None, not self._outbox.is_empty

    @property
    def may_be_served(self) -> bool:
        """A whole request waits, and there is room for its answer."""
        return self.closes_at_s is None and not self._outbox.is_filling and self.lines.has_line

    def _line_ends_by_s(self) -> float:
        since_s = self.lines.unfinished_since_s
        if since_s is None or self._was_paused or self.lines.has_line:
            return float("inf")
        return since_s + self._limits.unfinished_s

    def _put(self, line: bytes) -> None:
        """Under the lock. What finds no room makes the server drop this client."""
        if self.closes_at_s is None and not self._has_overflowed:
            self._has_overflowed = not self._outbox.put(line, time.monotonic())

    def _end(self, reply: Reply) -> None:
        reply.is_over = reply.is_cancelled = True
