"""The daemon's voice is broken off in a sentence, hangs or loses its output, and holds up nothing else."""

import threading
import time
from pathlib import Path

from assistant.config.reload import ConfigFile
from assistant.config.settings import load_settings
from assistant.ear.words import words_of
from assistant.errors import SpeechError
from assistant.journal.reading import entries
from assistant.journal.thread import JournalThread
from assistant.voice import thread as voice_thread
from assistant.voice.engines import EspeakEngine
from assistant.voice.speaker import Voice
from tests.assistant.asker import KeepingAsker
from tests.assistant.camera import wait_for
from tests.assistant.watching_service import KEEPS, Silent, running


class Endless:
    """A player in whose hands a sentence takes for ever, unless it is hushed."""

    where, is_heard = "nowhere", True

    def __init__(self, hush: threading.Event):
        self._hush, self.begun = hush, threading.Event()

    def play(self, speech, time_s: float) -> None:
        self.begun.set()
        self._hush.wait(60)

    def hush(self) -> None:
        self._hush.set()

    def close(self, end_s: float | None) -> None:
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


def test_what_was_muted_before_it_was_heard_is_marked_as_unheard(camera, model, tmp_path):
    players = list[Endless]()

    def open_voice(_, hush: threading.Event, __: object) -> Voice:
        players.append(Endless(hush))
        return Voice([Silent()], players[-1], print)  # type: ignore[list-item]

    path = tmp_path / "journal.db"
    with running(camera, model, open_voice=open_voice, config=KEEPS, journal=JournalThread(path)) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        asked = daemon.ask("What is it?")
        assert asked.is_over.wait(20)
        assert players[0].begun.wait(10)
        daemon.service.switch(muted=True)
        wait_for(lambda: any(kind == "unsaid" for kind, _ in daemon.published), 5)
        daemon.service.switch(muted=True)  # nothing sounds: nothing is left unsaid
        unsaid = [facts["text"] for kind, facts in daemon.published if kind == "unsaid"]
        assert unsaid
        assert words_of(unsaid[0])
        assert set(words_of(unsaid[0])) <= set(words_of(asked.text))
        wait_for(lambda: notes(path), 10)
    assert len(unsaid) == 1
    assert notes(path) == unsaid


def test_what_is_to_be_said_is_said_or_refused_with_the_reason(camera, model):
    said = list[str]()

    class Noting(Silent):
        def synthesise(self, text: str):
            said.append(text)
            return super().synthesise(text)

    def open_voice(_, hush: threading.Event, __: object) -> Voice:
        return Voice([Noting()], Endless(hush), print)  # type: ignore[list-item]

    with running(camera, model, open_voice=open_voice) as daemon:
        wait_for(lambda: daemon.state("voice") == "idle", 30)
        asker = KeepingAsker()
        daemon.requests.say("Dinner is ready. Come, please!", asker)
        assert asker.is_over.is_set()
        assert not asker.failure
        wait_for(lambda: said == ["Dinner is ready."], 5)  # and it sounds for ever
        daemon.service.switch(muted=True)
        refused = KeepingAsker()
        daemon.requests.say("Now!", refused)
        assert "muted" in refused.failure
        assert "unmute" in refused.failure


def notes(path: Path) -> list[str]:
    return [entry.text for entry in entries(path, kinds=["unsaid"])]


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
