"""Asked aloud and answered aloud: the daemon as a user runs it, with a real sound server, speech to text and model."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
from faster_whisper import WhisperModel

from assistant.control.client import Client
from assistant.control.errors import DaemonLost, RequestRefused
from assistant.control.protocol import Notice
from assistant.ear.words import words_of
from assistant.sound.speech import Speech
from assistant.voice.piper import PiperEngine
from model import weights
from tests.assistant.camera import wait_for
from tests.assistant.rigs import SoundCard
from tests.assistant.running_daemon import Daemon, daemon
from tests.pace import pace

QUESTION = "What is on the table?"


@pytest.fixture
def card() -> Iterator[SoundCard]:
    with SoundCard() as made:
        made.add_microphone()
        made.add_echo()
        yield made


@pytest.fixture(scope="module")
def question() -> Speech:
    return PiperEngine(170, 1.0).synthesise(QUESTION)


def transcribed(pcm: np.ndarray) -> list[str]:
    whisper = WhisperModel(str(weights.ensure("whisper-tiny.en")), device="cpu", compute_type="int8")
    segments, _ = whisper.transcribe(pcm.astype(np.float32) / 32768, beam_size=5, vad_filter=True)
    return words_of(" ".join(segment.text for segment in segments))


def running_with(card: SoundCard, mode: str):
    environ = {**card.environ, "ONLOOKER_EAR__MODE": mode}
    return daemon("demo", environ=environ, model="default", fps=2, is_silent=False)


def ear_of(running: Daemon) -> str:
    return str(running.facts()["parts"]["ear"]["state"])


def test_a_question_is_asked_aloud_and_answered_aloud(card: SoundCard, question: Speech):
    with running_with(card, "push-to-talk") as running:
        wait_for(lambda: running.facts()["frames"] > 6, 60)
        assert card.num_recordings() == 2, "the rig's own parts; the microphone is closed"
        with card.recorded() as played, Client.connect(running.directory) as client:
            answer = client.listen(timeout_s=60 * pace())
            wait_for(lambda: ear_of(running) == "on", 10)
            card.speak(question.pcm, question.sample_rate_hz)
            asked, *words = answer
            assert len(set(words_of(asked)) & set(words_of(QUESTION))) >= 4, asked
            wait_for(lambda: ear_of(running) == "idle", 10)
            told = set(words_of("".join(words)))
            assert told
            wait_for(lambda: len(told & set(transcribed(played()))) > len(told) / 2, 30)


def test_an_open_ear_does_not_take_its_own_voice_for_a_question(card: SoundCard, question: Speech):
    with running_with(card, "open") as running, Client.connect(running.directory) as client:
        wait_for(lambda: ear_of(running) == "on" and running.facts()["frames"] > 6, 60)
        told: list[Notice] = []

        def follow(events: Iterator[Notice]) -> None:
            with suppress(DaemonLost):  # when the client is closed
                told.extend(events)

        listener = threading.Thread(target=follow, args=(client.events(["query", "answer"]),), daemon=True)
        listener.start()
        card.speak(question.pcm, question.sample_rate_hz)
        wait_for(lambda: len(told) == 2, 60)
        assert words_of(str(told[0].facts["text"])) == words_of(QUESTION)
        assert told[1].facts["text"]
        wait_for(lambda: running.facts()["parts"]["voice"]["state"] == "speaking", 20)
        wait_for(lambda: running.facts()["parts"]["voice"]["state"] == "idle", 60)
        time.sleep(3 * pace())  # what it heard meanwhile is written down
        assert [notice.event for notice in told] == ["query", "answer"], [notice.facts for notice in told]
        assert QUESTION[:-1].lower() not in running.log.read_text().lower(), "nothing of what is said is kept"


def test_an_ear_that_is_off_says_how_to_switch_it_on(card: SoundCard):
    with (
        running_with(card, "off") as running,
        Client.connect(running.directory) as client,
        pytest.raises(RequestRefused, match=r"ear\.mode is off.*push-to-talk"),
    ):
        next(client.listen())


def test_sound_is_tried_both_ways(card: SoundCard, question: Speech):
    environ = {**os.environ, **card.environ, "ONLOOKER_DATA": str(weights.data_dir().parent)}
    command = [sys.executable, "-m", "assistant", "devices", "--test"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        told = []
        for line in process.stdout:
            told.append(line)
            if line.startswith("listening"):
                time.sleep(0.5)
                card.speak(question.pcm // 2, question.sample_rate_hz)
    assert process.returncode == 0, told
    output, microphone, echo, _, heard, written = told
    assert output.startswith('sound output: "')
    assert "while we spoke" in microphone
    assert re.match(r"echo: after \d+ ms, likeness (0\.[3-9]|1\.00)", echo), echo
    assert "(good)" in heard
    assert QUESTION in written


def test_without_a_microphone_the_rest_goes_on(tmp_path):
    environ = {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "ONLOOKER_EAR__MODE": "push-to-talk"}
    with daemon("demo", environ=environ, model="default", fps=2, is_silent=False) as running:
        wait_for(lambda: running.facts()["frames"] > 4, 60)
        with (
            Client.connect(running.directory) as client,
            pytest.raises(RequestRefused, match=r"no sound device|no microphone"),
        ):
            next(client.listen(timeout_s=60 * pace()))
        before = running.facts()["frames"]
        wait_for(lambda: running.facts()["frames"] > before + 4, 30)
