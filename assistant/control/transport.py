"""What the server needs from the operating system: clients that come, bytes both ways, one wait for all of them.

`unix.py` has it for Unix sockets. Everything but `wake` is called by the server's thread alone; only `wait` waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Peer:
    """Who is at the other end, as the kernel says. uid: None on systems that do not tell."""

    uid: int | None
    pid: int | None


class Wire(Protocol):
    """The line to one client."""

    @property
    def peer(self) -> Peer:
        """Who is at the other end, as the kernel says."""
        ...

    @property
    def is_trusted(self) -> bool:
        """Whether this peer may control the daemon."""
        ...

    def receive(self, limit_bytes: int) -> bytes | None:
        """Bytes that have come; empty: the client has left; None: nothing now. Raises OSError: the line is broken."""
        ...

    def send(self, data: bytes) -> int:
        """How many of these bytes went out; 0: none now. Raises OSError: the line is broken."""
        ...

    def close(self) -> None:
        """Hang up. Twice is fine."""
        ...


class Transport(Protocol):
    """The place where clients come in."""

    def accept(self) -> Wire | None:
        """The next client that wants in, or None."""
        ...

    def watch(self, wire: Wire, *, reads: bool, writes: bool) -> None:
        """What `wait` shall report of this wire from now on; neither: nothing, and it is forgotten."""
        ...

    def wait(self, timeout_s: float | None) -> set[Wire]:
        """The watched wires that something can be done with, after at most timeout_s seconds (None: for ever).

        Returns at once, even with none, when a client wants in and when somebody called `wake`.
        """
        ...

    def wake(self) -> None:
        """Any thread: end the present `wait`, or the next one."""
        ...

    def close(self) -> None:
        """Let nobody in any more, and leave nothing behind. Twice is fine."""
        ...
