"""Runs another program and waits for it, for fetching and conversion. In the caller's thread."""

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

POLL_S = 0.2


def run_child(command: list[str], environment: Mapping[str, str], watch: Callable[[], None]) -> tuple[int, list[str]]:
    """Run a program to its end. Returns its exit status and the lines it wrote to either output.

    watch: called several times a second; whatever it raises (or Ctrl-C) ends the program, and its children.
    """
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**environment, "PYTHONSAFEPATH": "1"},  # or Python runs modules of the folder one happens to stand in
        cwd=os.sep,
        start_new_session=os.name == "posix",
    )
    try:
        while True:
            try:
                said, _ = child.communicate(timeout=POLL_S)
                break
            except subprocess.TimeoutExpired:
                watch()
    except BaseException:
        if os.name == "posix":
            os.killpg(child.pid, signal.SIGKILL)  # its own children too: it leads a session of its own
        else:
            child.kill()
        child.communicate(timeout=10)
        raise
    return child.returncode, said.decode(errors="replace").strip().splitlines()


def raise_if_full(folder: Path, said: list[str]) -> None:
    """Raise OSError (ENOSPC) if a program that wrote to `folder` failed, as it `said`, for want of space."""
    if any("No space left" in line for line in said):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
