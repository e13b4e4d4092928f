"""One daemon a user: the private runtime directory, the paths in it, and the lock that the running daemon holds.

The system removes the runtime directory when the user logs out, whoever still runs. So the lock, and the pid that goes
with it, lie among the user's own data, and say of which runtime directory they are: no second daemon opens the camera
unseen.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.control.errors import AlreadyRunning, RuntimeDirError

if TYPE_CHECKING:
    from filelock import BaseFileLock

RUNTIME_VARIABLE = "ONLOOKER_RUNTIME"
SOCKET_NAME, LOCK_NAME, PID_NAME = "control.sock", "onlooker.lock", "onlooker.pid"
MAX_SOCKET_PATH = 107 if sys.platform == "linux" else 103  # bytes: of the system's sockaddr_un, without its final zero


def runtime_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the socket, the lock and the pid lie: $ONLOOKER_RUNTIME, else the system's place. Creates nothing."""
    named = environ.get(RUNTIME_VARIABLE)
    if named:
        return Path(named).absolute()
    from platformdirs import user_runtime_path

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a fallback under the temporary directory is fine: we check it ourselves
            return user_runtime_path("onlooker", appauthor=False)
    except OSError as error:
        raise RuntimeDirError(f"{error}; set ${RUNTIME_VARIABLE} to a private directory") from None


def claims_dir(directory: Path) -> Path:
    """Where locks and pids of the daemon with this runtime directory lie; made, if need be, for this user alone.

    Raises RuntimeDirError. Where the user's own data cannot be written to, it is the runtime directory itself.
    """
    from platformdirs import user_state_path

    mark = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    try:
        claims = user_state_path("onlooker", appauthor=False).absolute() / "running" / mark
        make_private(claims)
    except (RuntimeDirError, OSError, RuntimeError):  # read-only, somebody else's, or there is no home at all
        make_private(directory)
        return directory
    return claims


def check_length(directory: Path) -> None:
    """Raise RuntimeDirError if the path of the socket is longer than the system takes."""
    length = len(os.fsencode(directory / SOCKET_NAME))
    if length > MAX_SOCKET_PATH:
        remedy = f"set ${RUNTIME_VARIABLE} to a shorter path"
        raise RuntimeDirError(f"{directory}: is too long for a socket ({length} of {MAX_SOCKET_PATH} bytes); {remedy}")


def make_private(directory: Path) -> None:
    """Create a directory (mode 0700) with its parents, if need be, and check it. Raises RuntimeDirError."""
    try:
        for path in (*reversed(directory.parents), directory):
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
    except OSError as error:
        remedy = f"set ${RUNTIME_VARIABLE} to a directory that you can write to"
        raise RuntimeDirError(f"{directory}: cannot be made: {error.strerror}; {remedy}") from None
    check_private(directory)


def check_private(directory: Path) -> None:
    """Raise RuntimeDirError unless only this user can enter the directory, or put another in its place."""
    found = directory.lstat()
    uid = os.geteuid()
    remedy = f"set ${RUNTIME_VARIABLE} to a private directory"
    if stat.S_ISLNK(found.st_mode) or not stat.S_ISDIR(found.st_mode):
        kind = "a symlink" if stat.S_ISLNK(found.st_mode) else "not a directory"
        raise RuntimeDirError(f"{directory}: is {kind}, but must be a directory of its own; {remedy}")
    if found.st_uid != uid:
        raise RuntimeDirError(f"{directory}: belongs to uid {found.st_uid}, not to us ({uid}); {remedy}")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise RuntimeDirError(f"{directory}: others may enter it (mode {mode:04o}); use `chmod 700 {directory}`")
    is_shared = False
    for parent in reversed(directory.parents):  # whoever can rename one of them can replace ours
        entry, real = parent.lstat(), parent.stat()
        if is_shared and entry.st_uid not in (uid, 0):
            raise RuntimeDirError(f"{directory}: lies under {parent}, which is uid {entry.st_uid}'s; {remedy}")
        is_shared = bool(real.st_mode & stat.S_IWOTH)
        if is_shared and not real.st_mode & stat.S_ISVTX:
            raise RuntimeDirError(f"{directory}: lies under {parent}, which everybody can change; {remedy}")


class Instance:
    """The claim to be this user's one daemon; the operating system ends it with the process, however that ends.

    Claim it in the process that stays: a copy of the process made by fork shares the claim. Use `claim`.
    """

    def __init__(self, directory: Path, claims: Path, lock: BaseFileLock):
        self.directory = directory
        self._claims = claims
        self._lock = lock

    @classmethod
    def claim(cls, directory: Path | None = None) -> Instance:
        """Become the one daemon, at once or not at all. Raises AlreadyRunning (with the pid) or RuntimeDirError."""
        from filelock import FileLock, Timeout

        directory = directory or runtime_dir()
        check_length(directory)
        make_private(directory)
        claims = claims_dir(directory)
        lock = FileLock(claims / LOCK_NAME, mode=0o600, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise AlreadyRunning(running_pid(claims / PID_NAME), directory) from None
        except OSError as error:
            path = claims / LOCK_NAME
            raise RuntimeDirError(f"{path}: cannot be locked: {error.strerror}; remove it") from None
        try:
            write_pid(claims / PID_NAME)
        except OSError as error:
            lock.release()
            path = claims / PID_NAME
            raise RuntimeDirError(f"{path}: cannot be written: {error.strerror}; remove it") from None
        return cls(directory, claims, lock)

    @property
    def socket_path(self) -> Path:
        """Where the daemon's socket is, or will be."""
        return self.directory / SOCKET_NAME

    @property
    def is_held(self) -> bool:
        """Whether this process holds the claim."""
        return self._lock.is_locked

    def release(self) -> None:
        """Give the claim up, after the server was closed. Twice is fine. The lock file stays, as it must."""
        if self.is_held:
            with contextlib.suppress(OSError):
                (self._claims / PID_NAME).unlink(missing_ok=True)
            self._lock.release()

    def __enter__(self) -> Instance:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def write_pid(path: Path) -> None:
    """Ours, for `running_pid`. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{os.getpid()}\n")


def running_pid(path: Path) -> int | None:
    """The pid that stands there; None where there is none, or it is a dead one's."""
    from psutil import pid_exists

    try:
        pid = int(path.read_text())
    except (OSError, ValueError):
        return None
    return pid if pid_exists(pid) else None
