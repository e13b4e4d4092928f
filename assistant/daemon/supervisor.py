"""The parent of the daemon's process: starts it, and starts it again when it crashed or asks for a new process.

It loads next to nothing and has one thread, so that whatever befalls the daemon (a driver that aborts it, a signal, a
GPU that is lost) leaves somebody to start the next one. Signals only set flags, and one loop acts on them. The child
says over a pipe when it is ready, and on what kind of device, and when it has been told to stop.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.control.errors import AlreadyRunning, RuntimeDirError
from assistant.control.instance import (
    check_length,
    check_private,
    claims_dir,
    make_private,
    running_pid,
    runtime_dir,
    write_pid,
)
from assistant.errors import WorkerFailed
from assistant.machine.systemd import Notifier
from assistant.runtime.signals import ENDING, heard_at_the_end, signal_name

if TYPE_CHECKING:
    from pathlib import Path

    from filelock import BaseFileLock

EXIT_ANEW = 75
"""What the child ends with when only a new process can go on."""

MAX_CRASHES, CRASH_WINDOW_S = 5, 600.0
FIRST_DELAY_S, LAST_DELAY_S = 1.0, 30.0
"""Between crashes; the first one is answered at once."""

DEVICE_RETRY_S = 10.0
"""A device that is full, or has gone, is waited for, if the daemon was ready before."""

STOP_TIMEOUT_S = 6.0
"""A child that has not ended by then, after it was told to stop, is killed."""

_TICK_S = 0.1
_LOCK_NAME, _PID_NAME = "supervisor.lock", "supervisor.pid"
_VARIABLE = "ONLOOKER_SUPERVISOR"


@dataclass(frozen=True)
class Link:
    """The child's end. device_type: of the process that it replaces ("cuda"), "" for the first one."""

    parent_pid: int
    fd: int
    device_type: str

    @property
    def is_orphaned(self) -> bool:
        """Whether the parent has died."""
        return os.getppid() != self.parent_pid

    def say(self, what: str) -> None:
        """ "ready DEVICE_TYPE" or "stopping"."""
        with contextlib.suppress(OSError):  # the parent has gone
            os.write(self.fd, f"{what}\n".encode())


def find_link() -> Link | None:
    """The link to the parent, in a process that a supervisor started. Its own children do not inherit it."""
    parent, _, rest = os.environ.pop(_VARIABLE, "").partition(" ")
    if not parent:
        return None
    fd, _, device_type = rest.partition(" ")
    os.set_inheritable(int(fd), False)
    return Link(int(parent), int(fd), device_type)


class LinkNotifier(Notifier):
    """Tells systemd, and the parent."""

    def __init__(self, link: Link, device_type: str):
        super().__init__()
        self._link, self._device_type = link, device_type

    def ready(self, status: str) -> None:
        self._link.say(f"ready {self._device_type}")
        super().ready(status)

    def stopping(self) -> None:
        self._link.say("stopping")
        super().stopping()


class Supervisor:
    """Use: `run`, in the main thread. command, environ: the child's. note: is told what happened, while none lives."""

    def __init__(
        self,
        command: list[str],
        environ: Mapping[str, str],
        note: Callable[[str], None],
        notifier: Notifier | None = None,
    ):
        self._command, self._environ, self._note = command, environ, note
        self._notifier = notifier or Notifier()
        self._signals: set[int] = set()  # that came; the loop takes them out
        self._stops = self._is_ready = self._is_ending = False
        self._device_type = ""  # of the last child that was ready
        self._crashes_s: deque[float] = deque(maxlen=MAX_CRASHES)
        self._delay_s = 0.0

    def run(self) -> int:
        """Until the child ends for good; gives the exit code.

        Raises WorkerFailed when it crashes again and again, AlreadyRunning, and RuntimeDirError.
        """
        with _only_one(), self._hear_signals():
            while True:
                code = self._run_child()
                if self._stops:
                    return max(code, 0) if code != -signal.SIGKILL else 1
                if not self._goes_on(code):
                    return code
                if self._stops:
                    return 0

    def _goes_on(self, code: int) -> bool:
        """Whether another child is to be started after one that ended so; waits until it is time."""
        was_ready = bool(self._device_type)
        if code == 3 and was_ready:
            self._note(f"something it needs is missing; it is tried again in {DEVICE_RETRY_S:.0f} s")
            self._wait(DEVICE_RETRY_S)
            return True
        if not (code < 0 or code == EXIT_ANEW or (code in (1, 2) and was_ready)):
            return False
        how = f"was ended by {signal_name(-code)}" if code < 0 else f"ended with code {code}"
        now_s = time.monotonic()
        if len(self._crashes_s) == MAX_CRASHES and now_s - self._crashes_s[0] < CRASH_WINDOW_S:
            minutes = CRASH_WINDOW_S / 60
            end = WorkerFailed(f"the daemon {how}, after {MAX_CRASHES} other crashes within {minutes:.0f} minutes")
            self._note(f"{end}; that is the end")
            raise end
        is_first = not self._crashes_s or now_s - self._crashes_s[-1] > CRASH_WINDOW_S
        self._delay_s = 0.0 if is_first else min(max(FIRST_DELAY_S, 2 * self._delay_s), LAST_DELAY_S)
        self._crashes_s.append(now_s)
        self._note(f"the daemon {how}; it is started again" + (f" in {self._delay_s:g} s" if self._delay_s else ""))
        self._wait(self._delay_s)
        return True

    def _run_child(self) -> int:
        """One child from its start to its end; gives its exit code, or the negative number of its signal."""
        read_fd, write_fd = os.pipe()
        os.set_blocking(read_fd, False)
        environ = {**self._environ, _VARIABLE: f"{os.getpid()} {write_fd} {self._device_type}"}
        environ.pop("WATCHDOG_PID", None)  # systemd means the daemon, whoever that is
        self._is_ready = False
        kill_at_s: float | None = None
        try:
            child = subprocess.Popen(self._command, env=environ, pass_fds=[write_fd])
        except OSError as error:
            os.close(read_fd)
            self._note(f"the daemon cannot be started: {error}")
            return EXIT_ANEW
        finally:
            os.close(write_fd)
        try:
            while (code := child.poll()) is None:
                self._read(read_fd)
                self._take_signals(child)
                if self._stops and kill_at_s is None:
                    kill_at_s = time.monotonic() + STOP_TIMEOUT_S
                    if not self._is_ending:  # what ends by itself is not to be ended, too
                        child.terminate()
                if kill_at_s is not None and time.monotonic() > kill_at_s:
                    child.kill()  # and its exit code says so
                time.sleep(_TICK_S)
            self._read(read_fd)
            self._take_signals(None)  # a stop that came just as it ended is none to be answered by the next one
            return code
        finally:
            os.close(read_fd)

    def _read(self, fd: int) -> None:
        """What the child has said."""
        said = ""
        with contextlib.suppress(BlockingIOError):
            said = os.read(fd, 1000).decode(errors="replace")
        for line in said.splitlines():
            what, _, device_type = line.partition(" ")
            if what == "ready":
                self._is_ready, self._device_type = True, device_type
            elif what == "stopping":
                self._stops = self._is_ending = True

    def _take_signals(self, child: subprocess.Popen[bytes] | None) -> None:
        while self._signals:
            number = self._signals.pop()
            if number in ENDING:
                self._stops = True
            elif child is not None and self._is_ready:
                child.send_signal(number)

    def _wait(self, seconds: float) -> None:
        """While systemd hears that somebody lives."""
        self._notifier.beginning_anew()
        until_s = time.monotonic() + seconds
        while not self._stops and time.monotonic() < until_s:
            self._take_signals(None)
            time.sleep(_TICK_S)
        self._take_signals(None)

    @contextlib.contextmanager
    def _hear_signals(self) -> Iterator[None]:
        numbers = [*heard_at_the_end(), *([signal.SIGUSR1] if sys.platform != "win32" else [])]
        before = {number: signal.signal(number, lambda number, _: self._signals.add(number)) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """Hold the lock of this user's supervisor. Raises AlreadyRunning, RuntimeDirError."""
    from filelock import Timeout

    check_length(runtime_dir())
    make_private(runtime_dir())
    claims = claims_dir(runtime_dir())
    lock, path = _lock(claims), claims / _PID_NAME
    try:
        lock.acquire(timeout=1.0)  # the one before may just be going
        write_pid(path)
    except Timeout:
        raise AlreadyRunning(running_pid(path), runtime_dir()) from None
    except OSError as error:
        raise RuntimeDirError(f"{claims}: cannot be written to: {error.strerror}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        lock.release()


def _lock(claims: Path) -> BaseFileLock:
    from filelock import FileLock

    return FileLock(claims / _LOCK_NAME, mode=0o600, thread_local=False)


def is_running() -> bool:
    """Whether this user has a supervisor, with a child or without. Raises RuntimeDirError (others can get in there)."""
    from filelock import Timeout

    if runtime_dir().is_dir():
        check_private(runtime_dir())
    lock = _lock(claims_dir(runtime_dir()))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError as error:
        raise RuntimeDirError(f"{lock.lock_file}: cannot be locked: {error.strerror}") from None
    lock.release()
    return False


def end_running(timeout_s: float = STOP_TIMEOUT_S + 2) -> bool:
    """End this user's supervisor and its child, whatever they are doing. False: none runs."""
    import psutil

    pid = running_pid(claims_dir(runtime_dir()) / _PID_NAME) if is_running() else None  # so the pid is its own
    if pid is None:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        supervisor = psutil.Process(pid)
        family = [supervisor, *supervisor.children(recursive=True)]
        supervisor.terminate()
        until_s = time.monotonic() + timeout_s
        while is_running() and time.monotonic() < until_s:
            time.sleep(0.05)
        if is_running():
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
    return True
