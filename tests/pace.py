"""How much slower this machine is than a quiet one just now, for bounds on time that hold there."""

import os
from pathlib import Path


def pace() -> float:
    """1 on a quiet machine; with six busy programs beside the tests on two cores about 4."""
    loaded = os.getloadavg()[0]
    try:
        running = int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):  # no such file here
        running = 0
    return max(1.0, max(loaded, running) / (os.cpu_count() or 1))
