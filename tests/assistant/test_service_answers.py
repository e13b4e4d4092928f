"""The daemon, over a real model and reader, answers from sight and from its journal, and says why it is silent."""

import time

import cv2
import numpy as np
import torch

from assistant.capture.source import parse_source
from assistant.config.keys import Config
from assistant.config.reload import ConfigFile
from assistant.config.settings import load_settings
from assistant.daemon.modes import ModesFile
from assistant.journal.reading import entries, thumbnail
from assistant.journal.thread import JournalThread
from assistant.journal.writer import Journal, JournalLine
from assistant.mind.familiarity import UNFAMILIAR, WARNING
from assistant.mind.pacing import PolicyPacing
from assistant.mind.policy import Policy, PolicySettings
from model.world import OwnWorld
from tests.assistant.asker import KeepingAsker
from tests.assistant.camera import wait_for
from tests.assistant.watching_service import KEEPS, Breaking, running
from tests.pace import pace


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
        daemon.service.reload(KeepingAsker())
        wait_for(lambda: reason() == "quiet hours", 20)
        daemon.service.switch(paused=True)
        wait_for(lambda: reason() == "paused", 20)
        daemon.service.switch(paused=False)
        wait_for(lambda: reason() == "quiet hours", 30)
    told = [facts["reason"] for kind, facts in daemon.published if kind == "silence"]
    assert [why for why in told if why in ("paused", "quiet hours")] == ["quiet hours", "paused", "quiet hours"]


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
        daemon.requests.private(True, KeepingAsker())
        assert daemon.ask("A secret?").is_over.wait(20)
    kept = [entry for entry in entries(path) if entry.kind == "query"]
    assert [(entry.text, entry.has_thumbnail) for entry in kept] == [("What is it?", True)]
    jpeg = thumbnail(path, kept[0].id)
    assert jpeg is not None
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (48, 64, 3)
    assert abs(float(picture.mean()) - 90) < 3, "what the camera shows"
