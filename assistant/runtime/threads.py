"""The threads of one run: named, started one by one, ended together within a time; their failures are heard."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from assistant.errors import WorkerFailed

STOP_TIMEOUT_S = 5.0
"""So long a thread may take to end, once it has been told."""


def make_thread(name: str, work: Callable[[], object]) -> threading.Thread:
    """A thread "onlooker-NAME" that is not started yet, and does not keep the process from ending.

    All of the assistant's threads are made here; whoever makes one starts it.
    """
    return threading.Thread(target=work, name=f"onlooker-{name}", daemon=True)


class Worker:
    """Work beside a run, in a thread of its own. Use: `start`, `close`, in one thread.

    work: ends soon after `_stop` is set. timeout_s: `close` waits for that no longer.
    """

    def __init__(self, name: str, work: Callable[[], None], *, timeout_s: float = STOP_TIMEOUT_S):
        self._stop, self._timeout_s = threading.Event(), timeout_s
        self._thread = make_thread(name, work)

    def start(self) -> None:
        """Once."""
        self._thread.start()

    def close(self) -> None:
        """End it, whether it was started or not."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(self._timeout_s)


class Threads:
    """Owned by one thread. failed: is told (name, error), in the thread that failed."""

    def __init__(self, failed: Callable[[str, BaseException], None]):
        self._failed = failed
        self._threads: list[threading.Thread] = []

    def start(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """A daemon thread "onlooker-NAME"."""
        thread = make_thread(name, lambda: self._guard(name, work))
        thread.start()
        self._threads.append(thread)
        return thread

    def join(self) -> list[str]:
        """Wait for all, the last started first, for STOP_TIMEOUT_S in all; gives the names of those that hang."""
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        for thread in reversed(self._threads):
            thread.join(max(0.0, deadline_s - time.monotonic()))
        return [thread.name for thread in self._threads if thread.is_alive()]

    def _guard(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._failed(name, error)


def failure_of(name: str, error: BaseException) -> WorkerFailed:
    """What ended the thread of this name, with the error as its cause."""
    fault = WorkerFailed(f"the {name} thread failed: {type(error).__name__}: {error}")
    fault.__cause__ = error
    return fault


def stuck_message(names: list[str]) -> str:
    """What is said of threads that hang."""
    return f"did not stop within {STOP_TIMEOUT_S:g} s: {', '.join(names)}"
