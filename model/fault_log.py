"""Where an error happened that is a fault of this program's, in a file of the user's own, for whoever mends it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

MAX_BYTES = 1 << 20


def told(error: BaseException) -> str:
    """One line for the user about an error that nobody expected; its traceback is appended to faults.log."""
    return f"a fault of ours: {type(error).__name__}: {error}; {keep(error)}"


def keep(error: BaseException) -> str:
    """Append the traceback to faults.log in the user's log folder, or else in a private temporary one.

    The words that say which; never raises. A file of more than MAX_BYTES is begun anew.
    """
    text = "".join(traceback.format_exception(error))
    for folder in _folders():
        path = folder / "faults.log"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            mode = "w" if path.exists() and path.stat().st_size > MAX_BYTES else "a"
            with open(path, mode, encoding="utf-8", errors="backslashreplace", opener=_private) as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(sys.argv[:2])}\n{text}\n")
        except OSError:
            continue
        return f"the details are in {path}"
    return "the details could not be written anywhere"


def _folders() -> Iterator[Path]:
    with contextlib.suppress(Exception):  # no home, no entry in the list of users
        from platformdirs import user_log_path

        yield user_log_path("onlooker")
    yield Path(tempfile.gettempdir()) / f"onlooker-{os.getuid() if hasattr(os, 'getuid') else 'log'}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)
