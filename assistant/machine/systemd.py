"""Tells systemd how the daemon is: ready, alive, stopping (sd_notify). Without systemd nothing happens."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

BEGIN_S = 300


class Notifier:
    """Sends states to $NOTIFY_SOCKET. watchdog_s: how often systemd wants to hear that we live, None if it does not."""

    def __init__(self, environ: Mapping[str, str] = os.environ):
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._wanted_us = wanted = environ.get("WATCHDOG_USEC", "")
        is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(wanted) / 2e6 if self._address and wanted.isdecimal() and is_ours else None

    def ready(self, status: str) -> None:
        """The daemon is up."""
        self._send(f"READY=1\nSTATUS={status}" + (f"\nWATCHDOG_USEC={self._wanted_us}" if self.watchdog_s else ""))

    def beginning_anew(self) -> None:
        """Another process takes the daemon's place: no sign of life for BEGIN_S at most."""
        if self.watchdog_s:
            self._send(f"WATCHDOG_USEC={BEGIN_S * 1_000_000}\nWATCHDOG=1")

    def alive(self) -> None:
        """To be called every watchdog_s seconds, or systemd restarts the daemon."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.settimeout(1.0)
            line.sendto(state.encode(), address)
