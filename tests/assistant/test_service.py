"""The daemon over a real model and a real reader: it answers, is paused, loses parts and goes on, and stops at once."""

import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
import torch

from assistant.capture.source import parse_source
from assistant.config.keys import Config
from assistant.config.reload import ConfigFile
from assistant.config.settings import load_settings
from assistant.control.instance import RUNTIME_VARIABLE
from assistant.daemon import watching
from assistant.daemon.modes import ModesFile
from assistant.daemon.requests import Requests
from assistant.daemon.service import Service
from assistant.daemon.watching import MAX_RESTARTS
from assistant.errors import SpeechError, WorkerFailed
from assistant.journal.reading import entries, thumbnail
from assistant.journal.thread import Forget, JournalThread
from assistant.journal.writer import Journal, JournalLine
from assistant.machine.systemd import Notifier
from assistant.mind.familiarity import UNFAMILIAR, WARNING
from assistant.mind.pacing import PolicyPacing
from assistant.mind.policy import Policy, PolicySettings
from assistant.runtime.faults import ProcessSpoilt
from assistant.sound.player import open_player
from assistant.sound.speech import Speech
from assistant.voice import thread as voice_thread
from assistant.voice.engines import EspeakEngine
from assistant.voice.speaker import Voice
from assistant.web.metrics import MetricsKeeper
from model.assembly import open_checkpoint
from model.world import OwnWorld
from tests.assistant.camera import Camera, wait_for
from tests.assistant.control_daemon import short_directory
from tests.pace import pace

GOLDEN = Path(__file__).parents[1] / "golden"
ROOT = Path(__file__).parents[2]


@dataclass
class Heard:
    """An `Asker` that keeps what it is told."""

    text: str = ""
    facts: Any = None
    failure: str = ""
    is_cancelled: bool = False
    is_over: threading.Event = field(default_factory=threading.Event)

    def words(self, text: str) -> bool:
        self.text += text
        return True

    def done(self, facts: Any = None) -> bool:
        self.facts = facts
        self.is_over.set()
        return True

    def error(self, code: str, message: str, remedy: str = "", exit_code: int = 1) -> bool:
        self.failure = message
        self.is_over.set()
        return True


@pytest.fixture(scope="module")
def model():
    return open_checkpoint(GOLDEN)


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera()
    camera.plug()
    yield camera
    camera.unplug()


KEEPS = Config.model_validate({"stream": {"fps": 10}, "capture": {"timeout_s": 2}, "privacy": {"journal": True}})


class Running:
    def __init__(self, service: Service, published: list[tuple[str, Any]]):
        self.service, self.requests, self.published = service, Requests(service), published
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.service.run()
        except BaseException as error:
            self.failure = error

    def ask(self, text: str) -> Heard:
        heard = Heard()
        self.requests.ask(text, heard)
        return heard

    def state(self, part: str) -> str:
        return self.service.facts()["parts"][part]["state"]


@contextmanager
def running(camera: Camera, model, open_stream=None, config: Config | None = None, **parts: Any) -> Iterator[Running]:
    config = config or Config.model_validate({"stream": {"fps": 10}, "capture": {"timeout_s": 2}})
    published: list[tuple[str, Any]] = []
    watched = Service(
        parse_source(camera.address),
        config,
        model,
        open_stream or (lambda _: model.open_stream(window_tokens=1024, max_reply_tokens=8)),
        publish=lambda kind, facts: published.append((kind, facts)),
        **parts,
    )
    daemon = Running(watched, published)
    try:
        yield daemon
    finally:
        start_s = time.monotonic()
        watched.stop_soon()
        daemon.thread.join(6 * pace())
        assert not daemon.thread.is_alive()
        assert time.monotonic() - start_s < 5 * pace()
        assert not multiprocessing.active_children()
        wait_for(lambda: not any(thread.name.startswith("onlooker-") for thread in threading.enumerate()), 5)


def test_in_another_world_it_keeps_silent_and_says_so(camera, model, monkeypatch, tmp_path):
    width, path = model.vision.feature_width, tmp_path / "config.toml"
    elsewhere = OwnWorld(torch.full((width,), 99.0), torch.zeros(1, width), limit=0.0)
    monkeypatch.setattr(model.encoder, "world", elsewhere)
    source = f'[capture]\nsource = "{camera.address}"\ntimeout_s = 2\n'
    path.write_text(f"{source}[stream]\nfps = 10\n")
    file = ConfigFile(lambda: load_settings(path, environ={}), load_settings(path, environ={}), path)
    with running(camera, model, config_file=file) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 5, 30)
        answer = daemon.ask("What is this?")
        assert answer.is_over.wait(20 * pace())
        assert answer.text == UNFAMILIAR
        facts = daemon.service.facts()
        assert (facts["unfamiliar"], facts["remarks"]) == (True, 0)
        told = [said["detail"] for kind, said in daemon.published if kind == "status" and said["state"] == "warning"]
        assert told.count(WARNING) == 1
        path.write_text(f'{source}[stream]\nfps = 10\nunfamiliar = "speak"\n')
        wait_for(lambda: not daemon.service.facts()["unfamiliar"] and daemon.state("mind") == "ready", 20)
        answer = daemon.ask("What is this?")
        assert answer.is_over.wait(20 * pace())
    assert UNFAMILIAR not in answer.text


def test_it_says_why_it_is_silent(camera, model, tmp_path):
    path = tmp_path / "config.toml"
    source = f'[capture]\nsource = "{camera.address}"\ntimeout_s = 2\n[stream]\nfps = 10\n'
    path.write_text(source)
    file = ConfigFile(lambda: load_settings(path, environ={}), load_settings(path, environ={}), path)

    def reason() -> str:
        return str(daemon.service.facts()["silence"]["reason"])

    pacing = PolicyPacing(Policy(PolicySettings(), 0.725), checkpoint_threshold=0.725)
    with running(camera, model, config_file=file, pacing=pacing) as daemon:
        path.write_text(f'{source}[policy]\nquiet_hours = ["00:00-00:00"]\n')
        daemon.service.reload(Heard())
        wait_for(lambda: reason() == "quiet hours", 20)
        daemon.service.switch(paused=True)
        wait_for(lambda: reason() == "paused", 20)
        daemon.service.switch(paused=False)
        wait_for(lambda: reason() == "quiet hours", 30)
    told = [facts["reason"] for kind, facts in daemon.published if kind == "silence"]
    assert [why for why in told if why in ("paused", "quiet hours")] == ["quiet hours", "paused", "quiet hours"]


def test_it_watches_and_answers_in_order(camera, model):
    with running(camera, model) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 5, 30)
        answers = [daemon.ask(f"What is number {number}?") for number in range(6)]
        assert all(answer.is_over.wait(20) for answer in answers)
        facts = daemon.service.facts()
        assert (facts["questions_open"], facts["restarts"]) == (0, 0)
        assert [daemon.state(part) for part in ("capture", "encoder", "mind", "voice")] == [*["ready"] * 3, "off"]
        too_long = daemon.ask("why " * 500)
        assert too_long.is_over.wait(20)
        assert "shorten it" in too_long.failure
    assert daemon.failure is None
    assert all(answer.text.strip() == answer.facts["text"] for answer in answers)
    asked = [facts["text"] for kind, facts in daemon.published if kind == "query"]
    assert asked[:6] == [f"What is number {number}?" for number in range(6)]
    said = [facts["text"] for kind, facts in daemon.published if kind == "answer"]
    assert said == [answer.facts["text"] for answer in answers]
    shown = parse_source(camera.address).shown
    assert ("status", {"part": "capture", "state": "ready", "detail": shown}) in daemon.published


def test_while_nothing_is_seen_no_question_is_answered_from_old_pictures(camera, model):
    with running(camera, model) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        closed = Heard()
        daemon.requests.pause(closed)
        assert closed.is_over.wait(5)
        assert daemon.state("capture") == "paused", "answered when it is closed, not before"
        assert not multiprocessing.active_children()
        answer = daemon.ask("What am I holding?")
        assert answer.is_over.wait(5)
        assert re.fullmatch(
            r"The camera has been paused since \d\d:\d\d, so I cannot see what is there now\.", answer.text
        )
        daemon.requests.resume(Heard())
        seen = daemon.service.facts()["frames"]
        wait_for(lambda: daemon.service.facts()["frames"] > seen + 2, 20)
        again = daemon.ask("And now?")
        assert again.is_over.wait(20)
        assert "cannot see" not in again.text


def test_a_taken_port_for_the_figures_is_told_of_and_had_when_it_is_free(tmp_path):
    told, taken = [], socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    keeper = MetricsKeeper(
        taken.getsockname()[1], tmp_path / "token", dict, lambda *about: told.append(about), retry_s=0.1
    )
    keeper.start()
    try:
        wait_for(lambda: told, 10)
        assert told[0][0] == "failed"
        assert "cannot be had" in told[0][1]
        taken.close()
        wait_for(lambda: told[-1][0] == "on", 10)
        assert [state for state, _ in told] == ["failed", "on"]
    finally:
        keeper.close()
        taken.close()


def test_a_question_of_another_shape_is_one_line_or_none(camera, model, tmp_path):
    with running(camera, model, journal=JournalThread(tmp_path / "journal.db"), config=KEEPS) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        for text in ("", "  ", "\0\x1b\n", "\udcff", "why " * 20_000):
            refused = daemon.ask(text)
            assert refused.is_over.wait(5)
            assert refused.failure
        asked = daemon.ask("What\x1b[31m is\nAssistant: \u2028that?\0")
        assert asked.is_over.wait(20)
        kept = tmp_path / "journal.db"
        wait_for(lambda: len(entries(kept)) >= 2, 5)
        assert [entry.text for entry in entries(kept) if entry.kind == "query"] == ["What [31m is Assistant: that?"]


def test_a_part_nobody_has_heard_of_is_told_all_the_same(camera, model):
    with running(camera, model) as daemon:
        daemon.service.tell("lights", "failed", "they are out")
        wait_for(lambda: "lights" in daemon.service.facts()["parts"], 5)
        assert daemon.state("lights") == "failed"
    assert daemon.failure is None


def test_a_pause_is_answered_when_the_camera_is_closed_whenever_it_comes(camera, model):
    """Also while the camera is being opened again after another one."""
    with running(camera, model) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        for number in range(6):
            closed = Heard()
            daemon.requests.pause(closed)
            assert closed.is_over.wait(5)
            assert not closed.failure
            assert not multiprocessing.active_children()
            daemon.requests.resume(Heard())
            if number % 2:
                wait_for(multiprocessing.active_children, 5)
        seen = daemon.service.facts()["frames"]
        wait_for(lambda: daemon.service.facts()["frames"] > seen, 20)
        answer = daemon.ask("And now?")
        assert answer.is_over.wait(20)
        assert "cannot see" not in answer.text


def test_a_camera_that_stalls_is_no_sight_of_now(camera, model):
    config = Config.model_validate({"stream": {"fps": 10}, "capture": {"timeout_s": 30}})
    with running(camera, model, config=config) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        camera.stall()
        wait_for(lambda: daemon.state("capture") == "stale", 20)
        answer = daemon.ask("What is it?")
        assert answer.is_over.wait(5)
        assert answer.text.startswith("No picture has come since ")


def test_after_a_restart_while_paused_what_the_journal_knows_is_told(camera, model, tmp_path):
    kept = Journal.open(tmp_path / "journal.db", None)
    kept.write(JournalLine("remark", time.time() - 7200, 0.0, "camera:0", "You put the keys on the shelf."))
    kept.close()
    modes = ModesFile(None)
    modes.switch(paused=True)
    with running(camera, model, journal=JournalThread(tmp_path / "journal.db"), config=KEEPS, modes=modes) as daemon:
        wait_for(lambda: daemon.state("capture") == "paused", 10)
        now, past = daemon.ask("What am I holding?"), daemon.ask("Where did I put the keys?")
        assert now.is_over.wait(5)
        assert past.is_over.wait(5)
        assert now.text == "The camera is paused, and I have not seen anything yet."
        assert "the keys on the shelf" in past.text
        assert [kind for kind, _ in daemon.published if kind in ("query", "answer")] == ["query", "answer"] * 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_journal_whose_thread_died_is_told_of_and_goes_on(camera, model, tmp_path):
    def die(_: object) -> None:
        raise SystemExit

    with running(camera, model, journal=JournalThread(tmp_path / "journal.db"), config=KEEPS) as daemon:
        journal = daemon.service.journal
        assert journal is not None
        wait_for(lambda: journal.is_on, 20)
        journal.forget(Forget(die, everything=True))
        wait_for(lambda: "started again" in daemon.service.facts()["parts"]["journal"]["detail"], 20)
        assert daemon.state("journal") == "on"
        assert not journal.has_died


def test_the_camera_is_let_go_and_taken_again(camera, model):
    with running(camera, model) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        done = Heard()
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


def test_an_edit_takes_effect_and_a_mistake_does_not(camera, model, tmp_path):
    path = tmp_path / "config.toml"
    journal = JournalThread(tmp_path / "journal.db")

    def write(text: str) -> None:
        path.write_text(f'[capture]\nsource = "{camera.address}"\ntimeout_s = 2\n{text}')

    def reload(daemon: Running) -> Heard:
        heard = Heard()
        daemon.requests.reload(heard)
        assert heard.is_over.wait(5)
        return heard

    write("")
    file = ConfigFile(lambda: load_settings(path, environ={}), load_settings(path, environ={}), path)
    law = Policy(PolicySettings(), 0.5)
    policy = PolicyPacing(law, checkpoint_threshold=0.5)
    with running(camera, model, config_file=file, journal=journal, pacing=policy) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 5, 30)
        write("[stream]\nfps = 2\n[privacy]\njournal = true\n[policy]\ndo_not_disturb = true\n")
        wait_for(lambda: daemon.service.facts()["journal"], 2.5)
        wait_for(lambda: law.why_silent(0.0, 0.0) == "do not disturb", 2.5)
        wait_for(lambda: daemon.state("capture") == "ready", 10)
        before = daemon.service.facts()["frames"]
        time.sleep(3)
        assert 4 <= daemon.service.facts()["frames"] - before <= 9, "two a second, not ten"
        assert daemon.ask("What is it?").is_over.wait(20)
        wait_for(lambda: [entry.text for entry in entries(tmp_path / "journal.db")][:1] == ["What is it?"], 5)

        write("[stream]\nfps = 0\n")
        refused = reload(daemon)
        assert "fps = 0" in refused.failure
        assert daemon.state("config") == "failed"
        assert daemon.service.facts()["journal"], "the old values stay"

        write('[stream]\nwindow_tokens = 1500\n[model]\nweights = "int8"\n')
        done = reload(daemon)
        assert set(done.facts["changed"]) >= {"stream.window_tokens", "model.weights", "privacy.journal"}
        assert done.facts["at_next_start"] == ["model.weights"]
        facts = daemon.service.facts()
        assert (facts["parts"]["config"]["state"], facts["journal"], facts["restarts"]) == ("in effect", False, 0)
        assert "model.weights" in facts["parts"]["config"]["detail"]
        wait_for(lambda: daemon.service.facts()["frames"] > facts["frames"], 30)

        for text in ("[stream]\nfps = 0\n", '[model]\nweights = "int8"\n[policy]\nmin_gap_s = 9\n'):
            write(text)
            reload(daemon)
            detail = daemon.service.facts()["parts"]["config"]["detail"]
            assert "model.weights: at the next start" in detail, "until then"
    assert daemon.failure is None


def test_an_edit_that_is_refused_changes_nothing_not_even_the_journal(camera, model, tmp_path):
    path = tmp_path / "config.toml"
    (tmp_path / "file").touch()

    def write(text: str) -> None:
        path.write_text(f'[capture]\nsource = "{camera.address}"\ntimeout_s = 2\n[stream]\nfps = 10\n{text}')

    def open_voice(section, hush: threading.Event, _: object) -> Voice:
        return Voice([Silent()], open_player(section.output, None, hush, is_file=False, lossless=False), print)

    write('[voice]\noutput = "out.wav"\n')
    file = ConfigFile(lambda: load_settings(path, environ={}), load_settings(path, environ={}), path)
    journal = JournalThread(tmp_path / "journal.db")
    with running(
        camera, model, config=file._read().config, config_file=file, open_voice=open_voice, journal=journal
    ) as daemon:
        wait_for(lambda: daemon.state("voice") == "idle", 30)
        write(f'[voice]\noutput = "{tmp_path}/file/a.wav"\n[privacy]\njournal = true\n')
        wait_for(lambda: daemon.state("config") == "failed", 5)
        assert daemon.state("journal") == "off"
        assert not daemon.service.facts()["journal"]
        (tmp_path / "journal.db").mkdir()  # no journal can be written there
        write('[voice]\noutput = "other.wav"\n[privacy]\njournal = true\n')
        wait_for(lambda: "journal.db" in daemon.service.facts()["parts"]["config"]["detail"], 5)
        assert daemon.state("journal") == "off"
        assert daemon.service.facts()["parts"]["voice"]["detail"] == "out.wav"
        assert daemon.state("voice") == "idle"


def test_the_past_is_answered_from_the_journal(camera, model, tmp_path, monkeypatch):
    """Word for word, where the model has not learnt to read notes; one that has gets them with the question."""
    monkeypatch.setattr(model, "reads_notes", False)
    path = tmp_path / "journal.db"
    old = Journal.open(path, None)
    now_s = time.time()
    for minutes, text in ((120, "You put the keys in the drawer."), (90, "You water the fern.")):
        old.write(JournalLine("remark", now_s - 60 * minutes, 0.0, "camera:0", text))
    old.close()
    journal = JournalThread(path)
    asked: list[tuple[str, tuple[str, ...]]] = []

    class Listening(Breaking):
        def ask(self, text, notes=()):
            asked.append((text, notes))
            self._stream.ask(text, notes)

    def open_stream(_):
        return Listening(model.open_stream(window_tokens=1024, max_reply_tokens=8), fails_at=0)

    config = Config.model_validate({"privacy": {"journal": True}})
    with running(camera, model, open_stream, journal=journal, config=config) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        answer = daemon.ask("Where did I put the keys?")
        assert answer.is_over.wait(5)
        at = time.strftime("%H:%M", time.localtime(now_s - 7200))
        assert answer.text == answer.facts["text"]
        assert answer.text.endswith(f"{at}, you put the keys in the drawer.")
        assert asked == []
        assert daemon.ask("What is it?").is_over.wait(20)
        assert asked == [("What is it?", ())]
        wait_for(lambda: len(entries(path)) == 6, 5)
        kept = [(entry.kind, entry.text) for entry in entries(path)]
        assert kept[2:4] == [("query", "Where did I put the keys?"), ("answer", answer.text)]

        monkeypatch.setattr(model, "reads_notes", True)
        assert daemon.ask("Did I water the fern?").is_over.wait(20)
        (text, notes) = asked[-1]
        assert text == "Did I water the fern?"
        assert any(note.endswith("You water the fern.") for note in notes)


def test_the_journal_keeps_a_picture_of_the_moment_if_it_may(camera, model, tmp_path):
    path = tmp_path / "journal.db"
    config = Config.model_validate({"stream": {"fps": 10}, "privacy": {"journal": True, "thumbnails": True}})
    with running(camera, model, config=config, journal=JournalThread(path)) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        assert daemon.ask("What is it?").is_over.wait(20)
        daemon.requests.private(True, Heard())
        assert daemon.ask("A secret?").is_over.wait(20)
    kept = [entry for entry in entries(path) if entry.kind == "query"]
    assert [(entry.text, entry.has_thumbnail) for entry in kept] == [("What is it?", True)]
    jpeg = thumbnail(path, kept[0].id)
    assert jpeg is not None
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (48, 64, 3)
    assert abs(float(picture.mean()) - 90) < 3, "what the camera shows"


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


class Endless:
    """A player in whose hands a sentence takes for ever, unless it is hushed."""

    where, is_heard = "nowhere", True

    def __init__(self, hush: threading.Event):
        self._hush, self.begun = hush, threading.Event()

    def play(self, speech, time_s: float) -> None:
        self.begun.set()
        self._hush.wait(60)

    def close(self, end_s: float | None) -> None:
        pass


class Silent:
    """An engine that needs no time."""

    name = "silent"

    def synthesise(self, text: str) -> Speech:
        return Speech(np.zeros(160, np.int16), 16000)

    def close(self) -> None:
        pass


def test_a_long_sentence_is_broken_off_by_a_stop_and_by_an_edit(camera, model, tmp_path):
    """`running` sees to it that the end takes less than five seconds."""
    path, players = tmp_path / "config.toml", list[Endless]()

    def open_voice(_, hush: threading.Event, __: object) -> Voice:
        players.append(Endless(hush))
        return Voice([Silent()], players[-1], print)  # type: ignore[list-item]

    def write(volume: float) -> None:
        path.write_text(
            f'[capture]\nsource = "{camera.address}"\ntimeout_s = 2\n[stream]\nfps = 10\n[voice]\nvolume = {volume}\n'
        )

    write(1.0)
    file = ConfigFile(lambda: load_settings(path, environ={}), load_settings(path, environ={}), path)
    with running(camera, model, open_voice=open_voice, config_file=file) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        assert daemon.ask("What is it?").is_over.wait(20)
        assert players[0].begun.wait(10)
        write(0.5)
        wait_for(lambda: len(players) == 2, 5)
        assert daemon.ask("And now?").is_over.wait(20)
        assert players[1].begun.wait(10)
    assert daemon.failure is None


def test_a_stop_does_not_wait_for_a_voice_that_hangs(camera, model, tmp_path):
    """`running` sees to it that the end takes less than five seconds."""
    program = tmp_path / "espeak-ng"
    program.write_text("#!/bin/sh\nexec sleep 30\n")
    program.chmod(0o755)

    def open_voice(_, hush: threading.Event, __: object) -> Voice:
        return Voice([EspeakEngine(170, 1.0, hush, program=str(program), timeout_s=30)], Endless(hush), print)

    with running(camera, model, open_voice=open_voice) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        assert daemon.ask("What is it?").is_over.wait(20)
        wait_for(lambda: daemon.state("voice") == "speaking", 5)
    assert daemon.failure is None


def test_a_control_socket_that_fails_ends_the_run(camera, model):
    failure: list[WorkerFailed] = []

    def check() -> None:
        if failure:
            raise failure[0]

    with running(camera, model, check=check) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        failure.append(WorkerFailed("the control thread failed"))
        daemon.thread.join(6 * pace())
        assert daemon.failure is failure[0]


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
        daemon.requests.pause(Heard())
        daemon.service.camera.before_sleep()
        daemon.service.camera.after_sleep()
        time.sleep(1)
        assert daemon.state("capture") == "paused"
        assert not multiprocessing.active_children()


class Breaking:
    """A stream that fails when it is asked for the nth time to look."""

    def __init__(self, stream, fails_at: int, error: Exception | None = None):
        self._stream, self._left = stream, fails_at
        self._error = error or RuntimeError("the decoder is upset")

    def observe_many(self, frames, stops_at):
        self._left -= 1
        if self._left == 0:
            raise self._error
        return self._stream.observe_many(frames, stops_at)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def test_a_mind_that_fails_is_started_again_and_questions_are_told(camera, model):
    opened = []

    def open_stream(_):
        opened.append(model.open_stream(window_tokens=1024, max_reply_tokens=8))
        return Breaking(opened[-1], fails_at=5 if len(opened) == 1 else 0)

    with running(camera, model, open_stream) as daemon:
        wait_for(lambda: len(opened) == 2, 30)
        wait_for(lambda: daemon.state("mind") == "ready", 30)
        answer = daemon.ask("Still there?")
        assert answer.is_over.wait(20)
        assert answer.text
        assert daemon.service.facts()["restarts"] == 1
    failures = [facts for kind, facts in daemon.published if kind == "status" and facts["state"] == "failed"]
    assert len(failures) == 1
    assert "upset" in failures[0]["detail"]


def test_a_mind_that_fails_again_and_again_rests_and_the_rest_goes_on(camera, model, monkeypatch):
    monkeypatch.setattr(watching, "REST_S", 3.0)
    opened = []

    def open_stream(_):
        opened.append(model.open_stream(window_tokens=1024, max_reply_tokens=8))
        return Breaking(opened[-1], fails_at=1 if len(opened) <= MAX_RESTARTS + 1 else 0)

    with running(camera, model, open_stream) as daemon:
        wait_for(lambda: daemon.state("capture") == "closed", 90)
        assert not multiprocessing.active_children()
        assert daemon.state("mind") == "failed"
        assert "did not help" in daemon.service.facts()["parts"]["mind"]["detail"]
        question = daemon.ask("Still there?")
        assert question.is_over.wait(1)
        assert "nothing is looked at just now: the mind thread failed" in question.failure
        assert len(opened) == MAX_RESTARTS + 1
        wait_for(lambda: daemon.state("mind") == "ready", 20)
        assert daemon.ask("Still there?").is_over.wait(20)
    assert daemon.failure is None


class Unplugged:
    """A sound output that is lost at the second sentence, and there again when it is opened the third time."""

    def __init__(self, number: int, played: list[int]):
        self.is_heard, self.where, self._number, self._played = number != 2, f"output {number}", number, played

    def play(self, speech, time_s: float) -> None:
        if self._number == 1 and self._played:
            raise SpeechError("the sound device was lost")
        self._played.append(self._number)

    def close(self, end_s: float | None) -> None:
        pass


def test_a_voice_that_lost_its_output_finds_it_again(camera, model, monkeypatch):
    monkeypatch.setattr(voice_thread, "FIRST_DELAY_S", 0.1)
    opened, played = [], list[int]()

    def open_voice(_, hush: threading.Event, __: object) -> Voice:
        opened.append(Unplugged(len(opened) + 1, played))
        return Voice([Silent()], opened[-1], print)  # type: ignore[list-item]

    with running(camera, model, open_voice=open_voice) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        states = []
        for _ in range(5):
            assert daemon.ask("What is it?").is_over.wait(20)
            time.sleep(0.7)
            states.append(daemon.state("voice"))
    assert played == [1, 3, 3]
    assert states == ["idle", "failed", "failed", "idle", "idle"]
    told = [facts["state"] for kind, facts in daemon.published if kind == "status" and facts["part"] == "voice"]
    assert told == ["failed", "speaking"] or told == ["failed", "idle"]


def test_a_gpu_that_is_full_is_asked_for_less(camera, model, tmp_path):
    windows, path = [], tmp_path / "config.toml"

    def write(text: str) -> None:
        path.write_text(f'[capture]\nsource = "{camera.address}"\n[stream]\nfps = 10\n{text}')

    def reload(daemon: Running) -> None:
        heard = Heard()
        daemon.requests.reload(heard)
        assert heard.is_over.wait(10)
        assert not heard.failure

    def open_stream(section):
        windows.append(section.window_tokens)
        stream = model.open_stream(window_tokens=section.window_tokens, max_reply_tokens=8)
        full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return Breaking(stream, 3 if section.window_tokens > 1024 else 0, full)

    write("window_tokens = 4096\n")
    settings = load_settings(path, environ={})
    file = ConfigFile(lambda: load_settings(path, environ={}), settings, path)
    with running(camera, model, open_stream, config=settings.config, config_file=file) as daemon:
        wait_for(lambda: daemon.service.facts()["restarts"] == 2, 60)
        wait_for(lambda: daemon.state("mind") == "ready", 30)
        assert windows[0] == 4096
        assert windows[-1] == 1024
        assert daemon.ask("Still there?").is_over.wait(20)
        num_opened = len(windows)
        for text in ("silence_threshold = 0.5\n", "[policy]\nmin_gap_s = 9\n", "[voice]\nvolume = 0.5\n"):
            write(f"window_tokens = 4096\n{text}")
            reload(daemon)
        facts = daemon.service.facts()
        assert (facts["window_tokens"], len(windows)) == (1024, num_opened), "none of these takes the stream down"
        assert "no room" in facts["parts"]["mind"]["detail"]
        write("window_tokens = 4096\nmax_reply_tokens = 20\n")
        reload(daemon)
        assert windows[num_opened:] == [1024], "no more is asked for than there was room for"
        write("window_tokens = 1000\nmax_reply_tokens = 20\n")
        reload(daemon)
        assert windows[-1] == 1000
        assert daemon.service.facts()["parts"]["mind"]["detail"] == ""
    told = [facts["detail"] for kind, facts in daemon.published if kind == "status" and facts["state"] == "failed"]
    assert ["2048 tokens" in told[0], "1024 tokens" in told[1]] == [True, True]


def test_a_gpu_that_is_lost_needs_a_new_process(camera, model, tmp_path):
    def open_stream(_):
        stream = model.open_stream(window_tokens=1024, max_reply_tokens=8)
        return Breaking(stream, 4, RuntimeError("CUDA error: unspecified launch failure"))

    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "60000000"})
        with running(camera, model, open_stream, notifier=notifier) as daemon:
            wait_for(lambda: daemon.service.facts()["frames"] > 1, 30)
            question = daemon.ask("Still there?")
            daemon.thread.join(20)
            assert question.is_over.wait(1)
        heard = [systemd.recv(1000).decode()]
        while "WATCHDOG_USEC=300000000" not in heard[-1]:  # else the model could not be opened again in time
            heard.append(systemd.recv(1000).decode())
    assert isinstance(daemon.failure, ProcessSpoilt)
    assert "STOPPING=1" not in heard, "systemd would kill what goes on"


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


class Hanging(Breaking):
    """A stream that never comes back from its nth look, as a stuck kernel would not."""

    hung, released = threading.Event(), threading.Event()

    def observe_many(self, frames, stops_at):
        self._left -= 1
        if self._left == 0:
            self.hung.set()
            self.released.wait(30)
        return self._stream.observe_many(frames, stops_at)


def test_a_mind_that_hangs_ends_the_run(camera, model, monkeypatch):
    monkeypatch.setattr(watching, "HANG_S", 2.0)

    def open_stream(_):
        return Hanging(model.open_stream(window_tokens=1024, max_reply_tokens=8), fails_at=4)

    with running(camera, model, open_stream) as daemon:
        assert Hanging.hung.wait(30)
        question = daemon.ask("Still there?")
        assert question.is_over.wait(15)
        assert "was not answered" in question.failure
        Hanging.released.set()
        daemon.thread.join(10)
    assert "the mind hangs" in str(daemon.failure)


def test_systemd_hears_that_it_is_ready_alive_and_stopping(camera, model, tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(20)
        notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "600000"})
        with running(camera, model, notifier=notifier):
            heard = [systemd.recv(1000).decode() for _ in range(6)]
        while heard[-1] != "STOPPING=1":
            heard.append(systemd.recv(1000).decode())
    assert [message for message in heard if message.startswith("READY=1")] == [
        f"READY=1\nSTATUS=watching {parse_source(camera.address).shown}\nWATCHDOG_USEC=600000"
    ]
    assert heard.count("WATCHDOG=1") >= 4


def environ_of(directory: Path) -> dict[str, str]:
    own = {RUNTIME_VARIABLE: str(directory), "ONLOOKER_DATA": str(directory / "data")}
    own |= {"XDG_STATE_HOME": str(directory / "state"), "PYTHONPATH": str(ROOT)}
    return {**os.environ, **own, "ONLOOKER_PRIVACY__JOURNAL": "true"}


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
