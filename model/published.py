"""The published checkpoints that are known by name: facts only, and what of them fits into a GPU's memory.

Sizes are about what they are: before a download the hub says them exactly. Memory was measured for VideoLLM-online's
shape (`onlooker bench --shape 8b-v1plus`); ProAssist's has the same decoder and a larger tower.
"""

from collections.abc import Mapping
from dataclasses import dataclass

GIB = 1 << 30
WINDOWS = (8192, 4096, 2048)
"""Sizes of window that are proposed, in tokens, the largest that fits first."""

WORKING_BYTES = int(1.6 * GIB)
"""Left for the passes themselves, their graphs and the driver: so much an H200 took, its memory limited to 8 to 16 GiB.
"""


@dataclass(frozen=True)
class Published:
    """A checkpoint on the model hub, under a name of ours.

    repository: of the adapter. base, vision: the repositories of the decoder and the tower under it. gated: those whose
    licence has to be accepted on their page first. download_bytes: of all three. memory_bytes: on a GPU with the model
    open, by `model.weights`. window_bytes: of the cache, a token. max_window: positions that it was trained on.
    """

    name: str
    good_at: str
    repository: str
    base: str
    vision: str
    licence: str
    download_bytes: int
    memory_bytes: Mapping[str, int]
    gated: tuple[str, ...] = ()
    window_bytes: int = 32 * 2 * 8 * 128 * 2  # layers, keys and values, heads, width of one, bytes of a number
    max_window: int = 8192
    fps: float = 2.0
    is_recommended: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """Its repositories, in the order in which they are fetched: small ones first, so that a refusal comes early."""
        return (self.repository, self.vision, self.base)


@dataclass(frozen=True)
class Fit:
    """How a checkpoint runs in a GPU's memory: how its weights are kept, and with which window, in tokens."""

    weights: str
    window_tokens: int


def fit(checkpoint: Published, total_bytes: int) -> Fit | None:
    """The best that a GPU of this much memory can hold; None if it holds it in no format.

    Weights as they are before 8 bits before 4, and then the largest window for which room is left.
    """
    for weights, taken_bytes in checkpoint.memory_bytes.items():
        room = total_bytes - taken_bytes - WORKING_BYTES
        for window in WINDOWS:
            if window <= checkpoint.max_window and window * checkpoint.window_bytes <= room:
                return Fit(weights, window)
    return None


_LLAMA_3 = "meta-llama/Meta-Llama-3-8B-Instruct"
_LLAMA_31 = "meta-llama/Meta-Llama-3.1-8B-Instruct"
_SO400M = "google/siglip-so400m-patch14-384"
_V1PLUS_BYTES = {"dtype": int(15.6 * GIB), "int8": int(8.6 * GIB), "int4": int(5.5 * GIB)}
_LARGER_TOWER_BYTES = 2 * 112_000_000  # so400m against L, bfloat16


def _proassist(tokens: int, good_at: str) -> Published:
    return Published(
        name=f"proassist-i{tokens}",
        good_at=good_at,
        repository=f"594zyc/ProAssist-Model-L4096-I{tokens}",
        base=_LLAMA_31,
        vision=_SO400M,
        licence="Llama 3.1",
        gated=(_LLAMA_31,),
        download_bytes=22 * 10**9,
        memory_bytes={weights: size + _LARGER_TOWER_BYTES for weights, size in _V1PLUS_BYTES.items()},
        max_window=4096,
    )


PUBLISHED: Mapping[str, Published] = {
    checkpoint.name: checkpoint
    for checkpoint in (
        Published(
            name="videollm-online-8b-v1plus",
            good_at="narrates what the wearer does, answers questions about it (trained on Ego4D)",
            repository="chenjoya/videollm-online-8b-v1plus",
            base=_LLAMA_3,
            vision="google/siglip-large-patch16-384",
            licence="Llama 3",
            gated=(_LLAMA_3,),
            download_bytes=21 * 10**9,
            memory_bytes=_V1PLUS_BYTES,
            is_recommended=True,
        ),
        _proassist(10, "guides through a task step by step, in most detail (10 tokens a frame)"),
        _proassist(5, "guides through a task step by step (5 tokens a frame)"),
        _proassist(1, "guides through a task step by step, over the longest time (1 token a frame)"),
    )
}
"""By name. All narrate or guide a person whose eyes the camera stands for."""
