"""Child processes that can die alone: starting, talking over a pipe, and ending them for certain.

Used from one thread each. What a child is told travels over the pipe, never in its arguments or
environment, so that no address or password shows in a process list.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

Main = Callable[[Connection], None]

END_GRACE_S = 1.0


class Child:
    """A started child process that runs `main(connection)` in a fresh interpreter ("spawn").

    The child ignores Ctrl-C (the parent decides when it ends) and its standard output goes nowhere.
    """

    def __init__(self, main: Main, *, name: str):
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_run_child, args=(main, theirs), name=name, daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int | None:
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
            return f"ended by signal {signal.Signals(-code).name}"
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


def _run_child(main: Main, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # libraries that print must not write into our JSON lines
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, EOFError):
        main(connection)
    connection.close()
