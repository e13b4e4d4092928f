"""The control server: one thread for all clients, which hands requests to a `Handler` and sends what comes back.

    client ──► lines ──► requests ──► Handler (the daemon) ─┐ any thread, any time
    client ◄── outbox ◄───────────── Reply, publish ◄───────┘

A selector in one thread, and not asyncio: what waits for a client is counted and bounded here, byte by byte, and other
threads put it there directly, while asyncio's writers and its thread-safe calls take whatever they are given. Each turn
takes a little from every client that has something, so that a flood delays the flooder and hardly anybody else.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

from assistant.control import lines, protocol
from assistant.control.connection import Connection, Limits
from assistant.control.protocol import Cancel, Events, Facts, Hello, Refusal, Request, Result
from assistant.control.requests import REQUESTS, Handler, dispatch
from assistant.control.transport import Transport, Wire
from assistant.errors import WorkerFailed
from assistant.runtime.threads import make_thread

READ_BYTES = 16 * 1024  # a client and turn
SEND_BYTES = 64 * 1024  # a client and turn
NUM_LINES_A_TURN = 16  # a client
NUM_ACCEPTED_A_TURN = 8
STOP_FLUSH_S = 0.3
STOP_TIMEOUT_S = 1.0


class ControlServer:
    """Use: `start`, `publish` from any thread, `close`. failure: the error that ended the thread, or None.

    version: of the program, for `hello`.
    """

    def __init__(self, handler: Handler, transport: Transport, *, version: str, limits: Limits | None = None):
        self.failure: WorkerFailed | None = None
        self._handler = handler
        self._transport = transport
        self._version = version
        self._limits = limits or Limits()
        self._clients: dict[Wire, Connection] = {}  # changed by the server's thread only, and never in place
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._count_lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = make_thread("control", self._guard)

    def start(self) -> None:
        """Serve from now on, in a thread of its own."""
        self._thread.start()

    def publish(self, kind: str, facts: Facts) -> None:
        """Tell the subscribers. Any thread; never waits. kind: one of EVENT_KINDS; `parts` filters by facts["part"].

        What is too long to be sent is not, and counted. Raises TypeError or ValueError for facts that JSON cannot say.
        """
        assert kind in protocol.EVENT_KINDS, kind
        body = lines.event_body(kind, facts)
        if len(body) > protocol.MAX_MESSAGE_BYTES:
            self._count("events_too_long")
            return
        self._count("events")
        for client in self._clients.values():
            client.publish(kind, facts.get("part"), body)

    def facts(self) -> dict[str, Any]:
        """What `status` may say of the socket: counts since the start; dropped: clients, by reason. Any thread."""
        names = ("accepted", "requests", "events", "events_too_long")
        with self._count_lock:
            counts = {name: self._counts[name] for name in names}
            return {"clients": len(self._clients), **counts, "dropped": dict(self._dropped)}

    def close(self) -> None:
        """Tell the clients, send what still goes out, end the thread; within STOP_TIMEOUT_S. Twice is fine.

        From within the server's own thread it only begins the end. Raises WorkerFailed if the thread is stuck.
        """
        self._stop.set()
        self._transport.wake()
        if threading.current_thread() is self._thread:
            return
        if self._thread.ident is None:
            self._transport.close()
            return
        self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            raise WorkerFailed(f"the control thread did not stop within {STOP_TIMEOUT_S:g} s: a request handler hangs")

    def _guard(self) -> None:
        try:
            while not self._stop.is_set():
                self._turn()
            self._say_goodbye_to_all()
        except BaseException as error:
            self.failure = WorkerFailed(f"the control thread failed: {type(error).__name__}: {error}")
            self.failure.__cause__ = error
        finally:
            self._transport.close()
            for client in self._clients.values():
                client.hang_up()
            self._clients = {}

    def _turn(self) -> None:
        """Wait for something to do, and do a bounded part of it."""
        ready = self._transport.wait(self._wait_s())
        for wire, client in self._clients.items():
            if wire in ready or client.may_be_served:
                self._serve(client)
        self._accept()
        self._settle(time.monotonic())

    def _wait_s(self) -> float | None:
        if any(client.may_be_served for client in self._clients.values()):
            return 0.0
        deadline_s = min((client.deadline_s() for client in self._clients.values()), default=float("inf"))
        return None if deadline_s == float("inf") else max(0.0, deadline_s - time.monotonic())

    def _accept(self) -> None:
        """Let a few of those in who wait, and turn away whom we do not know or have no room for."""
        for _ in range(NUM_ACCEPTED_A_TURN):
            wire = self._transport.accept()
            if wire is None:
                return
            if not wire.is_trusted:
                problem = f"uid {wire.peer.uid} may not control this daemon"
                self._turn_away(wire, Refusal(None, protocol.FORBIDDEN, problem, exit_code=3))
            elif len(self._clients) >= self._limits.num_clients:
                problem = f"the daemon is busy: {len(self._clients)} clients are connected, and no more can be"
                self._turn_away(wire, Refusal(None, protocol.BUSY, problem, "end some of them", 3))
            else:
                self._clients = {**self._clients, wire: Connection(wire, self._limits, self._wake)}
                self._count("accepted")

    def _turn_away(self, wire: Wire, refusal: Refusal) -> None:
        client = Connection(wire, self._limits, self._wake)
        client.tell(refusal)
        client.flush(SEND_BYTES)
        client.hang_up()
        self._count_dropped(refusal.code)

    def _serve(self, client: Connection) -> None:
        """Read once from a client, unless a whole request waits already, and answer a few of its requests."""
        now_s = time.monotonic()
        if client.wants(now_s)[0] and not client.lines.has_line:
            try:
                data = client.wire.receive(READ_BYTES)
            except OSError:
                client.is_broken = True
                return
            if data:
                client.lines.feed(data, now_s)
            elif data is not None:
                client.say_goodbye(None, now_s)  # it has left: what it asked before was answered, or is cancelled
        for _ in range(NUM_LINES_A_TURN):
            line = client.lines.take(now_s) if client.may_be_served else None
            if line is None:
                break
            if line.strip():
                self._handle(client, line)

    def _handle(self, client: Connection, line: bytes) -> None:
        request = lines.parse_request(line)
        self._count("requests")
        if isinstance(request, Refusal):
            if request.code in protocol.CLOSING_CODES:
                self._drop(client, request)
            else:
                client.tell(request)
            return
        match request:
            case Request(request_id, Hello()):
                known = {"version": self._version, "protocol": protocol.VERSION, "capabilities": tuple(REQUESTS)}
                client.tell(Result(request_id, {**known, "event_kinds": protocol.EVENT_KINDS}))
            case Request(request_id, Cancel(target)):
                client.tell(Result(request_id, {"cancelled": client.cancel(target)}))
            case Request(request_id, body):
                reply = client.open(request_id, body)
                if isinstance(reply, Refusal):
                    client.tell(reply)
                elif not isinstance(body, Events):
                    dispatch(self._handler, reply)

    def _settle(self, now_s: float) -> None:
        """Send what waits, drop who misbehaves, let go of who is done, and say what to wait for next."""
        for wire, client in list(self._clients.items()):
            client.flush(SEND_BYTES)
            complaint = client.complaint(now_s) if client.closes_at_s is None else None
            if complaint is not None:
                self._drop(client, complaint)
                client.flush(SEND_BYTES)
            if client.is_over(now_s):
                self._transport.watch(wire, reads=False, writes=False)
                client.hang_up()
                self._clients = {other: kept for other, kept in self._clients.items() if other is not wire}
            elif (wanted := client.wants(now_s)) != client.watched:
                client.watched = wanted
                self._transport.watch(wire, reads=wanted[0], writes=wanted[1])

    def _drop(self, client: Connection, complaint: Refusal) -> None:
        client.say_goodbye(complaint, time.monotonic())
        self._count_dropped(complaint.code)

    def _say_goodbye_to_all(self) -> None:
        deadline_s = time.monotonic() + STOP_FLUSH_S
        last_words = Refusal(None, protocol.STOPPING, "the daemon is stopping", "start it with `onlooker start`", 3)
        for client in self._clients.values():
            client.say_goodbye(last_words, time.monotonic())
        while self._clients and time.monotonic() < deadline_s:
            self._settle(time.monotonic())
            self._transport.wait(0.02)

    def _wake(self) -> None:
        if threading.current_thread() is not self._thread:
            self._transport.wake()

    def _count(self, name: str) -> None:
        with self._count_lock:
            self._counts[name] += 1

    def _count_dropped(self, code: str) -> None:
        with self._count_lock:
            self._dropped[code] += 1
