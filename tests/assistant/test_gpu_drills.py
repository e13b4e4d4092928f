"""What befalls a GPU that is not ours alone, under the daemon as a user runs it; the figures are printed.

Other programs take all its memory, or all its time; a kernel's fault makes it useless to the process. For machines
with a CUDA device only.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from assistant.control.client import Client
from model.errors import OnlookerError
from tests.assistant.camera import wait_for
from tests.assistant.running_daemon import PYTHONPATH, Daemon, daemon

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

LARGE_WINDOW = 131072
GIB = 1 << 30

TAKE_MEMORY = """
import sys, time, torch
kept, left = [], int(sys.argv[1])
torch.zeros(1, device="cuda")
def take():
    size = 4 << 30
    while size >= 2 << 20:
        try:
            if torch.cuda.mem_get_info()[0] - size < left:
                size //= 2
            else:
                kept.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
        except torch.OutOfMemoryError:
            size //= 2
take()
print("taken", flush=True)
while True:
    time.sleep(0.05)
    if "greedy" in sys.argv:
        take()
"""
"""Takes all memory but so many bytes; if it is greedy also what others give back."""

TAKE_TIME = """
import time, torch
a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
print("taken", flush=True)
while True:
    for _ in range(20):
        b = a @ a
    torch.cuda.synchronize()
"""

POISON = """
import signal, sys
if sys.argv[:1] == ["-m"]:
    def poison(number, frame):
        import torch
        try:
            torch.zeros(4, device="cuda")[torch.tensor([10**6], device="cuda")].cpu()
        except RuntimeError:
            pass
    signal.signal(signal.SIGUSR2, poison)
"""
"""For `python -m assistant`: at SIGUSR2 a kernel reads outside its memory, after which CUDA refuses all work."""


@contextmanager
def another_program(script: str, *args: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", script, *args], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        yield
    finally:
        process.kill()
        process.wait(10)


def ask(running: Daemon) -> str:
    with Client.connect(running.directory) as client:
        return "".join(client.ask("What am I doing?")).strip()


def frames(running: Daemon) -> int:
    """0 while it does not answer."""
    try:
        return running.facts()["frames"]
    except OnlookerError:
        return 0


def test_with_too_little_memory_at_the_start_it_remembers_less():
    environ = {"ONLOOKER_STREAM__WINDOW_TOKENS": str(LARGE_WINDOW)}
    with (
        another_program(TAKE_MEMORY, str(3 * GIB)),
        daemon("demo", environ=environ, model="default", fps=2) as running,
    ):
        wait_for(lambda: running.facts()["frames"] > 10, 120)
        assert ask(running)
        facts = running.facts()
        print(json.dumps({"drill": "memory at the start", "facts": facts}), running.log.read_text())
        assert facts["window_tokens"] < LARGE_WINDOW
        assert "no room for" in facts["parts"]["mind"]["detail"]


def test_out_of_memory_in_mid_run_ends_nothing_for_good():
    """All memory is taken while it runs, and a larger window is asked for by an edit of the configuration."""
    with daemon("demo", model="default", fps=2) as running:
        wait_for(lambda: running.facts()["frames"] > 10, 120)
        before = frames(running)
        with another_program(TAKE_MEMORY, "0"):
            for _ in range(5):
                assert ask(running)
            time.sleep(10)
            facts = running.facts()
            print(json.dumps({"drill": "all memory taken", "facts": facts}), running.log.read_text())
            assert facts["frames"] >= before + 15
        wait_for(lambda: running.facts()["frames"] > facts["frames"] + 5, 60)


def test_a_stream_that_has_no_room_is_opened_smaller(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("[stream]\nwindow_tokens = 2048\n")
    with daemon("demo", environ={"ONLOOKER_CONFIG": str(file)}, model="default", fps=2) as running:
        wait_for(lambda: running.facts()["frames"] > 10, 120)
        with another_program(TAKE_MEMORY, str(GIB)):
            before = running.facts()["frames"]
            file.write_text(f"[stream]\nwindow_tokens = {LARGE_WINDOW}\n")
            start_s = time.monotonic()
            wait_for(lambda: frames(running) > before + 20, 180)
            facts = running.facts()
            took_s = round(time.monotonic() - start_s, 1)
            print(json.dumps({"drill": "no room for more", "took_s": took_s, "facts": facts}), running.log.read_text())
            assert facts["window_tokens"] < LARGE_WINDOW
            assert ask(running)


def test_a_lost_gpu_is_found_again_by_a_new_process(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(POISON)
    environ = {"PYTHONPATH": os.pathsep.join([str(tmp_path), PYTHONPATH])}
    with daemon("demo", environ=environ, model="default", fps=2) as running:
        wait_for(lambda: running.facts()["frames"] > 10, 120)
        free_before = torch.cuda.mem_get_info()[0]
        for number in range(2):
            asked_error: list[str] = []

            def ask_meanwhile(asked_error: list[str] = asked_error) -> None:
                try:
                    ask(running)
                except OnlookerError as error:
                    asked_error.append(str(error))

            lost = running.process
            lost.send_signal(signal.SIGUSR2)
            start_s = time.monotonic()
            asking = threading.Thread(target=ask_meanwhile)
            asking.start()
            wait_for(lambda lost=lost: not lost.is_running() and frames(running), 120)
            back_s = time.monotonic() - start_s
            asking.join(10)
            assert ask(running)
            wait_for(lambda: running.facts()["frames"] > 10, 60)
            time.sleep(2)
            free = torch.cuda.mem_get_info()[0]
            figures = {"back_s": round(back_s, 1), "asked_meanwhile": asked_error, "free": [free_before, free]}
            print(json.dumps({"drill": f"lost GPU {number}", **figures}))
            assert free > free_before - (256 << 20), "the card's memory is given back"
        print(running.log.read_text())


def test_a_lost_gpu_that_is_full_is_waited_for(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(POISON)
    environ = {"PYTHONPATH": os.pathsep.join([str(tmp_path), PYTHONPATH])}
    with daemon("demo", environ=environ, model="default", fps=2) as running:
        wait_for(lambda: running.facts()["frames"] > 10, 120)
        with another_program(TAKE_MEMORY, "0", "greedy"):
            running.process.send_signal(signal.SIGUSR2)
            wait_for(lambda: "it is tried again in" in running.log.read_text(), 90)
        start_s = time.monotonic()
        wait_for(lambda: frames(running) > 5, 90)
        assert running.facts()["device"] == "cuda:0"
        print(json.dumps({"drill": "lost and full", "back_s": round(time.monotonic() - start_s, 1)}))
        print(running.log.read_text())


def test_it_gives_way_to_a_program_that_needs_the_gpu():
    with daemon("demo", model="default", fps=2) as running:
        wait_for(lambda: running.facts()["full_speed"] and running.facts()["frames"] > 10, 120)
        assert running.facts()["parts"]["gpu"]["state"] == "ours"
        with another_program(TAKE_TIME):
            shared_s = wait_for(lambda: running.facts()["parts"]["gpu"]["state"] == "shared", 20)
            time.sleep(2)
            before = running.facts()
            time.sleep(20)
            shared = running.facts()
            assert ask(running)
        ours_s = wait_for(lambda: running.facts()["parts"]["gpu"]["state"] == "ours", 20)
        time.sleep(2)
        alone = running.facts()
        time.sleep(10)
        after = running.facts()
        figures = {
            "shared_s": round(shared_s, 1),
            "ours_s": round(ours_s, 1),
            "detail": shared["parts"]["gpu"]["detail"],
            "fps": [(shared["frames"] - before["frames"]) / 20, (after["frames"] - alone["frames"]) / 10],
            "latency_s": [shared["latency_s"], after["latency_s"]],
        }
        print(json.dumps({"drill": "gives way", **figures}))
        assert figures["fps"][0] == pytest.approx(0.5, abs=0.1)
        assert figures["fps"][1] == pytest.approx(2, abs=0.2)
        assert shared["dropped"] == before["dropped"]
