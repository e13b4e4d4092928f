"""The parent of the daemon's process: starts it, and starts it again when it crashed or asks for a new process.

It loads next to nothing and has one thread, so that whatever befalls the daemon (a driver that aborts it, a signal, a
GPU that is lost) leaves somebody to start the next one. The two speak over a pipe: the child says once that it is
up, and on what kind of device.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from assistant.control.instance import SUPERVISOR_NAME, make_private, running_pid, runtime_dir, write_pid
from assistant.errors import WorkerFailed
from assistant.systemd import Notifier

EXIT_ANEW = 75
"""What the child ends with when only a new process can go on."""

MAX_CRASHES, CRASH_WINDOW_S = 5, 600.0
STOP_TIMEOUT_S = 8.0
DEVICE_RETRY_S = 10.0
"""A device that is full, or has gone, is waited for, if the daemon was up before."""

_VARIABLE = "ONLOOKER_SUPERVISOR"


@dataclass
class Link:
    """The child's end. device_type: of what it replaces ("cuda"), "" for the first one."""

    parent_pid: int
    fd: int
    device_type: str
    has_said_up: bool = False

    @property
    def is_alone(self) -> bool:
        """Whether the parent has died."""
        return os.getppid() != self.parent_pid

    def say_up(self, device_type: str) -> None:
        """The daemon is up. Only the first time counts."""
        if not self.has_said_up:
            self.has_said_up = True
            os.write(self.fd, f"{device_type}\n".encode())


def find_link(environ: Mapping[str, str] = os.environ) -> Link | None:
    """The link to the parent, in a process that a supervisor started."""
    parent, _, rest = environ.get(_VARIABLE, "").partition(" ")
    fd, _, device_type = rest.partition(" ")
    return Link(int(parent), int(fd), device_type) if parent else None


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
        self._child: subprocess.Popen[bytes] | None = None
        self._stops = False
        self._device_type = ""  # of the last child that was up
        self._crashes_s: deque[float] = deque(maxlen=MAX_CRASHES)

    def run(self) -> int:
        """Until the child ends for good; gives its exit code. Raises WorkerFailed when it crashes again and again."""
        before = {number: signal.signal(number, self._pass_on) for number in _passed_on()}
        path = runtime_dir() / SUPERVISOR_NAME
        is_first = running_pid(path) is None  # else there is a daemon, as the child will say
        try:
            if is_first:
                make_private(path.parent)
                write_pid(path)
            while True:
                code = self._run_child()
                if self._stops or not self._goes_on(code):
                    return code if code >= 0 else 128 - code
        finally:
            if is_first:
                path.unlink(missing_ok=True)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _goes_on(self, code: int) -> bool:
        """Whether another child is to be started after one that ended so; waits until it is time."""
        if code == 3 and self._device_type:
            self._note(f"something it needs is missing; it is tried again in {DEVICE_RETRY_S:.0f} s")
            self._wait(DEVICE_RETRY_S)
            return not self._stops
        if not (code < 0 or code == EXIT_ANEW or (code == 1 and self._device_type)):
            return False
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        now_s = time.monotonic()
        if len(self._crashes_s) == MAX_CRASHES and now_s - self._crashes_s[0] < CRASH_WINDOW_S:
            minutes = CRASH_WINDOW_S / 60
            raise WorkerFailed(f"the daemon {how}, after {MAX_CRASHES} other crashes within {minutes:.0f} minutes")
        self._crashes_s.append(now_s)
        self._note(f"the daemon {how}; it is started again")
        self._notifier.beginning_anew()
        return True

    def _run_child(self) -> int:
        """One child from its start to its end."""
        read_fd, write_fd = os.pipe()
        environ = {**self._environ, _VARIABLE: f"{os.getpid()} {write_fd} {self._device_type}"}
        environ.pop("WATCHDOG_PID", None)  # systemd means the daemon, whoever that is
        try:
            self._child = subprocess.Popen(self._command, env=environ, pass_fds=[write_fd])
            os.close(write_fd)
            code = self._child.wait()
            self._child = None
            said = os.read(read_fd, 100).decode()
            self._device_type = said.strip() or self._device_type
            return code
        finally:
            os.close(read_fd)

    def _pass_on(self, number: int, frame: object) -> None:
        child = self._child
        is_stop = number in (signal.SIGINT, signal.SIGTERM)
        self._stops |= is_stop
        if child is not None:
            child.send_signal(signal.SIGTERM if is_stop else number)

    def _wait(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while not self._stops and time.monotonic() < until_s:
            time.sleep(0.1)


def end_running() -> bool:
    """End this user's supervisor, whatever its child is doing, in STOP_TIMEOUT_S. False: none runs."""
    import psutil

    pid = running_pid(runtime_dir() / SUPERVISOR_NAME)
    if pid is None:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if "run" not in process.cmdline():  # the pid is another program's by now
            return False
        process.terminate()
        until_s = time.monotonic() + STOP_TIMEOUT_S
        while process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > until_s:
                process.kill()
            time.sleep(0.05)
    return True


def _passed_on() -> list[signal.Signals]:
    names = ("SIGINT", "SIGTERM", *(("SIGUSR1",) if sys.platform != "win32" else ()))
    return [signal.Signals[name] for name in names]
