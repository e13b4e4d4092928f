"""The KV cache of a stream that never ends: fixed memory, a kept prefix, a sliding window, rollback by length.

Owned by the one `Stream` that made it, and touched only by that stream's thread.

Keys and values lie in position order in buffers that are allocated once. Evicting a block closes the gap: what
follows is moved down and its keys are rotated by the difference, so that positions stay contiguous and within the
length that the model was trained on (the idea of StreamingLLM's attention sinks, Xiao et al. 2023, applied to whole
grammar units). A transformers `Cache`, so any causal LM with rotary embeddings in the usual half-split layout runs
on it.

Shapes: L layers, B batch (1), H KV heads, C capacity, T tokens, D head width.
"""

import weakref
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


@cache
def has_triton() -> bool:
    """Whether our kernels can be compiled: Triton comes with torch on Linux alone."""
    return find_spec("triton") is not None


class RingLayer(CacheLayerMixin):
    """Keys and values of one decoder layer, (B, H, C, D) each: views of the ring's memory.

    Its length is the cache's affair (`KVRing.num_tokens`).
    """

    is_sliding = False
    is_croppable = True

    def __init__(self, ring: "KVRing") -> None:
        super().__init__()
        self.dtype: torch.dtype | None = None
        self.device: torch.device | None = None
        self._ring = weakref.ref(ring)
        self.capacity = ring.capacity
        self.num_tokens = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        ring = self._ring()
        assert ring is not None
        ring.allocate(key_states.shape[1], key_states.shape[3], key_states.dtype, key_states.device)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append T positions (B, H, T, D) and return views of all that is kept."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        keys, values = self.buffers()
        start, stop = self.num_tokens, self.num_tokens + key_states.shape[-2]
        assert stop <= self.capacity, f"{stop} tokens in a ring of {self.capacity}: room was not made"
        keys[:, :, start:stop] = key_states
        values[:, :, start:stop] = value_states
        self.num_tokens = stop
        return keys[:, :, :stop], values[:, :, :stop]

    def buffers(self) -> tuple[Tensor, Tensor]:
        """All of this layer's memory, (B, H, C, D) each; not before it is allocated."""
        assert self.keys is not None
        assert self.values is not None
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.num_tokens + query_length, 0

    def get_seq_length(self) -> int:
        return self.num_tokens

    def get_max_length(self) -> int:
        return self.capacity

    def crop(self, tokens_to_remove: int) -> None:
        self.num_tokens -= tokens_to_remove


class KVRing(Cache):
    """The cache of one stream.

    num_layers: decoder layers. capacity: positions that are allocated, once, per layer.
    inv_freq: rotary inverse frequencies, (D_rotary / 2), as the decoder uses them.
    """

    def __init__(self, num_layers: int, capacity: int, inv_freq: Tensor) -> None:
        self.capacity = capacity
        self.rings = [RingLayer(self) for _ in range(num_layers)]
        super().__init__(layers=list(self.rings))
        self._inv_freq = inv_freq.detach().to(torch.float32)
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    def allocate(self, num_heads: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
        """Take the memory of all layers, for KV heads of `width` channels; the first token does it, if nobody did."""
        shape = (len(self.rings), 1, num_heads, self.capacity, width)
        self._keys, self._values = (torch.zeros(shape, dtype=dtype, device=device) for _ in range(2))
        for index, ring in enumerate(self.rings):
            ring.dtype, ring.device = dtype, device
            ring.keys, ring.values = self._keys[index], self._values[index]
            ring.is_initialized = True
        if self._has_kernel:
            self._close_gap(0, 0, 0)  # compiles what will be needed when the window is full, long after

    def buffers(self) -> tuple[Tensor, Tensor]:
        """All of the keys' and values' memory, (L, B, H, C, D) each; not before it is allocated."""
        assert self._keys is not None
        assert self._values is not None
        return self._keys, self._values

    @property
    def num_tokens(self) -> int:
        """Positions in use."""
        return self.rings[0].num_tokens

    @property
    def free(self) -> int:
        """Positions that can still be appended without evicting."""
        return self.capacity - self.num_tokens

    @property
    def num_bytes(self) -> int:
        """Memory of the buffers, 0 before they are allocated."""
        return sum(buffer.nbytes for buffer in (self._keys, self._values) if buffer is not None)

    def rollback(self, num_tokens: int) -> None:
        """Forget everything after the first `num_tokens` positions."""
        assert 0 <= num_tokens <= self.num_tokens
        self.set_length(num_tokens)

    def set_length(self, num_tokens: int) -> None:
        """Say how many positions are in use; whoever writes into the buffers directly does so."""
        assert 0 <= num_tokens <= self.capacity, f"{num_tokens} tokens in a ring of {self.capacity}: room was not made"
        for ring in self.rings:
            ring.num_tokens = num_tokens

    @torch.inference_mode()
    def evict(self, start: int, stop: int) -> None:
        """Remove positions [start, stop) and close the gap: later keys are rotated to their new positions."""
        end = self.num_tokens
        assert 0 <= start <= stop <= end
        if start < stop:
            self._close_gap(start, stop, end)
            self.set_length(end - (stop - start))

    def _close_gap(self, start: int, stop: int, end: int) -> None:
        cos_D, sin_D = self._rotation(start - stop)
        if self._has_kernel:
            from model.kernels import move_down

            keys_LBHCD, values_LBHCD = self.buffers()
            with torch.cuda.device_of(keys_LBHCD):  # kernels run where the thread is
                move_down(keys_LBHCD[:, 0], values_LBHCD[:, 0], cos_D, sin_D, start, stop, end)
            return
        to = start + end - stop
        for ring in self.rings:
            keys, values = ring.buffers()
            keys[:, :, start:to] = _rotate(keys[:, :, stop:end], cos_D, sin_D)
            values[:, :, start:to] = values[:, :, stop:end].clone()

    @property
    def _has_kernel(self) -> bool:
        """Whether all of it lies on a GPU that Triton knows, and keys are rotated in their whole width."""
        if self._keys is None or self._keys.shape[-1] != 2 * len(self._inv_freq):
            return False
        return self._keys.is_cuda and has_triton()

    def export(self) -> dict[str, Tensor]:
        """Copies of what is kept, by name, for saving."""
        if self._keys is None:
            return {}
        return {
            f"{name}.{index}": tensor[:, :, : self.num_tokens].clone().contiguous()
            for name, layers in zip(("keys", "values"), self.buffers(), strict=True)
            for index, tensor in enumerate(layers)
        }

    @torch.inference_mode()
    def restore(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        """Take over what `export` gave, replacing whatever is in the ring."""
        for index, ring in enumerate(self.rings):
            ring.num_tokens = 0
            if f"keys.{index}" in tensors:
                ring.update(tensors[f"keys.{index}"].to(device), tensors[f"values.{index}"].to(device))

    def _rotation(self, delta: int) -> tuple[Tensor, Tensor]:
        angles = delta * torch.cat((self._inv_freq, self._inv_freq))
        return angles.cos(), angles.sin()


def _rotate(keys_BHTD: Tensor, cos_R: Tensor, sin_R: Tensor) -> Tensor:
    """Rotate the first R of D key channels by one angle each; computed in float32, returned in the keys' dtype."""
    width = cos_R.shape[0]
    turned = keys_BHTD[..., :width].to(torch.float32)
    low, high = turned.chunk(2, dim=-1)
    turned = turned * cos_R + torch.cat((-high, low), dim=-1) * sin_R
    return torch.cat((turned.to(keys_BHTD.dtype), keys_BHTD[..., width:]), dim=-1)
