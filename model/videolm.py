"""A streaming video language model, assembled: vision tower, connector, decoder, grammar."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from model import frames, stream_file
from model.engine import Encoded, Encoder, Engine
from model.grammar import Grammar
from model.stream import Eviction, Stream, StreamOptions, WhenFull
from model.summary import make_stream
from model.vision import VisionTower


class VideoLM:
    """Frames to frame tokens, and streams over them.

    `preprocess` and `encode` may run in another thread than the streams, all of which run in one.
    fps: frames a second it was trained at. silence_threshold: what it was calibrated for, 0–1. reads_notes: whether a
    question with notes of the past beside it is answered from them.
    """

    def __init__(
        self,
        *,
        name: str,
        engine: Engine,
        encoder: Encoder,
        grammar: Grammar,
        fps: float,
        silence_threshold: float,
        reads_notes: bool = False,
    ) -> None:
        self.reads_notes = reads_notes
        self.name = name
        self.engine = engine
        self.encoder = encoder
        self.grammar = grammar
        self.fps = fps
        self.silence_threshold = silence_threshold

    @property
    def decoder(self) -> PreTrainedModel:
        """The language model; with weights in another format than its own it cannot be called."""
        return self.engine.decoder

    @property
    def vision(self) -> VisionTower:
        """The tower."""
        return self.encoder.vision

    @property
    def connector(self) -> nn.Module:
        """From the tower's features to the decoder's width."""
        return self.encoder.connector

    @property
    def image_size(self) -> int:
        """Side of the square frame in pixels."""
        return self.vision.spec.image_size

    @property
    def num_frame_tokens(self) -> int:
        """Tokens a frame."""
        return self.grammar.spec.num_frame_tokens

    @property
    def device(self) -> torch.device:
        """Where the decoder computes."""
        return self.engine.device

    def preprocess(self, pixels: np.ndarray) -> np.ndarray:
        """RGB picture H×W×3 uint8 of any size → 3×S×S uint8, as its tower was trained. Raises FrameError."""
        fit = frames.stretch if self.vision.spec.fit == "stretch" else frames.letterbox
        return fit(pixels, self.image_size)

    def encode(self, frames_u8_B3SS: Tensor) -> Tensor:
        """uint8 frames → frame tokens B × N × D, in the decoder's dtype, on its device."""
        return self.encoder(frames_u8_B3SS)

    def look(self, frames_u8_B3SS: Tensor) -> Encoded:
        """`encode`, and how strange each frame is in the model's own world, if it knows that."""
        return self.encoder.encode(frames_u8_B3SS)

    def connect(self, features_BNF: Tensor) -> Tensor:
        """Vision features B × N × F → frame tokens B × N × D."""
        return self.encoder.connect(features_BNF)

    def open_stream(
        self,
        *,
        silence_threshold: float | None = None,
        window_tokens: int = 2048,
        max_reply_tokens: int = 100,
        eviction: Eviction = "rotate",
        when_full: WhenFull = "window",
        system_prompt: str | None = None,
    ) -> Stream:
        """A fresh stream; whatever is left out is what the checkpoint was trained for. Raises StreamError."""
        options = StreamOptions(
            silence_threshold=self.silence_threshold if silence_threshold is None else silence_threshold,
            window_tokens=window_tokens,
            max_reply_tokens=max_reply_tokens,
            eviction=eviction,
            when_full=when_full,
        )
        grammar = self.grammar
        if system_prompt is not None:
            grammar = grammar.with_spec(replace(grammar.spec, system_prompt=system_prompt))
        return make_stream(self.engine, grammar, options)

    def save_stream(self, stream: Stream, path: Path) -> None:
        """Write a running stream to a file, atomically; it goes on as if nothing had been. Raises StreamError."""
        stream_file.save(stream, path, self._fingerprint())

    def load_stream(self, path: Path) -> Stream:
        """The stream that `save_stream` wrote, for the same checkpoint. Raises StreamError."""
        return stream_file.load(path, self.engine, self.grammar, self._fingerprint())

    def _fingerprint(self) -> dict[str, object]:
        config = self.decoder.config
        return {
            "name": self.name,
            "layers": config.num_hidden_layers,
            "width": config.hidden_size,
            "vocabulary": config.vocab_size,
            "grammar": {k: v for k, v in asdict(self.grammar.spec).items() if k != "system_prompt"},
        }
