"""The transport over a Unix socket: made without a race, mode 0600, in a directory that only this user can enter."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import stat
import struct
import sys
import threading
import time
from pathlib import Path

from assistant.control.errors import AlreadyRunning, RuntimeDirError
from assistant.control.instance import Instance
from assistant.control.transport import Peer, Wire

BACKLOG = 128
PROBE_TIMEOUT_S = 0.5
ACCEPT_PAUSE_S = 1.0  # after the process ran out of file descriptors


def peer_of(connection: socket.socket) -> Peer:
    """Who is at the other end of a connected Unix socket, at the time it connected (or listened)."""
    if sys.platform != "linux":
        return Peer(None, None)
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return Peer(uid, pid)


def is_trusted(peer: Peer, our_uid: int) -> bool:
    """Whether we talk to a peer: the same user, root, or (where the kernel tells nothing) who could come in."""
    return peer.uid is None or peer.uid in (our_uid, 0)


class UnixWire:
    """One accepted connection."""

    def __init__(self, connection: socket.socket):
        connection.setblocking(False)
        self.peer = peer_of(connection)
        self.is_trusted = is_trusted(self.peer, os.geteuid())
        self.connection = connection

    def receive(self, limit_bytes: int) -> bytes | None:
        try:
            return self.connection.recv(limit_bytes)
        except BlockingIOError:
            return None

    def send(self, data: bytes) -> int:
        try:
            return self.connection.send(data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        self.connection.close()


class UnixTransport:
    """The listening socket and a selector over it and all its wires."""

    def __init__(self, listener: socket.socket, path: Path):
        self._listener = listener
        self._path = path
        self._identity = _identity(path)
        self._selector = selectors.DefaultSelector()
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._wake_lock = threading.Lock()
        self._is_waking = False
        self._paused_until_s: float | None = None
        self._is_closed = False
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._selector.register(listener, selectors.EVENT_READ)

    @classmethod
    def listen(cls, instance: Instance) -> UnixTransport:
        """Make the socket of the one running daemon; a dead one's is removed first.

        Raises RuntimeDirError when something that is not ours lies in its place, AlreadyRunning when it answers.
        """
        assert instance.is_held, "only the holder of the instance lock may make the socket"
        path = instance.socket_path
        _clear(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with contextlib.suppress(OSError):
                os.fchmod(listener.fileno(), 0o600)  # Linux: the file is born with it. Elsewhere the directory keeps it
            listener.bind(os.fspath(path))
            os.chmod(path, 0o600)
            listener.listen(BACKLOG)
            listener.setblocking(False)
            return cls(listener, path)
        except OSError as error:
            listener.close()
            remedy = "set $ONLOOKER_RUNTIME to another (short) path"
            raise RuntimeDirError(
                f"{path}: cannot make the control socket: {error.strerror or error}; {remedy}"
            ) from None

    def accept(self) -> Wire | None:
        if self._is_closed or self._paused_until_s is not None:
            return None
        try:
            return UnixWire(self._listener.accept()[0])
        except (BlockingIOError, ConnectionError):
            return None
        except OSError:  # out of file descriptors: the client keeps waiting in the backlog
            self._paused_until_s = time.monotonic() + ACCEPT_PAUSE_S
            self._selector.unregister(self._listener)
            return None

    def watch(self, wire: Wire, *, reads: bool, writes: bool) -> None:
        assert isinstance(wire, UnixWire)
        events = reads * selectors.EVENT_READ | writes * selectors.EVENT_WRITE
        is_known = wire.connection in self._selector.get_map()
        if not events:
            if is_known:
                self._selector.unregister(wire.connection)
        elif is_known:
            self._selector.modify(wire.connection, events, wire)
        else:
            self._selector.register(wire.connection, events, wire)

    def wait(self, timeout_s: float | None) -> set[Wire]:
        if self._paused_until_s is not None:
            left_s = self._paused_until_s - time.monotonic()
            if left_s <= 0:
                self._selector.register(self._listener, selectors.EVENT_READ)
                self._paused_until_s = None
            else:
                timeout_s = left_s if timeout_s is None else min(timeout_s, left_s)
        ready = self._selector.select(timeout_s)
        if any(key.fileobj is self._woken for key, _ in ready):
            with self._wake_lock:
                self._woken.recv(64)
                self._is_waking = False
        return {key.data for key, _ in ready if key.data is not None}

    def wake(self) -> None:
        with self._wake_lock:
            if not self._is_waking and not self._is_closed:
                self._is_waking = True
                self._waker.send(b"!")

    @property
    def is_in_place(self) -> bool:
        """Whether clients still find the socket: somebody may have removed it, or its directory. Any thread."""
        return _identity(self._path) == self._identity

    def close(self) -> None:
        with self._wake_lock:
            if self._is_closed:
                return
            self._is_closed = True
        if _identity(self._path) == self._identity:
            with contextlib.suppress(OSError):
                self._path.unlink()
        self._selector.close()
        for end in (self._listener, self._waker, self._woken):
            end.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _clear(path: Path) -> None:
    """Make sure that nothing lies at `path`: removes the socket of a daemon that died, and nothing else."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    remedy = f"look at it, and remove it with `rm {path}`"
    if not stat.S_ISSOCK(found.st_mode):
        kind = "a symlink" if stat.S_ISLNK(found.st_mode) else "not a socket"
        raise RuntimeDirError(f"{path}: is {kind}, where the control socket should be; {remedy}")
    if found.st_uid != os.geteuid():
        raise RuntimeDirError(f"{path}: is a socket of uid {found.st_uid}, not ours; {remedy}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(os.fspath(path))
            raise AlreadyRunning(peer_of(probe).pid, path.parent)
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
        except OSError as error:  # full, or not for us: somebody is there
            raise RuntimeDirError(f"{path}: something holds the socket: {error.strerror}; {remedy}") from None
