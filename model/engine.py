"""Engines: how the passes of a decoder over a stream's cache are run, and pictures become frame tokens.

`PlainEngine` calls the transformers model: everywhere, and the measure of what is right. `GraphEngine` runs a
`FusedDecoder` on a GPU, each recurring size of pass as one CUDA graph over static buffers. A pass is padded to the next
usual size, or multiple of 16 rows; the cache's length is read on the device, so a graph serves a cache of any length.
The decision is made on the GPU, and one small copy comes back.

Whoever runs the streams owns the engine, and runs all streams of a model in one thread; whoever encodes owns the
encoder. They may be two threads.

Shapes: T rows of a pass, E decoder width, W wanted rows, B pictures, S their side in pixels, N tokens a frame.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from model.cache import KVRing, has_triton
from model.decoder import append, embedding, make_ring
from model.errors import CheckpointError
from model.grammar import Cursor, Grammar
from model.graphs import Recorder, Shelf
from model.vision import VisionTower
from model.world import OwnWorld

MAX_ROWS = 256
"""Rows of the largest pass of a `GraphEngine`; what is longer goes in several."""

MAX_FRAMES_PER_PASS = 16
"""Frames that are decided in one pass; so many rows of it can be wanted."""

ENCODER_SIZES = (1, 2, 4, 8, 16)
_ROW_STEP = 16
_MAX_PHRASES = 64
_WATCHED, _WANTED = 2, 3  # places in `meta`, behind those that `model.kernels` reads

Kind = Literal["auto", "graphs", "plain"]
Weights = Literal["dtype", "int8", "fp8", "int4"]
Size = tuple[int, int]
"""Rows of a pass, and how many of them are wanted."""


class Reading(NamedTuple):
    """What is predicted after one position.

    watched_prob: the probability (0–1) of the watched token. winner: the most likely one. other: the most likely one
    but for the watched.
    """

    watched_prob: float
    winner: int
    other: int


class Engine(ABC):
    """Runs the passes of one decoder.

    kind, weights: as they are asked for from `make_engine`.
    """

    kind: Kind = "plain"
    weights: Weights = "dtype"
    max_draft_tokens = MAX_FRAMES_PER_PASS - 1
    """So many words of a reply may be guessed at a time (model.draft)."""

    def __init__(self, decoder: PreTrainedModel) -> None:
        self.decoder = decoder
        self._embed = embedding(decoder)
        weight = next(self._embed.parameters())
        self.device, self.dtype, self.width = weight.device, weight.dtype, decoder.config.hidden_size
        self._phrases: dict[tuple[int, ...], Tensor] = {}

    @torch.inference_mode()
    def embed(self, ids: Sequence[int], *, keep: bool = False) -> Tensor:
        """T × E. keep: for what the grammar says again and again."""
        key = tuple(ids)
        if key in self._phrases:
            return self._phrases[key]
        embeds_TE = self._embed(torch.tensor(key, dtype=torch.long, device=self.device))
        if keep:
            while len(self._phrases) >= _MAX_PHRASES:
                self._phrases.pop(next(iter(self._phrases)))
            self._phrases[key] = embeds_TE
        return embeds_TE

    def make_cache(self, capacity: int) -> KVRing:
        """An empty cache for this decoder. Raises CheckpointError for decoders whose positions cannot be shifted."""
        return make_ring(self.decoder, capacity)

    def is_out_of_memory(self, cache: KVRing) -> bool:
        """Whether passes over this cache are slower than they could be, the GPU having no room for more."""
        return False

    @abstractmethod
    def read(self, cache: KVRing, embeds_TE: Tensor, wanted: Sequence[int], watched_id: int) -> list[Reading]:
        """Append T embeddings to the cache; what is predicted after each of the wanted rows.

        wanted: in order, at most MAX_FRAMES_PER_PASS.
        """

    def prepare(self, cache: KVRing) -> bool:
        """Make one more thing ready that will make passes over this cache faster; False if all is."""
        return False


class PlainEngine(Engine):
    """The transformers model as it is."""

    def read(self, cache: KVRing, embeds_TE: Tensor, wanted: Sequence[int], watched_id: int) -> list[Reading]:
        logits_WV = append(self.decoder, cache, embeds_TE, list(wanted))
        return read_logits(logits_WV, watched_id)


class GraphEngine(Engine):
    """A fused decoder on a GPU. usual: sizes of pass that recur, to be made ready beforehand.

    The decoder is moved to `device`, and taken over. made: see `FusedDecoder`.

    A size that has no graph runs without one the first time, and gets one the second time.
    """

    kind = "graphs"

    def __init__(
        self,
        decoder: PreTrainedModel,
        device: torch.device,
        usual: Sequence[Size],
        weights: Weights = "dtype",
        made: Mapping[str, Tensor] | None = None,
    ) -> None:
        from model.fused import FusedDecoder

        self.weights = weights
        self._fused = FusedDecoder(decoder, device, None if weights == "dtype" else weights, made)
        super().__init__(decoder)
        self._usual = sorted(set(usual))
        self._residual_TE = torch.zeros((MAX_ROWS, self.width), dtype=self.dtype, device=self.device)
        self._meta = torch.zeros(_WANTED + MAX_FRAMES_PER_PASS, dtype=torch.long, device=self.device)
        is_cuda = self.device.type == "cuda"
        self._meta_host = torch.zeros(len(self._meta), dtype=torch.long, pin_memory=is_cuda)
        self._read_host = torch.zeros((MAX_FRAMES_PER_PASS, 3), pin_memory=is_cuda)
        self._read = self._read_host.to(self.device)  # of all graphs: one of their own each would be memory that grows
        self._shelves: WeakKeyDictionary[KVRing, Shelf[Size]] = WeakKeyDictionary()
        self._recorder = Recorder(self.device, "the decoder") if is_cuda else None

    def tensors(self) -> dict[str, Tensor]:
        """What the decoder became in its format, to be kept and given back as `made`."""
        return self._fused.tensors()

    def is_out_of_memory(self, cache: KVRing) -> bool:
        return self._shelf(cache).is_out_of_memory

    def make_cache(self, capacity: int) -> KVRing:
        cache = super().make_cache(capacity)
        config = self.decoder.config
        cache.allocate(config.num_key_value_heads, self._fused.head_width, self.dtype, self.device)
        return cache

    @torch.inference_mode()
    def read(self, cache: KVRing, embeds_TE: Tensor, wanted: Sequence[int], watched_id: int) -> list[Reading]:
        assert len(wanted) <= MAX_FRAMES_PER_PASS
        readings = []
        with torch.cuda.device_of(self._meta):  # kernels run where the thread is
            for first in range(0, len(embeds_TE), MAX_ROWS):
                part = embeds_TE[first : first + MAX_ROWS]
                inside = [place - first for place in wanted if first <= place < first + len(part)]
                read = self._pass(cache, part, inside or [len(part) - 1], watched_id)
                readings += read if inside else []
        return readings

    def prepare(self, cache: KVRing) -> bool:
        """Record the graph of one more usual size; False if all of them are there, or no memory for more."""
        with torch.inference_mode(), torch.cuda.device_of(self._meta):
            self._fill_in(cache.num_tokens, 0, 0, [])  # nothing counts: the cache is left as it is
            is_more = self._shelf(cache).prepare(lambda size: self._compute(cache, size))
            if self.device.type == "cuda":
                torch.cuda.current_stream(self.device).synchronize()
        return is_more

    def _pass(self, cache: KVRing, embeds_TE: Tensor, wanted: list[int], watched_id: int) -> list[Reading]:
        start, rows = cache.num_tokens, len(embeds_TE)
        cache.set_length(start + rows)
        self._fill_in(start, rows, watched_id, wanted)
        self._residual_TE[:rows] = embeds_TE
        size = self._fit(rows, len(wanted))
        results_W3 = self._shelf(cache).run(size, lambda size: self._compute(cache, size))
        read = self._read_host[: len(wanted)]
        read.copy_(results_W3[: len(wanted)], non_blocking=True)
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        return _to_readings(read)

    def _fill_in(self, start: int, count: int, watched_id: int, wanted: list[int]) -> None:
        padded = wanted + [0] * (MAX_FRAMES_PER_PASS - len(wanted))
        self._meta_host.numpy()[:] = (start, count, watched_id, *padded)
        self._meta.copy_(self._meta_host, non_blocking=True)

    def _fit(self, rows: int, num_wanted: int) -> Size:
        """The smallest size that holds this pass."""
        wide = [size for size in self._usual if size[0] >= rows and size[1] >= num_wanted]
        padded = -(-rows // _ROW_STEP) * _ROW_STEP, 1 << (num_wanted - 1).bit_length()
        return min([*wide, padded])

    def _shelf(self, cache: KVRing) -> Shelf[Size]:
        if cache not in self._shelves:
            self._shelves[cache] = Shelf(self._recorder, self._usual)
        return self._shelves[cache]

    def _compute(self, cache: KVRing, size: Size) -> Tensor:
        rows, num_wanted = size
        wanted_W = self._meta[_WANTED : _WANTED + num_wanted]
        logits_WV = self._fused.run(cache, self._residual_TE[:rows], self._meta, wanted_W)
        read_W3 = self._read[:num_wanted]
        return read_W3.copy_(_judge(logits_WV, self._meta[_WATCHED : _WATCHED + 1]))


def read_logits(logits_WV: Tensor, watched_id: int) -> list[Reading]:
    """What is predicted by each row of logits; one transfer from the device."""
    return _to_readings(_judge(logits_WV, watched_id))


def _judge(logits_WV: Tensor, watched: Tensor | int) -> Tensor:
    """W × 3, float32, which holds ids exactly: the watched token's probability, the most likely id, the other's."""
    logits_WV = logits_WV.to(torch.float32)
    index = torch.as_tensor(watched, device=logits_WV.device).reshape(1)
    probs_W = (logits_WV.index_select(1, index)[:, 0] - logits_WV.logsumexp(-1)).exp()
    others_W = logits_WV.index_fill(1, index, float("-inf")).argmax(-1)
    return torch.stack((probs_W, logits_WV.argmax(-1).to(torch.float32), others_W.to(torch.float32)), dim=1)


def _to_readings(results_W3: Tensor) -> list[Reading]:
    return [Reading(prob, int(winner), int(other)) for prob, winner, other in results_W3.tolist()]


class Encoded(NamedTuple):
    """B pictures as frame tokens; how strange each is in the model's own world, if it knows that (`model.world`)."""

    tokens_BNE: Tensor
    strangeness_B: Tensor | None


class Encoder:
    """Pictures to frame tokens: the tower and the connector as they are."""

    def __init__(self, vision: VisionTower, connector: nn.Module, world: OwnWorld | None = None) -> None:
        self.vision, self.connector, self.world = vision, connector, world

    def __call__(self, frames_u8_B3SS: Tensor) -> Tensor:
        """uint8 → B × N × E, in the connector's dtype, on its device."""
        return self.encode(frames_u8_B3SS).tokens_BNE

    @torch.inference_mode()
    def encode(self, frames_u8_B3SS: Tensor) -> Encoded:
        """uint8 → frame tokens, and their strangeness."""
        features_BNF = self.vision(frames_u8_B3SS)
        strangeness_B = None if self.world is None else self.world.strangeness(features_BNF)
        return Encoded(self.connect(features_BNF), strangeness_B)

    def prepare(self) -> bool:
        """Make one more thing ready that will make this faster; False if all is."""
        return False

    @torch.inference_mode()
    def connect(self, features_BNF: Tensor) -> Tensor:
        """Vision features B × N × F → frame tokens B × N × E."""
        weight = next(self.connector.parameters())
        return self.connector(features_BNF.to(weight.device, weight.dtype))


class GraphEncoder(Encoder):
    """The same on a CUDA stream of its own, which the decoder does not wait for, with a graph for 1 to 16 pictures."""

    def __init__(self, vision: VisionTower, connector: nn.Module, world: OwnWorld | None = None) -> None:
        super().__init__(vision, connector, world)
        self._device = next(vision.parameters()).device
        self._stream = torch.cuda.Stream(self._device)
        self._shelf = Shelf[int](Recorder(self._device, f"the vision tower {vision.spec.name}"), ENCODER_SIZES)
        side = vision.spec.image_size
        shape = (ENCODER_SIZES[-1], 3, side, side)
        self._host = torch.zeros(shape, dtype=torch.uint8, pin_memory=True)
        self._frames = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))  # on which all of this was made

    @torch.inference_mode()
    def encode(self, frames_u8_B3SS: Tensor) -> Encoded:
        caller = torch.cuda.current_stream(self._device)
        if frames_u8_B3SS.is_cuda:
            self._stream.wait_stream(caller)
        with torch.cuda.stream(self._stream):
            packed = [self._encode(part) for part in frames_u8_B3SS.split(ENCODER_SIZES[-1])]
            joined = torch.cat(packed) if len(packed) > 1 else packed[0]
        self._stream.synchronize()
        joined.record_stream(caller)  # who drops it may still be reading it there
        if self.world is None:
            return Encoded(joined, None)
        tokens_BNE = joined[:, :-1].unflatten(1, (self.vision.spec.num_frame_tokens, -1))
        return Encoded(tokens_BNE, joined[:, -1])

    @torch.inference_mode()
    def prepare(self) -> bool:
        with torch.cuda.stream(self._stream):
            is_more = self._shelf.prepare(self._compute)
        self._stream.synchronize()
        return is_more

    def _encode(self, part: Tensor) -> Tensor:
        count = len(part)
        if part.device.type == "cpu":
            self._stream.synchronize()  # the last copy from there may still be under way
            np.copyto(self._host.numpy()[:count], part.numpy())  # in this thread: waking others takes longer
            part = self._host[:count]
        self._frames[:count].copy_(part, non_blocking=True)
        size = next(size for size in ENCODER_SIZES if size >= count)
        return self._shelf.run(size, self._compute)[:count].clone()

    def _compute(self, size: int) -> Tensor:
        """The tokens; where there is a world, all of a picture's numbers in a row, its strangeness behind them."""
        tokens_BNE, strangeness_B = super().encode(self._frames[:size])
        if strangeness_B is None:
            return tokens_BNE
        return torch.cat((tokens_BNE.flatten(1), strangeness_B[:, None].to(tokens_BNE.dtype)), dim=1)


def make_engine(
    decoder: PreTrainedModel,
    grammar: Grammar,
    device: torch.device,
    *,
    kind: Kind = "auto",
    weights: Weights = "dtype",
    made: Mapping[str, Tensor] | None = None,
) -> Engine:
    """The decoder's engine, on `device`. kind: "auto" is graphs where they can be, else plain.

    weights: how they are kept, in the decoder's dtype or in a `model.rounding.Format`; a CPU has int8 alone. made: in
    such a format, what `GraphEngine.tensors` of an equal decoder was; the decoder is its bare structure then
    (`bare_decoder`). Raises CheckpointError where graphs, or another format, which only they have, cannot be had.
    """
    check_engine(device, kind=kind, weights=weights)
    if has_graphs(device) and kind != "plain":
        from model.fused import FAMILIES, is_supported

        if is_supported(decoder):
            return GraphEngine(decoder, device, _usual_sizes(grammar), weights, made)
        if _needs_graphs(kind, weights):
            raise CheckpointError(
                f"{_asked(kind, weights)}: the decoder is a {decoder.config.model_type}; must be one of "
                f"{', '.join(FAMILIES)} with plain rotary positions, no sliding window, and weights as they are"
            )
    engine = PlainEngine(decoder.to(device))  # pyright: ignore[reportArgumentType]
    if weights == "int8":
        from model.packed import pack

        pack(decoder)
        engine.weights = weights
    return engine


def has_graphs(device: torch.device) -> bool:
    """Whether its kernels and graphs run there: on NVIDIA's GPUs, where Triton is installed (on Linux). AMD's, which
    torch calls "cuda" as well, Apple's and CPUs run the plain engine, many times slower for the same chip.
    """
    return device.type == "cuda" and torch.version.hip is None and has_triton()


def check_engine(device: torch.device, *, kind: Kind, weights: Weights) -> None:
    """Raises CheckpointError for what `make_engine` would refuse whatever the decoder."""
    asked = _asked(kind, weights)
    if weights == "int8" and kind != "graphs" and device.type == "cpu":
        return
    if weights != "dtype" and kind == "plain":
        raise CheckpointError(f"{asked}: the plain engine knows only the weights as they are; set engine to 'auto'")
    if _needs_graphs(kind, weights) and not has_graphs(device):
        named = "an AMD GPU" if device.type == "cuda" else repr(str(device))
        remedy = "take 'int8'" if device.type == "cpu" and weights != "dtype" else "leave it out"
        raise CheckpointError(f"{asked}: needs an NVIDIA GPU, and the device is {named}; {remedy}")
    if weights == "fp8" and torch.cuda.get_device_capability(device) < (8, 9):
        raise CheckpointError(f"{asked}: needs a GPU of compute capability 8.9 or more; take 'int8'")


def _needs_graphs(kind: Kind, weights: Weights) -> bool:
    return kind == "graphs" or weights != "dtype"


def _asked(kind: Kind, weights: Weights) -> str:
    return f"weights = {weights!r}" if weights != "dtype" else f"engine = {kind!r}"


def make_encoder(
    vision: VisionTower, connector: nn.Module, *, kind: Kind = "auto", world: OwnWorld | None = None
) -> Encoder:
    """The encoder of a tower and a connector that are where they are to run."""
    device = next(vision.parameters()).device
    is_fast = kind != "plain" and has_graphs(device)
    return (GraphEncoder if is_fast else Encoder)(vision, connector, world.to(device) if world else None)


def _usual_sizes(grammar: Grammar) -> list[Size]:
    """One word; 1, 2, 4, … frames, each after a silence; guessed words, and the frame after a reply."""
    step = len(grammar.before_frame(Cursor("frame"))) + grammar.spec.num_frame_tokens
    counts = [1 << power for power in range(MAX_FRAMES_PER_PASS.bit_length())]
    frames = [(count * step + len(grammar.before_decision), count) for count in counts]
    guesses = [(_ROW_STEP, count) for count in counts[:4]]
    return [size for size in ((1, 1), *frames, *guesses) if size[0] <= MAX_ROWS]
