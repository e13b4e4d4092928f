"""A WAV file that is valid after every write, and a player that lays speech on it like on a timeline."""

from __future__ import annotations

import contextlib
import errno
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from assistant.errors import OutputError, SpeechError
from assistant.runtime.folders import shown
from assistant.sound.speech import Speech
from model.outputs import begin

WAV_RATE_HZ = 22050
MAX_BYTES = 0xFFFF_FF00  # the format counts in 32 bits
LIVE_GAP_S = 0.5


class WavFile:
    """Mono int16 at WAV_RATE_HZ. Sizes in the header are kept up, so a killed process leaves a whole file.

    It is begun with the first samples. Pipes and devices, which cannot go back to their header, get one
    that claims as much as the format can hold.
    """

    def __init__(self, path: Path):
        """path: absolute; see `model.outputs.check`."""
        self.path = path
        self.num_samples = 0
        self._file: BinaryIO | None = None

    def append(self, pcm: np.ndarray) -> None:
        """Add samples. Raises OSError (no space left, or the 4 GB of the format are full), OutputError."""
        check_size(self.num_samples + len(pcm))
        file = self._begun()
        file.write(pcm.astype("<i2").tobytes())
        self.num_samples += len(pcm)
        file.flush()
        if file.seekable():
            file.seek(0)
            file.write(self._header())
            file.flush()
            file.seek(0, 2)

    def close(self) -> None:
        """Twice is fine."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def _begun(self) -> BinaryIO:
        if self._file is None:
            self._file = begin(self.path)
            if not self._file.seekable():
                self.num_samples = MAX_BYTES // 2 - 44
            self._file.write(self._header())
            self._file.flush()
            self.num_samples = 0
        return self._file

    def _header(self) -> bytes:
        size = 2 * self.num_samples
        sound = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, WAV_RATE_HZ, 2 * WAV_RATE_HZ, 2, 16)
        return struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + sound + struct.pack("<4sI", b"data", size)


class WavPlayer:
    """Puts each sentence at its time in the stream, or right after the one before if that is still speaking.

    is_timeline: false for sources without an end; there silence is not written, only half a second between sentences.
    reason: why it is a file, for the user; "" if they asked for it.
    """

    is_heard = True

    def __init__(self, path: Path, *, is_timeline: bool, reason: str = ""):
        self._wav = WavFile(path)
        self._is_timeline = is_timeline
        self.where = f"{shown(path)} ({reason})" if reason else shown(path)

    def play(self, speech: Speech, time_s: float) -> None:
        try:
            if self._is_timeline:
                self._pad_to(time_s)
            self._wav.append(resample(speech, WAV_RATE_HZ))
            if not self._is_timeline:
                self._wav.append(np.zeros(int(LIVE_GAP_S * WAV_RATE_HZ), np.int16))
        except OutputError as error:
            raise SpeechError(str(error)) from None
        except OSError as error:
            raise SpeechError(f"{self._wav.path}: {error.strerror or error}") from None

    def hush(self) -> None:
        """What is written stays."""

    def close(self, end_s: float | None) -> None:
        """Make the file as long as the stream (end_s seconds), unless nothing came of it. Raises SpeechError."""
        try:
            if end_s is not None:
                self._wav.append(np.zeros(0, np.int16))  # a silent stream has a file, too
            if end_s is not None and self._is_timeline:
                self._pad_to(end_s)
        except OutputError as error:
            raise SpeechError(str(error)) from None
        except OSError as error:
            raise SpeechError(f"{self._wav.path}: {error.strerror or error}") from None
        finally:
            self._wav.close()

    def _pad_to(self, time_s: float) -> None:
        check_size(int(time_s * WAV_RATE_HZ))
        missing = int(time_s * WAV_RATE_HZ) - self._wav.num_samples
        while missing > 0:
            block = min(missing, 60 * WAV_RATE_HZ)
            self._wav.append(np.zeros(block, np.int16))
            missing -= block


def check_size(num_samples: int) -> None:
    """Raise OSError if so many samples do not fit into one file of this format."""
    if 44 + 2 * num_samples > MAX_BYTES:
        raise OSError(errno.EFBIG, "a WAV file cannot be larger than 4 GB")


def resample(speech: Speech, sample_rate_hz: int) -> np.ndarray:
    """The same sound at another rate: int16 samples, linear interpolation (plain speech does not need more)."""
    if speech.sample_rate_hz == sample_rate_hz or not len(speech.pcm):
        return speech.pcm
    num_samples = max(1, round(len(speech.pcm) * sample_rate_hz / speech.sample_rate_hz))
    at = np.arange(num_samples) * (speech.sample_rate_hz / sample_rate_hz)
    return np.interp(at, np.arange(len(speech.pcm)), speech.pcm).round().astype(np.int16)
