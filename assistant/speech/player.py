"""Where speech is heard: the sound device, or a WAV file where there is none. Used by the voice thread only."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Protocol

from assistant.errors import SpeechError
from assistant.speech.engines import Speech
from assistant.speech.wav import WavPlayer, resample

BLOCK_S = 0.1


class Player(Protocol):
    """A place for speech. where: its name for the user. is_heard: whether anybody hears it, then or later."""

    where: str
    is_heard: bool

    def play(self, speech: Speech, time_s: float) -> None:
        """Let it be heard; time_s: the moment of the stream it belongs to. Raises SpeechError."""
        ...

    def close(self, end_s: float) -> None:
        """The stream ended at end_s. Raises SpeechError."""
        ...


class DevicePlayer:
    """The system's default sound output. `play` returns when the sentence has been handed over, or `stop` is set."""

    is_heard = True

    def __init__(self, stop: threading.Event):
        """Open the device. Raises SpeechError where there is none that works."""
        name, self._rate_hz = default_output()
        self.where = f'played on "{name}"'
        self._stop = stop
        import sounddevice

        try:
            self._stream = sounddevice.OutputStream(samplerate=self._rate_hz, channels=1, dtype="int16")
            self._stream.start()
        except (sounddevice.PortAudioError, OSError, ValueError) as error:
            raise SpeechError(f'the sound device "{name}" cannot be opened: {error}') from None

    def play(self, speech: Speech, time_s: float) -> None:
        import sounddevice

        pcm = resample(speech, self._rate_hz)
        block = int(BLOCK_S * self._rate_hz)
        try:
            for start in range(0, len(pcm), block):
                if self._stop.is_set():
                    self._stream.abort()
                    return
                self._stream.write(pcm[start : start + block].reshape(-1, 1))
        except (sounddevice.PortAudioError, OSError) as error:
            raise SpeechError(f"the sound device was lost: {error}") from None

    def close(self, end_s: float) -> None:
        import sounddevice

        with contextlib.suppress(sounddevice.PortAudioError, OSError):
            if not self._stop.is_set():
                self._stream.stop()  # waits until all of it has been heard
            self._stream.close()


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


def look_for_devices_again() -> None:
    """PortAudio knows those that were there when it was loaded. Not while one of them is open."""
    with contextlib.suppress(OSError):  # it is not installed
        import sounddevice

        with contextlib.suppress(sounddevice.PortAudioError):
            sounddevice._terminate()
            sounddevice._initialize()


class NoPlayer:
    """Speech is not heard, and not kept. where: why."""

    is_heard = False

    def __init__(self, reason: str):
        self.where = f"not heard ({reason})"

    def play(self, speech: Speech, time_s: float) -> None:
        pass

    def close(self, end_s: float) -> None:
        pass


def open_player(output: str, automatic: Path | None, stop: threading.Event, *, is_file: bool, lossless: bool) -> Player:
    """The player that `voice.output` means.

    output: "auto" or a .wav path. automatic: the file that "auto" falls back to, or None. is_file: the source has an
    end. lossless: faster than real time, so nothing can be played. Raises OutputError if a file cannot be written.
    """
    if output != "auto":
        return WavPlayer(Path(output), is_timeline=is_file)
    if lossless and automatic:
        return WavPlayer(automatic, is_timeline=is_file, reason="faster than real time")
    try:
        return DevicePlayer(stop)
    except SpeechError as error:
        if automatic is None:
            return NoPlayer(str(error))
        return WavPlayer(automatic, is_timeline=is_file, reason=str(error))
