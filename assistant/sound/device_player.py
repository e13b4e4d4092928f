"""Speech on the sound device, by a child process.

PortAudio hangs with a frozen sound server, and knows no device that came after it was loaded. A child that hangs is
killed, and the next one finds what is there by then.
"""

from __future__ import annotations

import threading
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from assistant.errors import SpeechError
from assistant.runtime.children import Child
from assistant.sound.speech import Speech
from assistant.sound.wav import resample

BLOCK_S = 0.1
OPEN_TIMEOUT_S = 10.0
HANG_S = 3.0
"""A device that does not take a block of BLOCK_S for so long hangs."""


class DevicePlayer:
    """The system's default sound output. `play` returns when the sentence has been handed over, or `stop` is set.

    Used by one thread, and opened by any.
    """

    is_heard = True

    def __init__(self, stop: threading.Event):
        """Open the device. Raises SpeechError where there is none that works."""
        self._stop = stop
        self._child = Child(sound_main, name="onlooker-sound")
        opened = self._answer(OPEN_TIMEOUT_S)
        if isinstance(opened, str):
            raise self._failed(opened)
        name, self._rate_hz = opened
        self.where = f'played on "{name}"'

    def play(self, speech: Speech, time_s: float) -> None:
        pcm = resample(speech, self._rate_hz)
        block = int(BLOCK_S * self._rate_hz)
        for start in range(0, len(pcm), block):
            self._child.send(pcm[start : start + block].tobytes())
            failure = self._answer(HANG_S)
            if self._stop.is_set():
                return
            if failure:
                raise self._failed(f"the sound device was lost: {failure}")

    def close(self, end_s: float | None) -> None:
        """Wait until all of it has been heard, unless `stop` is set."""
        if not self._stop.is_set() and self._child.send(None):
            self._child.wait(HANG_S)
        self._child.end(grace_s=0)

    def _answer(self, timeout_s: float) -> Any:
        """What the child says next; "" when `stop` is set before. Raises SpeechError, and ends it, if it is silent."""
        until_s = time.monotonic() + timeout_s
        try:
            while time.monotonic() < until_s:
                answer = self._child.receive(timeout_s=BLOCK_S)
                if answer is not None:
                    return answer
                if self._stop.is_set():
                    return ""
        except EOFError:
            raise self._failed(f"the sound process died: {self._child.how_it_died()}") from None
        raise self._failed(f"the sound device does not answer within {timeout_s:g} s")

    def _failed(self, why: str) -> SpeechError:
        self._child.end(grace_s=0)
        return SpeechError(why)


def default_output() -> tuple[str, int]:
    """Name and preferred rate (Hz) of the default sound output. Raises SpeechError where there is none."""
    try:
        import sounddevice
    except OSError:
        raise SpeechError("PortAudio is not installed (Debian: apt install libportaudio2)") from None
    try:
        device = sounddevice.query_devices(kind="output")
    except (sounddevice.PortAudioError, ValueError):
        raise SpeechError("no sound device") from None
    return str(device["name"]), int(device["default_samplerate"])


def sound_main(connection: Connection) -> None:
    """The child: say (name, rate in Hz) of the output, or what is wrong; then play blocks of int16 samples, and answer
    each with what went wrong, or "". At None let the rest be heard, and end.
    """
    try:
        name, rate_hz = default_output()
    except SpeechError as error:
        connection.send(str(error))
        return
    import sounddevice

    faults = (sounddevice.PortAudioError, OSError, ValueError)
    try:
        stream = sounddevice.OutputStream(samplerate=rate_hz, channels=1, dtype="int16")
        stream.start()
    except faults as error:
        connection.send(f'the sound device "{name}" cannot be opened: {error}')
        return
    connection.send((name, rate_hz))
    while (block := connection.recv()) is not None:
        try:
            stream.write(np.frombuffer(block, np.int16).reshape(-1, 1))
        except faults as error:
            connection.send(str(error))
            return
        connection.send("")
    stream.stop()  # waits until all of it has been heard
    stream.close()
