"""A program's first and last moments: Ctrl-C ends it without a traceback, also while it is imported or takes leave.

The model hub's client takes an empty HF_HOME for the current folder, so empty variables of that kind are unset.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

HUB_FOLDERS = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")


def run(load: Callable[[], Callable[[], int]]) -> int:
    """Import a program by `load`, and run it; gives its exit code. Called once in a process, by its main thread."""
    for name in HUB_FOLDERS:
        if not os.environ.get(name):
            os.environ.pop(name, None)
    is_ended_by_ctrl_c = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not under `nohup`, or in a job
    if is_ended_by_ctrl_c:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    main = load()
    if is_ended_by_ctrl_c:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    code = main()
    if is_ended_by_ctrl_c:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return code
