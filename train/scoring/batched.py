"""One decoder pass for many streams: a KV buffer of many rows, each as long as its own stream.

What is new in a row stands at the right end of the pass, so that every row's last logits are the last column; what
stands left of it is padding, whose keys go to a spare position that nobody reads. A row is cut by saying that it is
shorter, and its block is evicted as a lone stream's is (`model.cache`). Owned by the one run that made it.

Shapes: B rows, T tokens of a pass, S positions that a pass reads, C positions allocated, H KV heads, D head or decoder
width, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

from model.decoder import make_ring

SPAN_STEP = 64
"""Passes read a multiple of this many positions: few distinct shapes, and aligned ones."""


@dataclass
class Place:
    """Where a pass writes (flat positions, B·T) and how far it reads; one object, which all layers share."""

    slots: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    span: int = 0


class RowsLayer(CacheLayerMixin):
    """Keys and values of one decoder layer, B rows of C positions. Memory lies B×C×H×D, read as B×H×C×D."""

    is_sliding = False

    def __init__(self, place: Place, num_rows: int, num_slots: int) -> None:
        super().__init__()
        self._place = place
        self._shape = (num_rows, num_slots)
        self._flat: tuple[Tensor, Tensor] | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        def buffer(states: Tensor) -> Tensor:
            _, heads, _, width = states.shape
            return torch.zeros((*self._shape, heads, width), dtype=states.dtype, device=states.device)

        self.dtype, self.device = key_states.dtype, key_states.device
        keys, values = buffer(key_states), buffer(value_states)
        self._flat = keys.flatten(0, 1), values.flatten(0, 1)
        self.keys, self.values = keys.transpose(1, 2), values.transpose(1, 2)
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write B×H×T×D at the pass's place and return views of all rows as far as the pass reads."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self._flat is not None
        for flat, states in zip(self._flat, (key_states, value_states), strict=True):
            flat.index_copy_(0, self._place.slots, states.transpose(1, 2).flatten(0, 1))
        keys, values = self.buffers()
        return keys[:, :, : self._place.span], values[:, :, : self._place.span]

    def buffers(self) -> tuple[Tensor, Tensor]:
        """All of the keys' and values' memory, B×H×C×D each; not before the first pass."""
        assert self.keys is not None
        assert self.values is not None
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._place.span, 0

    def get_seq_length(self) -> int:
        return self._place.span

    def get_max_length(self) -> int:
        return self._shape[1]


class RowsCache(Cache):
    """The caches of `num_rows` streams of up to `capacity` positions each. How long a row is, its owner says.

    Raises CheckpointError for decoders whose positions cannot be shifted.
    """

    def __init__(self, decoder: PreTrainedModel, num_rows: int, capacity: int) -> None:
        self._ring = make_ring(decoder, capacity)
        self._place = Place()
        self.num_slots = _round_up(capacity + 1)  # the last one is the spare
        self.rows = [RowsLayer(self._place, num_rows, self.num_slots) for _ in self._ring.rings]
        super().__init__(layers=list(self.rows))
        self.capacity = capacity

    def aim(self, positions_BT: Tensor, is_real_BT: Tensor, span: int) -> None:
        """Say where the next pass writes, and that it reads the first `span` positions."""
        row_starts_B1 = torch.arange(len(positions_BT), device=positions_BT.device)[:, None] * self.num_slots
        slots_BT = torch.where(is_real_BT, positions_BT, self.num_slots - 1)
        self._place.slots, self._place.span = (row_starts_B1 + slots_BT).flatten(), span

    def evict(self, row: int, num_tokens: int, start: int, stop: int) -> None:
        """Remove positions [start, stop) of a row that is `num_tokens` long and close the gap."""
        for ring, layer in zip(self._ring.rings, self.rows, strict=True):
            keys, values = layer.buffers()
            ring.keys, ring.values = keys[row : row + 1], values[row : row + 1]
            ring.num_tokens, ring.is_initialized = num_tokens, True
        self._ring.evict(start, stop)


@torch.inference_mode()
def append_rows(
    decoder: PreTrainedModel, cache: RowsCache, embeds_BTD: Tensor, starts: Sequence[int], counts: Sequence[int]
) -> Tensor:
    """Append the last counts[b] of T embeddings to row b, which is starts[b] long; logits after the last, B×V, float32.

    The decoder must compute its attention by SDPA: it gets a Boolean mask, B×1×T×S. A row of count 0 is left as it is,
    and its logits mean nothing.
    """
    device, width = embeds_BTD.device, embeds_BTD.shape[1]
    longest = max(start + count for start, count in zip(starts, counts, strict=True))
    assert longest <= cache.capacity, f"{longest} tokens in a row of {cache.capacity}: room was not made"
    span = min(_round_up(longest), cache.num_slots)
    starts_B1, counts_B1 = torch.tensor([list(starts), list(counts)], device=device)[..., None]
    positions_BT = starts_B1 + counts_B1 - width + torch.arange(width, device=device)
    is_real_BT = positions_BT >= starts_B1
    positions_BT = positions_BT.clamp(min=0)  # padding before the start looks at the first position, not at nothing
    cache.aim(positions_BT, is_real_BT, span)
    mask_BTS = torch.arange(span, device=device) <= positions_BT[..., None]
    output = decoder(
        inputs_embeds=embeds_BTD,
        attention_mask=mask_BTS[:, None],
        position_ids=positions_BT,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return output.logits[:, -1].to(torch.float32)


def _round_up(count: int) -> int:
    return -(-count // SPAN_STEP) * SPAN_STEP
