"""The client's end of the line: sends requests, sorts what comes by the request it is for. One thread uses it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import deque
from pathlib import Path

from assistant.control import lines, protocol
from assistant.control.errors import (
    DaemonLost,
    DaemonMissing,
    DaemonSilent,
    RequestRefused,
    RuntimeDirError,
    VersionMismatch,
)
from assistant.control.protocol import Facts, Message, Refusal, RequestId
from assistant.control.transport import Peer
from assistant.control.unix import is_trusted, peer_of

RECEIVE_BYTES = 64 * 1024
RETRY_S = 0.02


class Channel:
    """A connection to a daemon; every wait takes a timeout. peer: the daemon's uid and pid, as the kernel says."""

    def __init__(self, connection: socket.socket):
        self.peer: Peer = peer_of(connection)
        self._socket = connection
        self._data = bytearray()
        self._last_id = 0
        self._open: dict[RequestId, deque[Message]] = {}  # what has come for each open request

    @classmethod
    def connect(cls, path: Path, *, timeout_s: float) -> Channel:
        """Connect. Raises DaemonMissing, DaemonSilent (it lets nobody in), RuntimeDirError (another user's)."""
        deadline_s = time.monotonic() + timeout_s
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout_s)
            while not _try_connect(connection, path):
                if time.monotonic() >= deadline_s:
                    raise DaemonSilent(timeout_s)
                time.sleep(RETRY_S)
            channel = cls(connection)
            if os.geteuid() != 0 and not is_trusted(channel.peer, os.geteuid()):  # root may talk to everybody
                raise RuntimeDirError(f"{path}: uid {channel.peer.uid} answers there, not our daemon")
        except BaseException:
            connection.close()
            raise
        return channel

    def send(self, do: str, fields: Facts, *, timeout_s: float) -> RequestId:
        """Send a request and keep what comes for it, until `forget`. Raises as `next` does."""
        self._last_id += 1
        line = lines.encode_request(self._last_id, do, fields)
        if len(line) > protocol.MAX_LINE_BYTES:
            problem = f"{do}: {len(line)} bytes, but a request may have {protocol.MAX_LINE_BYTES}"
            raise RequestRefused(Refusal(self._last_id, protocol.TOO_LONG, problem, "say it shorter", 2))
        self._socket.settimeout(timeout_s)
        try:
            self._socket.sendall(line)
        except TimeoutError:
            raise DaemonSilent(timeout_s) from None
        except OSError:  # it hung up; perhaps it said why
            deadline_s = time.monotonic() + timeout_s
            with contextlib.suppress(DaemonSilent):
                while True:
                    self._keep(self._receive(deadline_s, timeout_s))
            raise DaemonLost() from None
        self._open[self._last_id] = deque()
        return self._last_id

    def next(self, request_id: RequestId, *, timeout_s: float) -> Message:
        """The next message for an open request; what comes for others is kept for them.

        Raises RequestRefused (the daemon said no), DaemonSilent, DaemonLost, VersionMismatch.
        """
        deadline_s = time.monotonic() + timeout_s
        while not self._open[request_id]:
            self._keep(self._receive(deadline_s, timeout_s))
        message = self._open[request_id].popleft()
        if isinstance(message, Refusal):
            raise RequestRefused(message)
        return message

    def forget(self, request_id: RequestId) -> None:
        """What still comes for this request is dropped."""
        self._open.pop(request_id, None)

    def close(self) -> None:
        """Hang up. Twice is fine."""
        self._socket.close()

    def _keep(self, message: Message) -> None:
        if isinstance(message, Refusal) and message.id is None:  # it is about the whole connection
            raise RequestRefused(message)
        if message.id in self._open:
            self._open[message.id].append(message)

    def _receive(self, deadline_s: float, timeout_s: float) -> Message:
        """The next message of all."""
        while (end := self._data.find(b"\n")) < 0:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise DaemonSilent(timeout_s)
            self._socket.settimeout(left_s)
            try:
                data = self._socket.recv(RECEIVE_BYTES)
            except TimeoutError:
                raise DaemonSilent(timeout_s) from None
            except OSError as error:
                raise DaemonLost(error.strerror or str(error)) from None
            if not data:
                raise DaemonLost
            self._data += data
            if len(self._data) > 2 * protocol.MAX_MESSAGE_BYTES:
                raise DaemonLost("it sent a message without an end")
        line = bytes(self._data[:end])
        del self._data[: end + 1]
        try:
            message = lines.parse_message(line)
        except lines.NotAMessage as error:
            raise DaemonLost(f"it sent something else than a message ({error})") from None
        if isinstance(message, int):
            raise VersionMismatch(protocol.VERSION, message)
        return message


def _try_connect(connection: socket.socket, path: Path) -> bool:
    """False when the daemon's queue of newcomers is full just now."""
    try:
        connection.connect(os.fspath(path))
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        if path.exists() and not path.is_socket():
            raise RuntimeDirError(f"{path}: is something else than the daemon's socket; remove it") from None
        raise DaemonMissing(path) from None
    except (BlockingIOError, TimeoutError):
        return False
    except OSError as error:
        raise RuntimeDirError(f"{path}: cannot be reached: {error.strerror or error}") from None
    return True
