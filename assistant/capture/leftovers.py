"""Removes the pictures that earlier versions left in /dev/shm when they were killed: 20 MB each, under a name."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path

NAME = re.compile(r"psm_[0-9a-f]{8}")
NUM_BYTES = 4 * 1280 * 1280 * 3  # of all the slots, as those versions made them


def sweep(folder: Path = Path("/dev/shm")) -> int:
    """Remove what is this user's, has that name and size, and is open in no process; gives how many files went."""
    found = [path for path in _candidates(folder) if _is_ours(path)]
    if not found:
        return 0
    in_use = _mapped_files()
    num_removed = 0
    for path in found:
        if str(path) not in in_use:
            with contextlib.suppress(OSError):
                path.unlink()
                num_removed += 1
    return num_removed


def _candidates(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in os.listdir(folder) if NAME.fullmatch(name)]
    except OSError:
        return []


def _is_ours(path: Path) -> bool:
    try:
        about = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid() and about.st_size == NUM_BYTES


def _mapped_files() -> set[str]:
    """The files that processes have mapped, as far as they can be looked at: this user's own, which is enough."""
    import psutil

    mapped: set[str] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            mapped.update(region.path for region in process.memory_maps())
        with contextlib.suppress(psutil.Error, OSError):
            mapped.update(file.path for file in process.open_files())
    return mapped
