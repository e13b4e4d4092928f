"""Text to speech: every engine returns samples, none of them plays. Used by the voice thread only.

pyttsx3 runs in a child process of its own, which is killed and started anew when it deadlocks; espeak-ng is a
program that is run once a sentence.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import numpy as np

from assistant.errors import SpeechError
from assistant.runtime.children import Child
from assistant.sound.speech import Speech

TIMEOUT_S = 10.0  # for a sentence; synthesis takes 20–200 ms
START_TIMEOUT_S = 20.0


NOTHING = Speech(np.zeros(0, np.int16), 16000)
HUSH_TICK_S = 0.1


class SpeechEngine(Protocol):
    """Something that can say a sentence."""

    name: str

    def synthesise(self, text: str) -> Speech:
        """The sentence as samples; none when it is hushed. Raises SpeechError when it cannot be had in time."""
        ...

    def close(self) -> None:
        """End its processes. Safe to call twice."""
        ...


NUM_TRIES, SETTLE_S = 3, 0.05


class NoSound(SpeechError):
    """The engine works, and gave no sound for this text."""


def is_sayable(text: str) -> bool:
    """Whether there is anything in it to be pronounced."""
    return any(character.isalnum() for character in text)


NO_SOUND_SERVER = {"PULSE_SERVER": "unix:/nonexistent"}
"""espeak-ng calls on the sound server even to write a file, and hangs with it."""


class EspeakEngine:
    """The program espeak-ng. rate_wpm: words a minute. volume: 0–1. hush: breaks off. program: its name or path."""

    name = "espeak-ng"

    def __init__(
        self,
        rate_wpm: int,
        volume: float,
        hush: threading.Event | None = None,
        *,
        program: str = "espeak-ng",
        timeout_s: float = TIMEOUT_S,
    ):
        self._command = [program, "--stdout", "-s", str(rate_wpm), "-a", str(round(volume * 100)), "--stdin"]
        self._hush, self._timeout_s = hush, timeout_s

    def synthesise(self, text: str) -> Speech:
        if not is_sayable(text):
            return NOTHING
        try:
            with subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **NO_SOUND_SERVER},
            ) as process:
                said = self._hear(process, text)
        except FileNotFoundError:
            raise SpeechError("espeak-ng is not installed (Debian: apt install espeak-ng)") from None
        except OSError as error:
            raise SpeechError(f"espeak-ng cannot be run: {error.strerror}") from None
        if said is None:
            return NOTHING
        sound, errors = said
        if process.returncode != 0:
            words = errors.decode(errors="replace").strip().splitlines() or ["it gave no sound"]
            raise SpeechError(f"espeak-ng failed: {words[-1]}")
        if len(sound) <= 44:
            raise NoSound("espeak-ng gave no sound")
        # its header, written before the length is known, claims 2 GB; after the 44 bytes there is nothing but samples
        return Speech(np.frombuffer(sound[44:], "<i2"), int.from_bytes(sound[24:28], "little"))

    def _hear(self, process: subprocess.Popen[bytes], text: str) -> tuple[bytes, bytes] | None:
        """What it writes (sound, errors); None when it is hushed."""
        until_s, unsaid = time.monotonic() + self._timeout_s, text.encode()
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.communicate(unsaid, timeout=HUSH_TICK_S)
                unsaid = None  # it is being written
                if self._hush is not None and self._hush.is_set():
                    return None
                if time.monotonic() > until_s:
                    raise SpeechError(f"espeak-ng did not answer within {self._timeout_s:g} s")
        finally:
            process.kill()

    def close(self) -> None:
        pass


class Pyttsx3Engine:
    """The package pyttsx3 in a child process. One restart a sentence; then it is taken to be broken."""

    name = "pyttsx3"

    def __init__(
        self, rate_wpm: int, volume: float, hush: threading.Event | None = None, *, timeout_s: float = TIMEOUT_S
    ):
        self._settings = (rate_wpm, volume)
        self._hush, self._timeout_s = hush, timeout_s
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, None before the first sentence."""
        return self._child.pid if self._child else None

    def synthesise(self, text: str) -> Speech:
        """Raises NoSound if it gives none, however often it is tried."""
        if not is_sayable(text):
            return NOTHING
        with tempfile.TemporaryDirectory(prefix="onlooker-voice-") as folder:
            path = Path(folder) / "speech.wav"
            for _ in range(NUM_TRIES):
                try:
                    self._say_to(path, text)
                except SpeechError:
                    self.close()
                    self._say_to(path, text)
                if not path.exists():  # hushed
                    return NOTHING
                speech = read_sound(path)
                if len(speech.pcm):
                    return speech
                path.unlink()
            raise NoSound("pyttsx3 gave no sound")

    def close(self) -> None:
        if self._child is not None:
            self._child.end(grace_s=0.2)
            self._child = None

    def _say_to(self, path: Path, text: str) -> None:
        timeout_s = self._timeout_s
        if self._child is None:
            self._child = Child(pyttsx3_main, name="onlooker-pyttsx3")
            self._child.send(self._settings)
            timeout_s += START_TIMEOUT_S
        until_s, failure = time.monotonic() + timeout_s, None
        try:
            self._child.send((text, str(path)))
            while failure is None and time.monotonic() < until_s:
                failure = self._child.receive(timeout_s=HUSH_TICK_S)
                if failure is None and self._hush is not None and self._hush.is_set():
                    self.close()
                    path.unlink(missing_ok=True)
                    return
        except EOFError:
            raise SpeechError(f"pyttsx3 crashed: {self._child.how_it_died()}") from None
        if failure is None:
            raise SpeechError(f"pyttsx3 did not answer within {timeout_s:g} s")
        if failure:
            raise SpeechError(f"pyttsx3 failed: {failure}")


def pyttsx3_main(connection: Connection) -> None:
    """The child: say each (text, path) it is sent into a file; answer "" when it is there, else what went wrong.

    At the end of a loop pyttsx3 cancels whatever espeak-ng is still busy with, also where that is taking over the
    settings or letting go of the sentence before: then the speed is lost, and the next sentence has no sound. So it is
    left alone for SETTLE_S before each, and the first loop has nothing to say.
    """
    os.environ.update(NO_SOUND_SERVER)
    rate_wpm, volume = connection.recv()
    engine = None
    while True:
        text, path = connection.recv()
        try:
            if engine is None:
                import pyttsx3

                engine = pyttsx3.init()
                time.sleep(SETTLE_S)
                engine.runAndWait()
                engine.setProperty("rate", rate_wpm)
                engine.setProperty("volume", volume)
            time.sleep(SETTLE_S)
            engine.save_to_file(text, path)
            engine.runAndWait()
        except Exception as error:  # whatever a driver of this system raises: the parent decides what follows
            connection.send(f"{type(error).__name__}: {error}".splitlines()[0])
        else:
            connection.send("" if Path(path).exists() else "it made no file; is a speech driver installed?")


def read_sound(path: Path) -> Speech:
    """Any sound file as mono int16 (pyttsx3 writes WAV here, AIFF there). Raises SpeechError."""
    import soundfile

    try:
        samples, sample_rate_hz = soundfile.read(path, dtype="int16", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise SpeechError(f"the engine's sound file cannot be read: {error}") from None
    return Speech(np.ascontiguousarray(samples[:, 0]), sample_rate_hz)


def open_engines(
    preferred: str, rate_wpm: int, volume: float, hush: threading.Event | None = None
) -> list[SpeechEngine]:
    """The engines to try in turn, the preferred one ("piper", "pyttsx3", "espeak-ng") first. Nothing is started yet."""
    engines: list[SpeechEngine] = [Pyttsx3Engine(rate_wpm, volume, hush), EspeakEngine(rate_wpm, volume, hush)]
    if preferred == "piper":
        from assistant.voice.piper import PiperEngine

        engines.insert(0, PiperEngine(rate_wpm, volume, hush))
    return sorted(engines, key=lambda engine: engine.name != preferred)
