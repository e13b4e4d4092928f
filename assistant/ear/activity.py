"""Whether somebody speaks: Silero's voice activity detector (v6, MIT), which the package faster-whisper carries."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from assistant.errors import HearingError
from assistant.runtime.onnx import open_session
from assistant.sound.card_child import FRAME

CONTEXT = 64
STATE_WIDTH = 128


class VoiceActivity:
    """Frame by frame, in order. Used by one thread."""

    def __init__(self) -> None:
        """Raises HearingError if the package that carries it is missing."""
        try:
            import faster_whisper

            path = Path(faster_whisper.__file__).with_name("assets") / "silero_vad_v6.onnx"
            self._session = open_session(path, num_threads=1)
        except ImportError as error:
            raise HearingError(f"the package {error.name} is missing; pip install faster-whisper") from None
        except Exception as error:  # onnxruntime's own, of no common base
            raise HearingError(
                f"Silero's model cannot be opened: {error}; pip install --force-reinstall faster-whisper"
            ) from None
        self.forget()

    def forget(self) -> None:
        """What comes next does not follow what came last."""
        self._hidden = np.zeros((1, 1, STATE_WIDTH), np.float32)
        self._cell = np.zeros((1, 1, STATE_WIDTH), np.float32)
        self._context = np.zeros(CONTEXT, np.float32)

    def probability(self, frame: np.ndarray) -> float:
        """That somebody speaks in these FRAME int16 samples at 16 kHz, 0–1."""
        assert len(frame) == FRAME
        samples = frame.astype(np.float32) / 32768
        heard = np.concatenate([self._context, samples])[None]
        inputs = {"input": heard, "h": self._hidden, "c": self._cell}
        probability, hidden, cell = (np.asarray(value) for value in self._session.run(None, inputs))
        self._hidden, self._cell = hidden, cell
        self._context = samples[-CONTEXT:]
        return float(np.ravel(probability)[0])
