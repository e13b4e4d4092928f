"""Speech to text: Whisper by faster-whisper, in a child process. On a CPU it does not disturb the model's GPU."""

from __future__ import annotations

import contextlib
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
    spelled as they are; the wake word, which the model does not know.
    """

    def __init__(self, model: str, hotwords: str | None = None):
        self._model, self._hotwords = model, hotwords
        self._child: Child | None = None
        self._is_ready = False

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
        self._child, self._is_ready = Child(transcriber_main, str(folder), self._hotwords, name="onlooker-ear"), False

    def transcribe(self, pcm: np.ndarray) -> Transcript:
        """int16 samples at 16 kHz. Tried once more by a new child. Raises HearingError."""
        try:
            return self._transcribe(pcm)
        except HearingError:
            self.close()
            return self._transcribe(pcm)

    def close(self) -> None:
        """End the child. Safe to call twice."""
        if self._child is not None:
            self._child.end(grace_s=0.2)
            self._child = None

    def _transcribe(self, pcm: np.ndarray) -> Transcript:
        self.start()
        assert self._child is not None
        if not self._is_ready:
            self._answer(self._child, START_TIMEOUT_S)
            self._is_ready = True
        self._child.send(pcm.astype(np.int16).tobytes())
        return Transcript(*self._answer(self._child, TIMEOUT_S + len(pcm) / 16_000))

    def _answer(self, child: Child, timeout_s: float) -> tuple[Any, ...]:
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            with contextlib.suppress(EOFError):
                answer = child.receive(timeout_s=0.2)
                if answer is None:
                    continue
                if isinstance(answer, str):
                    raise HearingError(f"speech to text: {answer}")
                return tuple(answer)
            raise HearingError(f"speech to text died: {child.how_it_died()}")
        raise HearingError(f"speech to text did not answer within {timeout_s:.0f} s")


def transcriber_main(connection: Connection, folder: str, hotwords: str | None) -> None:
    """The child: say () when it is ready, then (text, logprob, no_speech) of each piece of sound; a text of what is
    wrong, and end, otherwise.
    """
    try:
        from faster_whisper import WhisperModel

        whisper = WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=2)
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
