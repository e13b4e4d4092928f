"""Terminals that are closed and groups that are killed: nothing is left in memory, no process, and what was written
stays.

The short form runs always; ONLOOKER_DRILLS=full does it 200 times.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from assistant.capture.leftovers import NUM_BYTES, sweep
from assistant.control.instance import RUNTIME_VARIABLE
from tests.assistant.camera import wait_for
from tests.assistant.control_daemon import short_directory
from tests.assistant.running_daemon import GOLDEN, ROOT

NUM_TIMES = 200 if os.environ.get("ONLOOKER_DRILLS") == "full" else 4
ENDINGS = (signal.SIGHUP, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def start(*arguments: str, runtime: Path) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), RUNTIME_VARIABLE: str(runtime)}
    command = [sys.executable, "-m", "assistant", *arguments, "--model", str(GOLDEN), "--no-say"]
    return subprocess.Popen(
        command,
        env=environ,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # tests may run under nohup
    )


def family(pid: int) -> list[psutil.Process]:
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def pictures_left() -> set[str]:
    """Names in shared memory that may be ours; other programs have theirs there."""
    return {name for name in os.listdir("/dev/shm") if name.startswith(("psm_", "onlooker"))}


def lives(process: psutil.Process) -> bool:
    """Not one that only waits for somebody to ask how it ended: whose that is, depends on the machine."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.parametrize("command", ["watch", "run"])
def test_nothing_is_left_of_a_group_that_is_ended(command, make_video, tmp_path):
    video, shared = make_video(seconds=60, fps=10), pictures_left()
    for number in range(NUM_TIMES // 2):
        with short_directory() as runtime:
            process = start(command, str(video), runtime=runtime)
            num_processes = 2 if command == "watch" else 3  # and a reader; `run` has a parent, too
            wait_for(lambda process=process, least=num_processes: len(family(process.pid)) >= least, 60)
            time.sleep(0.1 * (number % 5))  # at any moment of its start
            everybody = family(process.pid)
            os.killpg(process.pid, ENDINGS[number % len(ENDINGS)])
            process.wait(60)
            wait_for(lambda everybody=everybody: not any(map(lives, everybody)), 20)
    assert pictures_left() <= shared


@pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_subtitles_are_whole_after_any_end(ending, busy_video, tmp_path):
    with short_directory() as runtime:
        process = start("watch", str(busy_video), "--srt", str(tmp_path / "a.srt"), runtime=runtime)
        wait_for(lambda: (tmp_path / "a.srt").exists(), 60)
        process.send_signal(ending)
        process.send_signal(ending)
        assert process.wait(60) == 130
    cues = (tmp_path / "a.srt").read_text().strip().split("\n\n")
    assert [cue.split("\n")[0] for cue in cues] == [str(number) for number in range(1, len(cues) + 1)]
    assert all(len(cue.split("\n")) == 3 for cue in cues)


def test_a_reader_ends_with_its_parent_however_that_ends(make_video):
    with short_directory() as runtime:
        process = start("watch", str(make_video(seconds=60)), runtime=runtime)
        wait_for(lambda: len(family(process.pid)) >= 2, 60)
        readers = family(process.pid)[1:]
        process.kill()
        process.wait(60)
        wait_for(lambda: not any(map(lives, readers)), 20)


def test_pictures_of_earlier_versions_are_swept_and_nothing_else(tmp_path):
    def leave(name: str, size: int = NUM_BYTES) -> Path:
        path = tmp_path / name
        with path.open("wb") as file:
            file.truncate(size)
        return path

    ours, other_size, other_name = leave("psm_0a1b2c3d"), leave("psm_00000001", 4096), leave("sem.x")
    in_use = leave("psm_ffffffff")
    with in_use.open("rb"):
        assert sweep(tmp_path) == 1
    assert not ours.exists()
    assert all(path.exists() for path in (other_size, other_name, in_use))
