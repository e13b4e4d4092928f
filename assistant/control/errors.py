"""Errors of the control socket: what `onlooker status`, `ask` and the rest end with when the daemon cannot serve them.

model.errors.OnlookerError
├── AlreadyRunning           2   a second daemon was to be started; the message names the first one's pid
├── RuntimeDirError          3   the runtime directory, or what lies in it, is not private to this user
├── DaemonMissing            3   no daemon runs
├── DaemonLost               3   the daemon ended, or closed the line, before it had answered
├── DaemonSilent             3   the daemon is there, but did not answer in time
├── VersionMismatch          3   daemon and command speak different versions of the protocol
└── RequestRefused           ?   the daemon said no; the exit code is the one it sent along
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.errors import OnlookerError

if TYPE_CHECKING:
    from pathlib import Path

    from assistant.control.protocol import Refusal


class AlreadyRunning(OnlookerError):
    """Another daemon of this user runs. pid: which, or None while it is just starting."""

    exit_code = 2

    def __init__(self, pid: int | None, directory: Path):
        who = "is just starting" if pid is None else f"runs already, with pid {pid}"
        super().__init__(f"a daemon {who} ({directory}); end it with `onlooker stop`")
        self.pid = pid


class RuntimeDirError(OnlookerError):
    """The runtime directory, the lock or the socket is not what it must be; the message says what to do."""

    exit_code = 3


class DaemonMissing(OnlookerError):
    """Nothing answers at the socket."""

    exit_code = 3

    def __init__(self, socket_path: Path):
        super().__init__(
            f"the daemon is not running (nothing answers at {socket_path}); start it with `onlooker start`"
        )


class DaemonLost(OnlookerError):
    """The line to the daemon broke before the answer was complete."""

    exit_code = 3

    def __init__(self, detail: str = "it ended before it had answered"):
        super().__init__(f"the daemon was lost: {detail}; see whether it runs with `onlooker status`")


class DaemonSilent(OnlookerError):
    """The daemon took the request, or did not even do that, and nothing came for timeout_s seconds."""

    exit_code = 3

    def __init__(self, timeout_s: float):
        super().__init__(f"the daemon did not answer within {timeout_s:g} s; if that lasts, use `onlooker restart`")


class VersionMismatch(OnlookerError):
    """The two ends speak different versions of the protocol; the message names both."""

    exit_code = 3

    def __init__(self, ours: int, theirs: object):
        super().__init__(
            f"the daemon speaks version {theirs!r} of the control protocol, this command version {ours}; "
            "use `onlooker restart`, so that both come from the same installation"
        )


class RequestRefused(OnlookerError):
    """The daemon answered with an error. refusal: its code, message and remedy."""

    def __init__(self, refusal: Refusal):
        super().__init__(f"{refusal.message}; {refusal.remedy}" if refusal.remedy else refusal.message)
        self.refusal = refusal
        self.exit_code = refusal.exit_code
