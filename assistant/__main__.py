"""The program's first lines: Ctrl-C ends it without a traceback, also while Python still imports it or takes leave."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run one command of the command line; gives its exit code. Called once in a process, by its main thread."""
    is_ended_by_ctrl_c = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not under `nohup`, or in a job
    if is_ended_by_ctrl_c:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from assistant import cli

    if is_ended_by_ctrl_c:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    code = cli.main()
    if is_ended_by_ctrl_c:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return code


if __name__ == "__main__":
    sys.exit(main())
