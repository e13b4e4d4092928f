"""Models by their sizes alone, with random weights: for measuring what a size costs, without any checkpoint."""

import re
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from model.connector import make_connector
from model.decoder import resolve_attention
from model.engine import Kind, Weights, make_encoder, make_engine
from model.errors import CheckpointError
from model.grammar import Grammar, GrammarSpec
from model.templates import PROASSIST, VIDEOLLM_ONLINE
from model.videolm import VideoLM
from model.vision import VisionSpec, open_vision

SIGLIP = VisionSpec("open_clip", "ViT-L-16-SigLIP-384", "", 384)
EFFICIENTNET = VisionSpec("timm", "tf_efficientnet_lite0", "", 384, layer_norm=True)


@dataclass(frozen=True)
class Shape:
    """A decoder and a tower by their sizes alone; their weights are random."""

    decoder: dict[str, Any]
    vision: VisionSpec
    grammar: GrammarSpec = field(default_factory=GrammarSpec)


LLAMA_8B = {
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "tie_word_embeddings": False,
}


def _proassist(grid: int) -> Shape:
    vision = VisionSpec("open_clip", "ViT-SO400M-14-SigLIP-384", "", 384, grid=grid, fit="stretch")
    return Shape(LLAMA_8B, vision, GrammarSpec(1 + grid**2, has_interval=False, template="proassist"))


SHAPES = {
    "8b-v1plus": Shape(LLAMA_8B, SIGLIP),
    "proassist-i10": _proassist(3),
    "proassist-i5": _proassist(2),
    "proassist-i1": _proassist(0),
    "135m": Shape(
        {
            "vocab_size": 49152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "tie_word_embeddings": True,
        },
        EFFICIENTNET,
    ),
    "tiny": Shape(
        {
            "vocab_size": 512,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
        },
        VisionSpec("timm", "test_vit", "", 160),
    ),
}
"""8b-v1plus, proassist-i…: published models. 135m: the default checkpoint. tiny: to try things out, ready in a second.
"""


def open_shape(
    name: str,
    *,
    device: torch.device,
    dtype: torch.dtype,
    attention: str = "auto",
    engine: Kind = "auto",
    weights: Weights = "dtype",
) -> VideoLM:
    """The model of that shape, ready to run, on `device` in `dtype`; its weights are random, its words mean nothing.

    engine, weights: see `make_engine`. Raises CheckpointError for a name that is not in SHAPES,
    and what `resolve_attention` and `make_engine` raise.
    """
    if name not in SHAPES:
        raise CheckpointError(f"shape {name!r}: must be one of {', '.join(SHAPES)}")
    shape = SHAPES[name]
    decoder = build_decoder(shape.decoder, device, dtype, attention)
    vision = open_vision(shape.vision, device)
    with device:
        connector = make_connector(vision.feature_width, decoder.config.hidden_size)
    vision.fold()
    vision = vision.to(device, dtype).to(memory_format=torch.channels_last)  # a sixth faster on a CPU
    connector = connector.eval().requires_grad_(False).to(dtype)
    grammar = Grammar(
        ShapeTokenizer(),
        replace(shape.grammar, eos_token="<|eot_id|>" if shape.grammar.template == "proassist" else None),
    )
    return VideoLM(
        name=f"{name}, random weights",
        engine=make_engine(decoder, grammar, device, kind=engine, weights=weights),
        encoder=make_encoder(vision, connector, kind=engine),
        grammar=grammar,
        fps=2.0,
        silence_threshold=0.725,
    )


def build_decoder(
    sizes: dict[str, Any], device: torch.device, dtype: torch.dtype, attention: str = "auto"
) -> PreTrainedModel:
    """A Llama of these sizes with random weights, made where it will run."""
    config = LlamaConfig(**sizes, max_position_embeddings=131072)
    with device:
        decoder = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=resolve_attention(attention, device)
        )
    return decoder.eval().requires_grad_(False)


class ShapeTokenizer:
    """A `model.grammar.Tokenizer` that needs no file: one token a word or mark, two for a word of over ten letters.

    So the grammar's own texts have as many tokens as in Llama-3's vocabulary. Ids stand for those texts' words and
    "a" only: every other word is one unknown token, and an id beyond them reads as one.
    """

    bos_token: str | None = "<s>"
    eos_token: str | None = "</s>"

    _SPECIAL, _UNKNOWN = ("<s>", "</s>", *PROASSIST.special_tokens), " ?"
    _PIECE = re.compile(r" ?\w{1,10}|[^\w\s]+\n*|\s")

    def __init__(self) -> None:
        texts = (
            f"{VIDEOLLM_ONLINE.system_prompt}\n\n",
            "[",
            ",",
            "]\nAssistant: a\nUser:",
            f"{PROASSIST.system_prompt}system",
            "\n\n",
        )
        words = [word for text in texts for word in self._PIECE.findall(text)]
        self._words = list(dict.fromkeys([*self._SPECIAL, self._UNKNOWN, *words]))
        self._ids = {word: index for index, word in enumerate(self._words)}

    def __len__(self) -> int:
        return len(self._words)

    def __call__(
        self, text: str, *, add_special_tokens: bool, return_offsets_mapping: bool, split_special_tokens: bool
    ) -> dict:
        """Ids and their ranges of characters; no special token is added or recognised."""
        pieces = list(self._PIECE.finditer(text))
        unknown_id = self._ids[self._UNKNOWN]
        return {
            "input_ids": [self._ids.get(piece[0], unknown_id) for piece in pieces],
            "offset_mapping": [piece.span() for piece in pieces],
        }

    def convert_tokens_to_ids(self, tokens: str) -> int:
        return self._ids[tokens]

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool = False) -> str:
        words = [self._words[index] if index < len(self) else self._UNKNOWN for index in token_ids]
        return "".join(word for word in words if not (skip_special_tokens and word in self._SPECIAL))
