"""Every command line: help is quick, mistakes end with two, no password shows, and no file is written over."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assistant import cli
from assistant.control.instance import RUNTIME_VARIABLE
from tests.assistant.control_daemon import short_directory
from tests.pace import pace

GOLDEN = Path(__file__).parents[1] / "golden"
ROOT = Path(__file__).parents[2]


def test_help_is_quick_and_light():
    probe = (
        "import sys, assistant.cli as cli\n"
        "heavy = {'torch', 'cv2', 'av', 'transformers', 'numpy', 'pydantic', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "cli.main(['--help'])"
    )
    best_s = float("inf")
    for _ in range(3):
        start_s = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", probe],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        best_s = min(best_s, time.monotonic() - start_s)
        assert done.returncode == 0, done.stderr
    assert "watch" in done.stdout
    assert best_s < 0.5 * pace()


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["model"], ["config"], ["watch", "--say", "--no-say"], ["bench", "--model", "a", "--shape", "b"]],
)
def test_wrong_commands_end_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: onlooker" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("watch", "--model", "rtsp://me:hunter2@cam/1", "demo"),
        ("watch", "demo", "rtsp://me:hunter2@cam/1"),
        ("source", "add", "rtsp://me:hunter2@cam/1"),
        ("watch", "demo", "--ask", "rtsp://me:hunter2@cam/1"),
        ("watch", "demo", "--fps=rtsp://me:hunter2@cam/1"),
    ],
)
def test_an_address_at_the_wrong_place_of_a_command_is_not_shown(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "assistant", *arguments],
        capture_output=True,
        text=True,
        input="",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.returncode in (2, 3)
    assert "hunter2" not in done.stderr + done.stdout
    assert done.stderr


def test_a_log_is_written_over_nothing_but_a_log(tmp_path):
    video, notes = tmp_path / "v.mp4", tmp_path / "notes.txt"
    video.write_bytes((ROOT / "assistant" / "demo.mp4").read_bytes())
    notes.write_text("precious\n")
    before = video.read_bytes()
    for log, said in (
        (video, "is the video, which would be lost"),
        (notes, "is no log of ours"),
        ("/dev/full", "no log"),
    ):
        with short_directory() as directory:
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "assistant",
                    "run",
                    str(video),
                    "--no-say",
                    "--log",
                    str(log),
                    "--model",
                    str(GOLDEN),
                ],
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), RUNTIME_VARIABLE: str(directory)},
                timeout=60,
            )
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert (video.read_bytes(), notes.read_text()) == (before, "precious\n")
