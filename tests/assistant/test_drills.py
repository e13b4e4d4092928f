"""Cameras that are pulled, frozen and killed, under the daemon as a user runs it; the figures are printed.

The short form runs always; ONLOOKER_DRILLS=full takes the cameras away as often as a week may.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest

from assistant.control.client import Client
from assistant.control.instance import RUNTIME_VARIABLE
from assistant.journal.reading import entries
from tests.assistant.camera import Camera, wait_for
from tests.assistant.control_daemon import short_directory
from tests.assistant.rigs import RtspCamera, SoundCard, Webcam
from tests.assistant.running_daemon import GOLDEN, ROOT, Daemon, answers, daemon
from tests.pace import pace

IS_FULL = os.environ.get("ONLOOKER_DRILLS") == "full"
NUM_KILLS = 200 if IS_FULL else 2


def drill(
    running: Daemon, times: int, take: Callable[[], None], give: Callable[[], None], *, lost_s: float, back_s: float
) -> None:
    """Take the camera away so many times and give it back; it is noticed, it comes back, and nothing grows."""
    wait_for(lambda: running.facts()["frames"] > 10, 60)
    before = running.footprint()
    taken, given = [], []
    for _ in range(times):
        take()
        taken.append(wait_for(lambda: running.state() == "lost", lost_s + 2))
        frames = running.facts()["frames"]
        time.sleep(1)
        give()
        given.append(wait_for(lambda frames=frames: running.facts()["frames"] > frames, back_s + 5))
    time.sleep(3)
    after = running.footprint()
    log = running.log.read_text()
    figures = {
        "times": times,
        "lost_s": [round(f(taken), 2) for f in (statistics.median, max)],
        "back_s": [round(f(given), 2) for f in (statistics.median, max)],
        "footprint": [before, after],
    }
    print(json.dumps(figures))
    assert max(taken) <= lost_s * pace()
    assert max(given) <= back_s * pace()
    assert log.count("capture: lost") == times, "one notification each"
    assert abs(after[0] - before[0]) <= 2
    assert after[1] <= before[1] + 4
    assert after[2] <= before[2] + 60
    assert running.facts()["restarts"] == 0


def test_a_webcam_that_is_unplugged_and_plugged_in_again():
    with Webcam() as camera:
        camera.plug()
        with daemon("camera:0", "pw-v4l2", environ=camera.environ) as running:
            drill(running, 20 if IS_FULL else 3, camera.unplug, camera.plug, lost_s=3, back_s=3)


@pytest.fixture
def rtsp() -> Iterator[RtspCamera]:
    camera = RtspCamera()
    camera.plug()
    yield camera
    camera.unplug()


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_a_network_camera_that_is(how, rtsp):
    take, give = (rtsp.freeze, rtsp.thaw) if how == "frozen" else (rtsp.unplug, rtsp.plug)
    with daemon(rtsp.address) as running:
        drill(running, 10 if IS_FULL else 2, take, give, lost_s=5, back_s=5)


@pytest.mark.parametrize("trickle", [b"", b"-"], ids=["silent", "trickling"])
def test_a_web_camera_that_stalls(trickle):
    camera = Camera()
    camera.plug()
    try:
        with daemon(camera.address) as running:
            times = 10 if IS_FULL else 2
            drill(running, times, lambda: camera.stall(trickle), camera.go_on, lost_s=5, back_s=5)
    finally:
        camera.unplug()


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_sound_server_that_is(how, rtsp):
    """The voice says that nobody hears it, and is heard again; the rest goes on, and a stop is a stop."""
    with SoundCard() as card:
        take, give = (card.unplug, card.plug) if how == "killed" else (card.freeze, card.thaw)
        environ = {**card.environ, "ONLOOKER_VOICE__ENGINE": "espeak-ng"}
        with daemon(rtsp.address, environ=environ, is_silent=False) as running:

            def voice() -> str:
                with Client.connect(running.directory) as client:
                    assert "".join(client.ask("What is it?")).strip()
                return running.facts()["parts"]["voice"]["state"]

            wait_for(lambda: running.facts()["frames"] > 10, 60)
            wait_for(lambda: voice() == "speaking", 20)
            assert np.abs(card.hear(1.0)).max() > 1000
            take()
            lost_s = wait_for(lambda: voice() == "failed", 10)
            frames = running.facts()["frames"]
            time.sleep(1)
            assert running.facts()["frames"] > frames
            give()
            back_s = wait_for(lambda: voice() == "speaking", 30)
            assert np.abs(card.hear(1.0)).max() > 1000
            take()
            wait_for(lambda: voice() == "failed", 10)
        print(json.dumps({"sound server": how, "lost_s": round(lost_s, 1), "back_s": round(back_s, 1)}))
        if how == "frozen":
            give()


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGSTOP"])
def test_a_reader_that_dies_or_hangs_is_replaced(name, rtsp):
    with daemon(rtsp.address) as running:
        wait_for(lambda: running.facts()["frames"] > 10, 60)
        taken = []
        for _ in range(10 if IS_FULL else 2):
            (reader,) = [
                child for child in running.process.children() if "resource_tracker" not in str(child.cmdline())
            ]
            frames, killed_s = running.facts()["frames"], time.monotonic()
            reader.send_signal(signal.Signals[name])
            while running.facts()["frames"] <= frames + 1 or not reader_of(running, but=reader.pid):
                facts = running.facts()["parts"]["capture"]
                assert facts["state"] != "ready" or facts["age_s"] < 5 * pace(), "status says ready, and nothing comes"
                assert time.monotonic() - killed_s < 10 * pace()
                time.sleep(0.05)
            taken.append(time.monotonic() - killed_s)
            wait_for(lambda: running.state() == "ready", 5)
        print(json.dumps({"signal": name, "back_s": [round(f(taken), 2) for f in (statistics.median, max)]}))
        assert max(taken) <= 5 * pace()
        assert running.facts()["restarts"] == 0


def reader_of(running: Daemon, *, but: int) -> bool:
    return any(
        child.pid != but and "multiprocessing-fork" in str(child.cmdline()) for child in running.process.children()
    )


def test_a_daemon_that_is_killed_starts_clean_and_knows_what_it_knew(make_video):
    video = str(make_video(seconds=20, step=3))
    with short_directory() as directory:
        own = {RUNTIME_VARIABLE: str(directory), "ONLOOKER_DATA": str(directory / "data"), "PYTHONPATH": str(ROOT)}
        environ = {**os.environ, **own, "ONLOOKER_PRIVACY__JOURNAL": "true"}
        command = [sys.executable, "-m", "assistant", "run", video, "--no-say", "--model", str(GOLDEN)]
        path, known = directory / "data" / "journal" / "journal.db", 0
        for number in range(NUM_KILLS):
            process = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.DEVNULL)
            try:
                running = Daemon(directory, process)
                wait_for(lambda running=running: answers(running) and running.facts()["frames"], 60)
                with Client.connect(directory) as client:
                    list(client.ask(f"Question {number}?"))
                wait_for(lambda known=known: path.exists() and len(entries(path)) >= known + 2, 10)
                known = len(entries(path))
            finally:
                family = process_family(process.pid)
                for victim in (process, *family):  # the parent first, or it would start another
                    victim.kill()
                process.wait(10)
            wait_for(lambda family=family: not any(victim.is_running() for victim in family), 5)
            assert len(entries(path)) >= known
        assert [entry.text for entry in entries(path) if entry.kind == "query"] == [
            f"Question {number}?" for number in range(NUM_KILLS)
        ]


def process_family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


SLOW_MODEL = """
import sys
if sys.argv[:1] == ['-m']:
    import time
    from model.stream import Stream
    really = Stream.observe_many
    def observe_many(self, frames, stops_at):
        time.sleep(2)
        return really(self, frames[:1], stops_at)
    Stream.observe_many = observe_many
"""
"""For `python -m assistant`: a decoder that takes two seconds a frame."""


def test_a_slow_model_sees_the_present_and_memory_stays(rtsp, tmp_path):
    """Two seconds a frame at five frames a second: the oldest are dropped and counted, none is looked at very late."""
    (tmp_path / "sitecustomize.py").write_text(SLOW_MODEL)
    environ = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    seconds = 300 if IS_FULL else 30
    with daemon(rtsp.address, environ=environ) as running:
        wait_for(lambda: running.facts()["frames"] > 2, 60)
        time.sleep(20)
        before = running.footprint()
        dropped, frames = running.facts()["dropped"], running.facts()["frames"]
        time.sleep(seconds)
        facts, after = running.facts(), running.footprint()
        print(json.dumps({"seconds": seconds, "facts": facts, "footprint": [before, after]}))
        num_seen, num_dropped = facts["frames"] - frames, facts["dropped"] - dropped
        assert num_seen == pytest.approx(seconds / 2, rel=0.2 * pace())
        assert num_seen + num_dropped == pytest.approx(5 * seconds, rel=0.1 * pace())
        assert facts["latency_s"] < 20 * pace(), "12 s of tokens, 8 pictures, and what is in hand"
        assert after[2] < before[2] + 5


LONG_REPLIES = """
import sys
if sys.argv[:1] == ['-m']:
    import time
    from model.stream import Stream
    def reply(self):
        for word in range(10):
            time.sleep(1)
            yield ' word'
    Stream.reply = reply
"""


def test_nothing_is_lost_while_it_speaks_for_ten_seconds(rtsp, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(LONG_REPLIES)
    fps = 5 if IS_FULL else 2  # a busy machine may be too slow for five
    with daemon(rtsp.address, environ={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}, fps=fps) as running:
        wait_for(lambda: running.facts()["frames"] > 5, 60)
        with Client.connect(running.directory) as client:
            for _ in range(2):
                start_s = time.monotonic()
                assert len(list(client.ask("Tell me a story."))) == 10
                assert time.monotonic() - start_s >= 10
                frames = running.facts()["frames"]
                wait_for(lambda frames=frames: running.facts()["frames"] > frames + 8 * fps, 30)
        assert running.facts()["dropped"] == 0


@pytest.fixture(scope="module")
def default_daemon() -> Iterator[Daemon]:
    """The shipped model at its own two frames a second."""
    camera = RtspCamera()
    camera.plug()
    try:
        with daemon(camera.address, model="default", fps=2) as running:
            wait_for(lambda: running.facts()["frames"] > 10, 60)
            yield running
    finally:
        camera.unplug()


def test_questions_are_answered_at_once_beside_the_stream(default_daemon):
    first_s = []
    with Client.connect(default_daemon.directory) as client:
        for _ in range(10 if IS_FULL else 4):
            start_s = time.monotonic()
            answer = client.ask("What am I doing?")
            next(answer)
            first_s.append(time.monotonic() - start_s)
            list(answer)
            time.sleep(0.5)
    print(json.dumps({"first_word_s": [round(f(first_s), 2) for f in (statistics.median, max)]}))
    assert statistics.median(first_s) <= 1.5 * pace()


def test_twenty_questions_at_once_are_answered_in_order(default_daemon):
    ended: list[int] = []

    def ask(number: int) -> None:
        with Client.connect(default_daemon.directory) as client:
            answer = client.ask(f"What is on the table, question {number}?")
            asked[number].set()
            assert "".join(answer).strip()
            ended.append(number)

    asked = [threading.Event() for _ in range(20)]
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    start_s = time.monotonic()
    for number, thread in enumerate(threads):
        thread.start()
        assert asked[number].wait(10)
    for thread in threads:
        thread.join(120)
    print(json.dumps({"all_answered_s": round(time.monotonic() - start_s, 1)}))
    assert ended == list(range(20))


def test_answers_nobody_wants_stop(default_daemon):
    with Client.connect(default_daemon.directory) as client:
        answers = [client.ask("What have you seen so far, in all detail?") for _ in range(10)]
        for answer in answers:
            answer.cancel()
        start_s = time.monotonic()
        assert "".join(client.ask("What am I holding?")).strip()
        assert time.monotonic() - start_s < 5 * pace()
        wait_for(lambda: default_daemon.facts()["questions_open"] == 0, 5)


ALONE = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
HAS_NAMESPACES = subprocess.run([*ALONE, "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0


@pytest.mark.skipif(not HAS_NAMESPACES, reason="this machine allows no network namespaces")
def test_it_runs_without_any_network():
    """In a network namespace of its own, where nothing, not even the loopback, can be reached."""
    with daemon("demo", *ALONE, model="default", fps=2) as running:
        wait_for(lambda: running.facts()["frames"] > 10, 60)
        with Client.connect(running.directory) as client:
            assert "".join(client.ask("What am I doing?")).strip()
        assert running.facts()["restarts"] == 0


def test_without_a_journal_nothing_seen_or_said_is_on_the_disk(rtsp, tmp_path):
    """Home, temporary and all other folders that a program may write to lie in one place, which is searched."""
    names = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
    folders = {name: tmp_path / "all" / name.lower() for name in names}
    for folder in folders.values():
        folder.mkdir(parents=True)
    environ = {name: str(folder) for name, folder in folders.items()}
    said: list[str] = []
    with daemon(rtsp.address, environ=environ) as running:
        wait_for(lambda: running.facts()["frames"] > 10, 60)
        with Client.connect(running.directory) as client:
            for secret in ("Where is the crimson zebra?", "Who ate the violet giraffe?"):
                said += [secret, "".join(client.ask(secret)).strip()]
        time.sleep(2)
        everywhere = [*(tmp_path / "all").rglob("*"), *running.directory.rglob("*")]
        kept = {path: path.read_bytes() for path in everywhere if path.is_file()}
        assert running.log in kept
        for path, content in kept.items():
            for text in (*said, "crimson", "giraffe"):
                assert not text or text.encode() not in content, f"{path} holds {text!r}"
            assert b"\xff\xd8\xff" not in content, f"{path} holds a picture"
