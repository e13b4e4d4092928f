"""Child processes that can die alone: starting, talking over a pipe, and ending them for certain.

Used from one thread each, which must live as long as its child: on Linux a child ends with the thread that started it.
What a child is told travels over the pipe, never in its arguments or environment, so that no address or password shows
in a process list. Signals to the whole group (Ctrl-C, Ctrl-Z, a terminal that is closed) are for the parent to act on.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection
from typing import Any
from weakref import WeakSet

from assistant.errors import WorkerFailed
from assistant.runtime.signals import GROUP, signal_name

Main = Callable[..., None]

END_GRACE_S = 1.0
PR_SET_PDEATHSIG = 1


class Child:
    """A started child process that runs `main(connection, *given)` in a fresh interpreter ("spawn").

    The parent decides when it ends; its standard output goes nowhere. Raises WorkerFailed if none can be started.
    """

    def __init__(self, main: Main, *given: Any, name: str):
        context = multiprocessing.get_context("spawn")
        try:
            self.connection, theirs = context.Pipe()
        except OSError as error:
            raise WorkerFailed(f"{name}: cannot be started: {error.strerror}") from None
        arguments = (main, theirs, os.getpid(), *given)
        self._process = context.Process(target=_run_child, args=arguments, name=name, daemon=True)
        _kill_at_exit()
        _living.add(self._process)
        try:
            self._process.start()
        except OSError as error:
            self.connection.close()
            raise WorkerFailed(f"{name}: cannot be started: {error.strerror}") from None
        finally:
            theirs.close()

    @property
    def pid(self) -> int | None:
        """Its process number."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it lives; negative: the signal that ended it."""
        return self._process.exitcode

    def send(self, message: Any) -> bool:
        """Hand it a message. False when it is dead."""
        try:
            self.connection.send(message)
        except (OSError, ValueError):
            return False
        return True

    def receive(self, *, timeout_s: float) -> Any | None:
        """Its next message, or None when none came within timeout_s seconds. EOFError when it is dead."""
        try:
            if self.connection.poll(timeout_s):
                return self.connection.recv()
        except OSError:
            raise EOFError from None
        return None

    def how_it_died(self) -> str:
        """A few words on a dead child, for the user's message."""
        self._process.join(END_GRACE_S)
        code = self._process.exitcode
        if code is None:
            return "it closed its pipe"
        if code < 0:
            return f"ended by signal {signal_name(-code)}"
        return f"ended with code {code}"

    def wait(self, timeout_s: float) -> None:
        """Until it has ended by itself, or timeout_s seconds are over."""
        self._process.join(timeout_s)

    def end(self, *, grace_s: float = END_GRACE_S) -> None:
        """Close the pipe, which asks it to end; kill it if it has not after grace_s seconds. Safe to call twice."""
        with contextlib.suppress(OSError):
            self.connection.close()
        self._process.join(grace_s)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(END_GRACE_S)


_living: WeakSet[Any] = WeakSet()
"""The processes of this program's children, for its end."""


@cache
def _kill_at_exit() -> None:
    """Once, however many children come: they go before multiprocessing's own handler, which would wait for them."""
    atexit.register(_kill_all)


def _kill_all() -> None:
    for process in list(_living):
        with contextlib.suppress(ValueError, AssertionError, AttributeError):  # never started, or closed
            process.kill()


def _run_child(main: Main, connection: Connection, parent_pid: int, *given: Any) -> None:
    for number in GROUP:
        signal.signal(number, signal.SIG_IGN)
    _end_with_the_parent(parent_pid)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # libraries that print must not write into our JSON lines
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, EOFError):
        main(connection, *given)
    connection.close()


def _end_with_the_parent(parent_pid: int) -> None:
    """Linux: be killed when the parent is, however deep in a driver this process may be then."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before that
        os._exit(0)
