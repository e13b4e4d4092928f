"""The daemon as a user runs it: a process of its own, with a runtime directory of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from assistant.control.client import Client
from assistant.control.instance import RUNTIME_VARIABLE
from model.errors import OnlookerError
from model.weights import data_dir
from tests.assistant.camera import wait_for
from tests.assistant.control_daemon import short_directory
from tests.pace import pace

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
REAL_DATA = data_dir().parent  # as it is before a test has a home of its own

PYTHONPATH = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


class Daemon:
    """A running daemon. log: its file. supervisor: the parent of the daemon's process."""

    def __init__(self, directory: Path, supervisor: subprocess.Popen[bytes]):
        self.directory, self.log, self.supervisor = directory, directory / "run.log", supervisor

    @property
    def process(self) -> psutil.Process:
        """The one that answers just now."""
        with Client.connect(self.directory) as client:
            assert client.daemon.pid is not None
            return psutil.Process(client.daemon.pid)

    def facts(self) -> dict[str, Any]:
        with Client.connect(self.directory) as client:
            return dict(client.request("status"))

    def state(self) -> str:
        return self.facts()["parts"]["capture"]["state"]

    def footprint(self) -> tuple[int, int, float]:
        """Threads, open files and memory in MB of the daemon and its children."""
        supervisor = psutil.Process(self.supervisor.pid)
        family = [supervisor, *supervisor.children(recursive=True)]
        return (
            sum(process.num_threads() for process in family),
            sum(process.num_fds() for process in family),
            sum(process.memory_info().rss for process in family) / 1e6,
        )


@contextmanager
def daemon(
    source: str,
    *prefix: str,
    environ: dict[str, str] | None = None,
    model: str = str(GOLDEN),
    fps: float = 5,
    is_silent: bool = True,
) -> Iterator[Daemon]:
    with short_directory() as directory:
        own = {RUNTIME_VARIABLE: str(directory), "PYTHONPATH": PYTHONPATH}
        own["ONLOOKER_DATA"] = str(REAL_DATA if model == "default" else directory / "data")
        options = [
            *(["--no-say"] if is_silent else []),
            "--fps",
            str(fps),
            "--model",
            model,
            "--log",
            str(directory / "run.log"),
        ]
        command = [*prefix, sys.executable, "-m", "assistant", "run", source, *options]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **own, **(environ or {})})
        try:
            running = Daemon(directory, process)
            wait_for(lambda: answers(running), 60)
            yield running
        finally:
            process.terminate()
            start_s = time.monotonic()
            assert process.wait(10 * pace()) == 0, (directory / "run.log").read_text()
            assert time.monotonic() - start_s < 5 * pace()


def answers(running: Daemon) -> bool:
    try:
        running.facts()
    except OnlookerError:
        return False
    return True
