"""Speech to text: Whisper by faster-whisper, in a child process. On a CPU it does not disturb the model's GPU."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from assistant.errors import HearingError
from assistant.runtime.children import Child
from model import weights
from model.errors import OnlookerError

START_TIMEOUT_S = 60.0
TIMEOUT_S = 30.0
"""For a turn of speech: a busy machine takes about as long as it lasted."""


@dataclass(frozen=True)
class Transcript:
    """What was said. logprob: mean of its tokens' (natural). no_speech: probability that nobody spoke, 0–1."""

    text: str
    logprob: float
    no_speech: float


class Transcriber:
    """Used by one thread, which must live as long. model: a name of the catalogue (`model.catalog`). hotwords: to be
    spelled as they are; the wake word, which the model does not know. stop: nothing is waited for once it is set.
    """

    def __init__(self, model: str, hotwords: str | None = None, stop: threading.Event | None = None):
        self._model, self._hotwords, self._stop = model, hotwords, stop or threading.Event()
        self._child: Child | None = None
        self._num_begun = self._num_known = 0
        self._is_ready = False
        self._latest: Transcript | None = None

    @property
    def pid(self) -> int | None:
        """The child's process number; None while there is none."""
        return self._child.pid if self._child else None

    def start(self) -> None:
        """Fetch the weights if they are not here, and load them, without waiting for that. Raises HearingError."""
        if self._child is not None:
            return
        try:
            folder = weights.ensure(self._model)
        except OnlookerError as error:
            raise HearingError(f"ear.model: {error}") from None
        self._child = Child(transcriber_main, str(folder), self._hotwords, name="onlooker-ear")
        self._num_begun, self._num_known, self._is_ready = 0, 0, False

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being written down."""
        return self._num_begun == self._num_known

    def begin(self, pcm: np.ndarray) -> int:
        """Have int16 samples at 16 kHz written down; gives the number to `wait` with. Waits for what was begun before:
        a child that does not read would block us. Raises HearingError.
        """
        self.start()
        self._receive(self._num_begun)
        assert self._child is not None
        self._num_begun += 1
        self._child.send(pcm.astype(np.int16).tobytes())
        return self._num_begun

    def wait(self, number: int) -> Transcript:
        """What was begun under that number, if nothing later was waited for. Raises HearingError."""
        self._receive(number)
        if self._latest is None or self._num_known != number:
            raise HearingError("speech to text was started anew")
        return self._latest

    def _receive(self, number: int) -> None:
        """Until the child is ready, and has said so many transcripts."""
        until_s = time.monotonic() + (TIMEOUT_S if self._is_ready else START_TIMEOUT_S)
        while self._child is not None and not (self._is_ready and self._num_known >= number):
            try:
                answer = self._child.receive(timeout_s=0.1)
            except EOFError:
                raise HearingError(f"speech to text died: {self._child.how_it_died()}") from None
            if isinstance(answer, str):
                raise HearingError(f"speech to text: {answer}")
            if answer == ():
                self._is_ready = True
            elif answer is not None:
                self._num_known, self._latest = self._num_known + 1, Transcript(*answer)
            elif self._stop.is_set():
                raise HearingError("the ear is being closed")
            elif time.monotonic() > until_s:
                raise HearingError(f"speech to text did not answer within {TIMEOUT_S:.0f} s")

    def transcribe(self, pcm: np.ndarray) -> Transcript:
        """int16 samples at 16 kHz. Tried once more by a new child. Raises HearingError."""
        try:
            return self.wait(self.begin(pcm))
        except HearingError:
            self.close()
            if self._stop.is_set():
                raise
            return self.wait(self.begin(pcm))

    def close(self) -> None:
        """End the child. Safe to call twice."""
        if self._child is not None:
            self._child.end(grace_s=0.2)
            self._child = None


def transcriber_main(connection: Connection, folder: str, hotwords: str | None) -> None:
    """The child: say () when it is ready, then (text, logprob, no_speech) of each piece of sound, in order; a text of
    what is wrong, and end.
    """
    try:
        whisper = _open(folder)
        connection.send(())
        while (pcm := connection.recv()) is not None:
            samples = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768
            found, _ = whisper.transcribe(
                samples,
                beam_size=1,
                language="en",
                hotwords=hotwords,
                condition_on_previous_text=False,
                without_timestamps=True,
                vad_filter=False,
                temperature=0.0,
            )
            segments = list(found)
            length = sum(len(segment.tokens) for segment in segments) or 1
            logprob = sum(segment.avg_logprob * len(segment.tokens) for segment in segments) / length
            no_speech = max((segment.no_speech_prob for segment in segments), default=1.0)
            connection.send((" ".join(segment.text.strip() for segment in segments), logprob, no_speech))
    except ImportError as error:
        connection.send(f"the package {error.name} is missing; pip install faster-whisper")
    except (EOFError, OSError):
        raise
    except Exception as error:  # of CTranslate2, of no common base
        connection.send(f"{type(error).__name__}: {error}".splitlines()[0])


def _open(folder: str) -> Any:
    from faster_whisper import WhisperModel

    return WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=2)
