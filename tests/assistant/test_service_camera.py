"""The daemon's camera is paused, put to sleep, lost, stalled or missing, and no old picture passes for one of now."""

import multiprocessing
import re
import socket
import time

from assistant.config.keys import Config
from assistant.machine.systemd import Notifier
from tests.assistant.asker import KeepingAsker
from tests.assistant.camera import wait_for
from tests.assistant.watching_service import running
from tests.pace import pace


def test_the_camera_is_let_go_and_taken_again(camera, model):
    with running(camera, model) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        done = KeepingAsker()
        daemon.requests.pause(done)
        wait_for(lambda: not multiprocessing.active_children(), 3)
        wait_for(lambda: daemon.state("capture") == "paused", 1)
        assert daemon.ask("What was it?").is_over.wait(20), "questions are answered in the meantime"
        num_frames = daemon.service.facts()["frames"]
        daemon.requests.resume(done)
        wait_for(lambda: daemon.service.facts()["frames"] > num_frames, 10)
        daemon.requests.mute(done)
    modes = [{name for name, is_on in facts.items() if is_on} for kind, facts in daemon.published if kind == "modes"]
    assert modes == [{"paused"}, set(), {"muted"}]


def test_a_pause_is_answered_when_the_camera_is_closed_whenever_it_comes(camera, model):
    """Also while the camera is being opened again after another one."""
    with running(camera, model) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        for number in range(6):
            closed = KeepingAsker()
            daemon.requests.pause(closed)
            assert closed.is_over.wait(5)
            assert not closed.failure
            assert not multiprocessing.active_children()
            daemon.requests.resume(KeepingAsker())
            if number % 2:
                wait_for(multiprocessing.active_children, 5)
        seen = daemon.service.facts()["frames"]
        wait_for(lambda: daemon.service.facts()["frames"] > seen, 20)
        answer = daemon.ask("And now?")
        assert answer.is_over.wait(20)
        assert "cannot see" not in answer.text


def test_while_nothing_is_seen_no_question_is_answered_from_old_pictures(camera, model):
    with running(camera, model) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        closed = KeepingAsker()
        daemon.requests.pause(closed)
        assert closed.is_over.wait(5)
        assert daemon.state("capture") == "paused", "answered when it is closed, not before"
        assert not multiprocessing.active_children()
        answer = daemon.ask("What am I holding?")
        assert answer.is_over.wait(5)
        assert re.fullmatch(
            r"The camera has been paused since \d\d:\d\d, so I cannot see what is there now\.", answer.text
        )
        daemon.requests.resume(KeepingAsker())
        seen = daemon.service.facts()["frames"]
        wait_for(lambda: daemon.service.facts()["frames"] > seen + 2, 20)
        again = daemon.ask("And now?")
        assert again.is_over.wait(20)
        assert "cannot see" not in again.text


def test_a_camera_that_stalls_is_no_sight_of_now(camera, model):
    config = Config.model_validate({"stream": {"fps": 10}, "capture": {"timeout_s": 30}})
    with running(camera, model, config=config) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        camera.stall()
        wait_for(lambda: daemon.state("capture") == "stale", 20)
        answer = daemon.ask("What is it?")
        assert answer.is_over.wait(5)
        assert answer.text.startswith("No picture has come since ")


def test_a_lost_camera_is_said_once_and_the_rest_goes_on(camera, model):
    with running(camera, model) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        camera.unplug()
        wait_for(lambda: daemon.state("capture") == "lost", 3)
        assert daemon.ask("What was it?").is_over.wait(20)
        time.sleep(2)
        camera.plug()
        wait_for(lambda: daemon.state("capture") == "ready", 10)
    states = [facts["state"] for kind, facts in daemon.published if kind == "status" and facts["part"] == "capture"]
    assert states == ["ready", "lost", "ready"]


def test_without_a_camera_it_is_up_and_says_so(camera, model, tmp_path):
    camera.unplug()
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(20)
        with running(camera, model, notifier=Notifier({"NOTIFY_SOCKET": path})) as daemon:
            assert systemd.recv(1000).decode().startswith("READY=1"), "a missing camera is no reason to be killed"
            wait_for(lambda: daemon.state("capture") == "lost", 20)
            question = daemon.ask("What is it?")
            assert question.is_over.wait(5)
            assert question.text == "The camera cannot be opened, and I have not seen anything yet."
            assert [daemon.state(part) for part in ("encoder", "mind")] == ["starting"] * 2
            camera.plug()
            wait_for(lambda: daemon.service.facts()["frames"] > 2, 20)
            assert daemon.ask("And now?").is_over.wait(20)


def test_a_sleep_frees_the_camera_and_a_pause_outlasts_it(camera, model):
    with running(camera, model) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        start_s = time.monotonic()
        daemon.service.camera.before_sleep()
        assert time.monotonic() - start_s < 3 * pace()
        wait_for(lambda: not multiprocessing.active_children(), 1)
        frames = daemon.service.facts()["frames"]
        start_s = time.monotonic()
        daemon.service.camera.after_sleep()
        wait_for(lambda: daemon.service.facts()["frames"] > frames + 1, 10)
        assert time.monotonic() - start_s < 5 * pace()
        daemon.requests.pause(KeepingAsker())
        daemon.service.camera.before_sleep()
        daemon.service.camera.after_sleep()
        time.sleep(1)
        assert daemon.state("capture") == "paused"
        assert not multiprocessing.active_children()
