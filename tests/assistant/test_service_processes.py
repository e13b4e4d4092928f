"""The daemon as a user starts and stops it: its processes begin anew after a kill, and leave nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from assistant.control.instance import RUNTIME_VARIABLE
from tests.assistant.camera import Camera, wait_for
from tests.assistant.control_daemon import short_directory

GOLDEN = Path(__file__).parents[1] / "golden"
ROOT = Path(__file__).parents[2]


def environ_of(directory: Path) -> dict[str, str]:
    own = {RUNTIME_VARIABLE: str(directory), "ONLOOKER_DATA": str(directory / "data")}
    own |= {"XDG_STATE_HOME": str(directory / "state"), "PYTHONPATH": str(ROOT)}
    return {**os.environ, **own, "ONLOOKER_PRIVACY__JOURNAL": "true"}


def onlooker(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    environ = environ_of(directory)
    command = [sys.executable, "-m", "assistant", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)


def reads(pid: int, path: str) -> bool:
    """Whether the process, or a child of it, has the file open."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return any(file.path == path for process in processes for file in process.open_files())


def test_the_daemon_as_a_user_meets_it(make_video):
    video = str(make_video(seconds=20, step=3))
    with short_directory() as directory:
        environ = environ_of(directory)
        command = [sys.executable, "-m", "assistant", "run", video, "--no-say", "--model", str(GOLDEN)]

        missing = onlooker("status", directory=directory)
        assert (missing.returncode, "is not running" in missing.stderr) == (3, True)
        daemon = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: onlooker("status", directory=directory).returncode == 0, 60)
            wait_for(lambda: json.loads(onlooker("status", "--json", directory=directory).stdout)["frames"] > 2, 30)
            shown = onlooker("status", directory=directory).stdout
            assert "  capture   ready" in shown
            assert onlooker("ask", "What", "is", "it?", directory=directory).stdout.strip()
            answer = onlooker("ask", "And", "the", "salt?", directory=directory).stdout.strip()
            assert onlooker("private", "on", directory=directory).returncode == 0
            assert onlooker("ask", "A", "secret?", directory=directory).returncode == 0
            assert onlooker("private", "off", directory=directory).returncode == 0
            wait_for(lambda: "salt" in onlooker("log", directory=directory).stdout, 5)
            kept = onlooker("log", "--since", "1h", "--search", "salt", directory=directory).stdout
            assert kept.count("\n") == 1
            assert kept.rstrip().endswith("? And the salt?")
            whole = json.loads(onlooker("log", "--format", "json", directory=directory).stdout)
            (asked,) = [entry for entry in whole if entry["text"] == "And the salt?"]
            assert answer in [entry["text"] for entry in whole if entry["query_id"] == asked["id"]]
            assert not any("secret" in entry["text"] for entry in whole)
            assert onlooker("reload", directory=directory).stdout == "changed: nothing\n"
            forgotten = onlooker("log", "--search", "salt", "--forget", "--yes", directory=directory)
            assert forgotten.stdout == "1 lines deleted\n"
            assert "salt" not in onlooker("log", directory=directory).stdout
            assert onlooker("pause", directory=directory).returncode == 0
            assert ", paused" in onlooker("status", directory=directory).stdout
            second = onlooker("run", video, "--model", str(GOLDEN), directory=directory)
            pid = json.loads(onlooker("status", "--json", directory=directory).stdout)["pid"]
            assert (second.returncode, f"pid {daemon.pid}" in second.stderr) == (2, True)
            assert video not in psutil.Process(pid).cmdline(), "it might hold a password"
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not psutil.pid_exists(pid), 5)
            wait_for(lambda: onlooker("status", directory=directory).returncode == 0, 60)
            shown = onlooker("status", directory=directory).stdout
            assert ", paused" in shown, "no restart opens a camera that was closed"
            assert "  capture   paused" in shown
            assert not reads(daemon.pid, video)
            assert onlooker("resume", directory=directory).returncode == 0
            wait_for(lambda: json.loads(onlooker("status", "--json", directory=directory).stdout)["frames"] > 2, 30)
            assert reads(daemon.pid, video)
            stopped = onlooker("stop", directory=directory)
            assert (stopped.returncode, daemon.wait(10)) == (0, 0)
            assert onlooker("log", directory=directory).stdout
            forgotten = onlooker("log", "--forget", "--yes", directory=directory)
            assert forgotten.stdout.endswith(" lines deleted\n"), "without the daemon, too"
            assert onlooker("log", directory=directory).stdout == ""
            kept = b"".join(file.read_bytes() for file in (directory / "data" / "journal").iterdir())
            assert b"What is it" not in kept
            assert b"salt" not in kept
        finally:
            daemon.kill()
            daemon.wait(10)


def test_it_is_started_in_the_background_and_no_password_shows():
    camera = Camera()
    camera.plug()
    try:
        with short_directory() as directory:
            address = camera.address.replace("//", "//me:hunter2@")
            options = ("--no-say", "--model", str(GOLDEN))
            started = onlooker("start", address, *options, directory=directory)
            try:
                assert started.returncode == 0, started.stderr
                facts = json.loads(onlooker("status", "--json", directory=directory).stdout)
                supervisor = psutil.Process(facts["pid"]).parent()
                assert supervisor is not None
                processes = [supervisor, *supervisor.children(recursive=True)]
                lines = [" ".join(process.cmdline()) for process in processes]
                assert any("assistant run" in line for line in lines)
                log = Path(started.stdout.rpartition("its log: ")[2].strip())
                shown = [*lines, json.dumps(facts), log.read_text(), started.stdout]
                assert not any("hunter2" in text for text in shown)
                os.kill(facts["pid"], signal.SIGUSR1)
                wait_for(lambda: "in run_mind" in log.with_suffix(".stacks").read_text(), 5)
                again = onlooker("start", address, *options, directory=directory)
                assert (again.returncode, "runs already" in again.stderr) == (2, True)
                assert onlooker("restart", address, *options, directory=directory).returncode == 0
                new = json.loads(onlooker("status", "--json", directory=directory).stdout)
                assert new["pid"] != facts["pid"]
            finally:
                onlooker("stop", directory=directory)
            failed = onlooker("start", "no-such-file.mp4", *options, directory=directory)
            assert (failed.returncode, "no-such-file.mp4" in failed.stderr) == (3, True)
    finally:
        camera.unplug()


def test_the_daemon_begins_anew_in_another_process(make_video, tmp_path):
    """Once because it asks for that, once because it is killed; the fault is put into what its supervisor starts."""
    faults = tmp_path / "faults"
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if sys.argv[:1] == ['-m']:\n"
        "    from pathlib import Path\n"
        "    from assistant.daemon import service\n"
        "    from assistant.runtime.faults import ProcessSpoilt\n"
        "    really = service.Service.run\n"
        "    def run(self):\n"
        f"        if not Path({str(faults)!r}).exists():\n"
        f"            Path({str(faults)!r}).touch()\n"
        "            raise ProcessSpoilt('the GPU was lost')\n"
        "        really(self)\n"
        "    service.Service.run = run\n"
    )
    with short_directory() as directory:
        environ = environ_of(directory)
        environ["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
        options = ["--no-say", "--model", str(GOLDEN), "--log", str(directory / "run.log")]
        command = [sys.executable, "-m", "assistant", "run", str(make_video(seconds=5)), *options]
        daemon = subprocess.Popen(command, cwd=ROOT, env=environ)

        def pid() -> int | None:
            shown = onlooker("status", "--json", directory=directory)
            facts = json.loads(shown.stdout) if shown.returncode == 0 else {"frames": 0}
            return facts["pid"] if facts["frames"] > 2 else None

        try:
            wait_for(pid, 90)
            log = (directory / "run.log").read_text()
            assert "the GPU was lost; the daemon begins anew" in log
            assert "the daemon ended with code 75; it is started again" in log
            killed = pid()
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            wait_for(lambda: pid() not in (None, killed), 60)
            assert "the daemon was ended by SIGKILL; it is started again" in (directory / "run.log").read_text()
            assert not psutil.pid_exists(killed)
            assert onlooker("stop", directory=directory).returncode == 0
            assert daemon.wait(10) == 0
        finally:
            daemon.kill()
            daemon.wait(10)


@contextmanager
def in_foreground(make_video) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A `run` that answers, and its runtime directory; killed at the end."""
    with short_directory() as directory:
        command = [sys.executable, "-m", "assistant", "run", str(make_video(seconds=5)), "--no-say"]
        parent = subprocess.Popen([*command, "--model", str(GOLDEN)], cwd=ROOT, env=environ_of(directory))
        try:
            wait_for(lambda: onlooker("status", directory=directory).returncode == 0, 90)
            yield parent, directory
        finally:
            parent.kill()
            parent.wait(10)


def test_a_daemon_whose_parent_was_killed_ends(make_video):
    with in_foreground(make_video) as (parent, _):
        family = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
        parent.wait(10)
        wait_for(lambda: not any(process.is_running() for process in family), 6)


def test_a_daemon_that_hangs_can_be_stopped(make_video):
    with in_foreground(make_video) as (parent, directory):
        (daemon,) = psutil.Process(parent.pid).children()
        daemon.suspend()
        start_s = time.monotonic()
        stopped = onlooker("stop", directory=directory)
        print(f"{time.monotonic() - start_s:.1f} s")
        assert stopped.returncode == 0, stopped.stderr
        assert parent.wait(1) == 1, "killed, and not started again"
        assert not daemon.is_running()


def test_a_gpu_that_was_lost_is_not_replaced_by_the_cpu(make_video):
    """What `auto` is depends on what the daemon had before."""
    with short_directory() as directory:
        read_fd, write_fd = os.pipe()
        environ = environ_of(directory) | {"ONLOOKER_SUPERVISOR": f"{os.getpid()} {write_fd} cuda"}
        command = [sys.executable, "-m", "assistant", "run", str(make_video()), "--no-say", "--model", str(GOLDEN)]
        done = subprocess.run(
            command, cwd=ROOT, env=environ, pass_fds=[write_fd], capture_output=True, text=True, timeout=60
        )
        os.close(read_fd)
        os.close(write_fd)
    assert done.returncode == 3
    assert "no CUDA device here" in done.stderr
