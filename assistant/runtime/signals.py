"""The signals that this program acts on, and their names."""

from __future__ import annotations

import signal

GROUP = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGTSTP") if hasattr(signal, name))
"""What a terminal, or a service manager, sends to all processes of a group: the first of them acts on it for all."""

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What ends a run. SIGHUP: its terminal was closed."""


def heard_at_the_end() -> list[int]:
    """Those of ENDING that this process is to act on: a closed terminal does not end what was started by nohup."""
    hang_up = getattr(signal, "SIGHUP", None)
    return [number for number in ENDING if number != hang_up or signal.getsignal(number) != signal.SIG_IGN]


def signal_name(number: int) -> str:
    """ "SIGKILL"; for those without a name of their own, "37"."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
