"""Voices in Piper's format (VITS as ONNX), by onnxruntime; the sounds of the words come from the program espeak-ng.

Piper itself is not used: its licence is the GPL. The format: a JSON with the ids of phonemes, a pad between each two of
them, and a model from ids to samples.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from assistant.errors import SpeechError
from assistant.runtime.onnx import open_session
from assistant.sound.speech import Speech
from assistant.voice.engines import NO_SOUND_SERVER, NOTHING, TIMEOUT_S, NoSound, is_sayable
from model import weights
from model.errors import OnlookerError

VOICE = "piper-joe"
USUAL_WPM = 170
"""The rate at which these voices speak by themselves, about."""

BEGIN, END, PAD = "^", "$", "_"
MARKS = re.compile(r"\s*([,;:.!?…]+)(?=\s|$)")


@lru_cache(maxsize=1)
def _opened(model: Path) -> tuple[dict[str, Any], Any]:
    """A voice's settings and its model, which all engines share: one is made anew whenever it is interrupted. Raises
    OSError, ValueError, ImportError, and onnxruntime's own.
    """
    return json.loads(Path(f"{model}.json").read_text(encoding="utf-8")), open_session(model, num_threads=2)


class PiperEngine:
    """The voice `joe` (American English, MIT, data CC0). Loaded with its first sentence. hush: between two clauses."""

    name = "piper"

    def __init__(self, rate_wpm: int, volume: float, hush: threading.Event | None = None, *, voice: str = VOICE):
        self._pace, self._volume, self._hush, self._voice = USUAL_WPM / rate_wpm, volume, hush, voice
        self._session: Any = None
        self._config: dict[str, Any] = {}

    def synthesise(self, text: str) -> Speech:
        if not is_sayable(text):
            return NOTHING
        if self._session is None:
            self._load()
        pieces, rate_hz = [], int(self._config["audio"]["sample_rate"])
        for phonemes in self._phonemes(text):
            if self._hush is not None and self._hush.is_set():
                return NOTHING
            pieces.append(self._say(phonemes))
        if not any(map(len, pieces)):
            raise NoSound("piper gave no sound")
        return Speech(np.concatenate(pieces), rate_hz)

    def close(self) -> None:
        self._session = None

    def _load(self) -> None:
        try:
            folder = weights.ensure(self._voice)
            (model,) = folder.glob("*.onnx")
            self._config, self._session = _opened(model)
        except ImportError as error:
            raise SpeechError(f"piper: the package {error.name} is missing; pip install onnxruntime") from None
        except (OnlookerError, OSError, ValueError) as error:
            raise SpeechError(f"piper: {error}") from None
        except Exception as error:  # onnxruntime's own, of no common base
            raise SpeechError(f"piper: its voice cannot be opened: {error}") from None

    def _phonemes(self, text: str) -> list[str]:
        """Of each sentence, in the International Phonetic Alphabet, with the marks between its clauses."""
        clauses: list[tuple[str, str]] = []
        at = 0
        for mark in MARKS.finditer(text):
            clauses.append((text[at : mark.start()].strip(), mark.group(1)[-1].replace("…", ".")))
            at = mark.end()
        clauses.append((text[at:].strip(), "."))
        clauses = [(words, mark) for words, mark in clauses if is_sayable(words)]
        command = ["espeak-ng", "-q", "--ipa", "--stdin", "-v", str(self._config["espeak"]["voice"])]
        try:
            done = subprocess.run(
                command,
                input="\n\n".join(" ".join(words.split()) for words, _ in clauses),
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=TIMEOUT_S,
                check=True,
                env={**os.environ, **NO_SOUND_SERVER},
            )
        except FileNotFoundError:
            raise SpeechError("piper needs espeak-ng, which is not installed (Debian: apt install espeak-ng)") from None
        except (OSError, subprocess.SubprocessError) as error:
            raise SpeechError(f"piper: espeak-ng failed: {error}") from None
        lines = [" ".join(line.split()) for line in done.stdout.splitlines() if line.strip()]
        if len(lines) != len(clauses):  # espeak-ng divides in its own way: then without the marks
            return [" ".join(lines) + "."] if lines else []
        sentences, sentence = [], ""
        for line, (_, mark) in zip(lines, clauses, strict=True):
            sentence += f"{line}{mark} "
            if mark in ".!?":
                sentences.append(sentence.strip())
                sentence = ""
        return [*sentences, sentence.strip()] if sentence else sentences

    def _say(self, phonemes: str) -> np.ndarray:
        known: dict[str, list[int]] = self._config["phoneme_id_map"]
        ids = [*known[BEGIN], *known[PAD]]
        for phoneme in phonemes:
            if phoneme in known:
                ids += [*known[phoneme], *known[PAD]]
        ids += known[END]
        inference = self._config["inference"]
        scales = [inference["noise_scale"], inference["length_scale"] * self._pace, inference["noise_w"]]
        inputs = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array(scales, np.float32),
        }
        samples = np.ravel(self._session.run(None, inputs)[0])
        loudest = max(0.01, float(np.abs(samples).max(initial=0.0)))
        return (samples / loudest * 32000 * self._volume).astype(np.int16)
