"""`onlooker start` and `restart`: the daemon in the background, and the wait until it answers."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import tempfile
import time
from pathlib import Path

from assistant.commands.run import add_options, run_command
from model.errors import OnlookerError

START_TIMEOUT_S = 300.0  # an 8B model is read from a slow disk, or weights are fetched


class StartFailed(OnlookerError):
    """The daemon did not come up; the message is what it said."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


def add_parser(commands) -> None:
    for name, text in (("start", "run the daemon in the background"), ("restart", "stop it, and start it again")):
        sub: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f"{text.capitalize()}.")
        add_options(sub)
        sub.set_defaults(run=run_start, is_restart=name == "restart")


def run_start(args: argparse.Namespace) -> int:
    """Start `run` in a session of its own and wait until it answers. Raises StartFailed with its last words."""
    import psutil

    from assistant.commands.remote import run_stop
    from assistant.control.client import Client
    from assistant.control.errors import DaemonLost, DaemonMissing, DaemonSilent

    if args.is_restart:
        with contextlib.suppress(DaemonMissing):
            run_stop(args)
    path = _log_path()
    command, environ = run_command(args, path)
    with tempfile.TemporaryFile() as said:
        daemon = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        until_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until_s:
            if daemon.poll() is not None:
                said.seek(0)
                words = said.read().decode(errors="replace").strip().splitlines()[-3:]
                reason = "\n".join(line.removeprefix("onlooker: ") for line in words)
                raise StartFailed(
                    reason or f"the daemon ended with code {daemon.returncode}; see {path}", daemon.returncode
                )
            with contextlib.suppress(DaemonMissing, DaemonSilent, DaemonLost, psutil.Error), Client.connect() as client:
                pid = client.daemon.pid
                if pid is not None and psutil.Process(pid).ppid() == daemon.pid:
                    print(f"runs with pid {pid}; its log: {path}")
                    return 0
            time.sleep(0.2)
    raise StartFailed(f"the daemon does not answer after {START_TIMEOUT_S:.0f} s; see {path}", 3)


def _log_path() -> Path:
    """Among the user's own data; where that cannot be written to, in the runtime directory."""
    from platformdirs import user_log_path

    from assistant.control.instance import make_private, runtime_dir

    folder = user_log_path("onlooker")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(folder, os.W_OK):
            return folder / "onlooker.log"
    except OSError:
        pass
    make_private(runtime_dir())
    return runtime_dir() / "onlooker.log"
