"""A Llama-like decoder as few kernels: the weights of a transformers model, run over a KV ring on a GPU.

The projections of queries, keys and values are one matrix product, and so are gate and up; what lies between is
`model.kernels`. The transformers model stays usable: its weights become views of the joined ones.

Shapes: T rows of a pass, E decoder width, W wanted rows, V vocabulary, C cache capacity, D head width.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from model import kernels
from model.cache import KVRing
from model.errors import CheckpointError
from model.quantized import QuantizedLinear
from model.rounding import Format

FAMILIES = ("llama", "mistral", "qwen2")
"""Model types of transformers whose layers are norm, attention, norm, gated SiLU, and nothing else."""


def is_supported(decoder: PreTrainedModel) -> bool:
    """Whether `FusedDecoder` computes what this decoder computes."""
    config = decoder.config
    rope_type = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    return (
        config.model_type in FAMILIES
        and config.hidden_act == "silu"
        and not (getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True))
        and rope_type in ("default", "linear", "llama3", "yarn")
        and _head_width(decoder) % 2 == 0
        and all(type(part) is nn.Linear for part in _projections(decoder))  # not of a hub's quantized weights
    )


def _projections(decoder: PreTrainedModel) -> list[Any]:
    return [part for layer in decoder.model.layers for part in layer.modules() if hasattr(part, "in_features")]


def _head_width(decoder: PreTrainedModel) -> int:
    """Channels of one attention head."""
    config = decoder.config
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


@dataclass(frozen=True)
class _Layer:
    attention_norm: Tensor
    qkv: nn.Module
    out: nn.Module
    mlp_norm: Tensor
    gate_up: nn.Module
    down: nn.Module

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Each field's name and value."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))


class FusedDecoder:
    """One decoder's weights on a GPU, and how to run them. The model is taken over and moved there, layer by layer.

    weight_format: None keeps the weights as they are, and the transformers model usable; in another format (see
    `model.rounding`) they are kept here alone, and the head is int8 at the coarsest, if it is not the embedding too.
    made: what `tensors` of an equal decoder in that format was, on the device; the model is its bare structure then, on
    the meta device. Raises CheckpointError if one is missing.
    """

    def __init__(
        self,
        decoder: PreTrainedModel,
        device: torch.device,
        weight_format: Format | None = None,
        made: Mapping[str, Tensor] | None = None,
    ) -> None:
        model, config = decoder.model, decoder.config
        self._head: Any = decoder.get_output_embeddings()
        if made is not None:
            assert weight_format
            self._layers, self._head = _restore(decoder, device, weight_format, made)
        else:
            self._layers = [_fuse_layer(layer.to(device), weight_format) for layer in model.layers]
            if device.type == "cuda":
                torch.cuda.empty_cache()  # the parts that were joined lie in pieces too small to be used again
            decoder.to(device)  # pyright: ignore[reportArgumentType]
            if weight_format and not _is_tied(decoder):
                self._head = _convert(self._head, _head_format(weight_format))
        self._norm, self._embedding = model.norm, decoder.get_input_embeddings()
        self._eps = config.rms_norm_eps
        self._rotary = model.rotary_emb
        self.head_width = _head_width(decoder)
        self._scale = self.head_width**-0.5
        self._query_width = config.num_attention_heads * self.head_width
        self.dtype, self.device = self._norm.weight.dtype, device
        properties = torch.cuda.get_device_properties(self.device) if self.device.type == "cuda" else None
        self._num_programs = 2 * properties.multi_processor_count if properties else 1
        self._tables: WeakKeyDictionary[KVRing, tuple[Tensor, Tensor]] = WeakKeyDictionary()

    def tensors(self) -> dict[str, Tensor]:
        """All that a decoder in a format of `model.rounding` is made of, by names of its own."""
        found = {"embedding": self._embedding.weight, "norm": self._norm.weight}
        if self._head.weight is not self._embedding.weight:
            found |= {f"head.{name}": tensor for name, tensor in self._head.state_dict().items()}
        for number, layer in enumerate(self._layers):
            for name, part in layer.parts():
                tensors = {"weight": part} if isinstance(part, Tensor) else part.state_dict()
                found |= {f"{number}.{name}.{key}": tensor for key, tensor in tensors.items()}
        return {name: tensor.detach() for name, tensor in found.items()}

    def run(self, cache: KVRing, residual_TE: Tensor, meta: Tensor, wanted_W: Tensor) -> Tensor:
        """Append T embeddings to the cache and return the logits of the wanted rows, W × V, in the model's dtype.

        residual_TE is used up. meta: see `model.kernels`; the cache's own length is not looked at and not changed.
        """
        rows = len(residual_TE)
        cos_CD, sin_CD = self._table(cache)
        keys, values = cache.buffers()
        normed, update = torch.empty_like(residual_TE), None
        mixed = torch.empty((rows, self._query_width), dtype=self.dtype, device=self.device)
        for index, layer in enumerate(self._layers):
            kernels.add_rms_norm(update, residual_TE, layer.attention_norm, self._eps, normed)
            qkv = layer.qkv(normed)
            layer_keys, layer_values = keys[index, 0], values[index, 0]
            kernels.rotate_and_store(qkv, cos_CD, sin_CD, meta, layer_keys, layer_values)
            kernels.attend(qkv, layer_keys, layer_values, meta, self._scale, self._num_programs, mixed)
            kernels.add_rms_norm(layer.out(mixed), residual_TE, layer.mlp_norm, self._eps, normed)
            gate_up = layer.gate_up(normed)
            gated = gate_up.new_empty((rows, gate_up.shape[1] // 2))
            kernels.silu_and_multiply(gate_up, gated)
            update = layer.down(gated)
        residual_WE, update_WE = residual_TE[wanted_W], update[wanted_W] if update is not None else None
        normed_WE = torch.empty_like(residual_WE)
        kernels.add_rms_norm(update_WE, residual_WE, self._norm.weight, self._eps, normed_WE)
        return self._head(normed_WE)

    def _table(self, cache: KVRing) -> tuple[Tensor, Tensor]:
        """Cosines and sines by position, C × D, as the model's own rotary embedding gives them.

        They live as long as the cache, for its graphs have their address; its first pass, which is none, makes them.
        """
        if cache not in self._tables:
            probe = torch.empty(0, dtype=self.dtype, device=self.device)
            cos, sin = self._rotary(probe, torch.arange(cache.capacity, device=self.device)[None])
            self._tables[cache] = cos[0].contiguous(), sin[0].contiguous()
        return self._tables[cache]


def _fuse_layer(layer: Any, weight_format: Format | None) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    joined = {
        "qkv": _join(attention.q_proj, attention.k_proj, attention.v_proj),
        "out": attention.o_proj,
        "gate_up": _join(mlp.gate_proj, mlp.up_proj),
        "down": mlp.down_proj,
    }
    if weight_format:
        joined = {name: _convert(linear, weight_format) for name, linear in joined.items()}
        for part in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj):
            _empty(part)
    return _Layer(layer.input_layernorm.weight, joined["qkv"], joined["out"], layer.post_attention_layernorm.weight,
                  joined["gate_up"], joined["down"])  # fmt: skip


def _restore(
    decoder: PreTrainedModel, device: torch.device, weight_format: Format, made: Mapping[str, Tensor]
) -> tuple[list[_Layer], nn.Module]:
    """The layers and the head; the decoder gets what else it is asked for: embedding, norms, rotary frequencies."""
    model, embedding = decoder.model, decoder.get_input_embeddings()
    head: Any = decoder.get_output_embeddings()

    def linear(name: str, linear_format: Format = weight_format) -> QuantizedLinear:
        weight, scales = made[f"{name}.weight"], made[f"{name}.scales"]
        return QuantizedLinear(weight, scales, made.get(f"{name}.bias"), linear_format)

    try:
        is_tied = _is_tied(decoder)
        embedding.weight, model.norm.weight = _fixed(made["embedding"]), _fixed(made["norm"])
        layers = []
        for number, layer in enumerate(model.layers):
            layer.input_layernorm.weight = _fixed(made[f"{number}.attention_norm.weight"])
            layer.post_attention_layernorm.weight = _fixed(made[f"{number}.mlp_norm.weight"])
            linears = {name: linear(f"{number}.{name}") for name in ("qkv", "out", "gate_up", "down")}
            norms = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
            layers.append(
                _Layer(norms[0], linears["qkv"], linears["out"], norms[1], linears["gate_up"], linears["down"])
            )
        if is_tied:
            head.weight = embedding.weight
        else:
            _empty(head)
            head = linear("head", _head_format(weight_format))
    except KeyError as error:
        raise CheckpointError(f"lacks {error.args[0]}") from error
    for part in _projections(decoder):
        _empty(part)
    model.rotary_emb = type(model.rotary_emb)(config=decoder.config).to(device)
    return layers, head


def _fixed(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)


def _is_tied(decoder: PreTrainedModel) -> bool:
    """Whether the head is the embedding too."""
    head: Any = decoder.get_output_embeddings()
    return head.weight is decoder.get_input_embeddings().weight


def _head_format(weight_format: Format) -> Format:
    return "int8" if weight_format == "int4" else weight_format


def _convert(linear: nn.Linear, weight_format: Format) -> nn.Module:
    converted = QuantizedLinear.of(linear, weight_format)
    _empty(linear)
    return converted


def _empty(linear: nn.Linear) -> None:
    """Let the weights go. The layer keeps its sizes, and cannot compute any more."""
    linear.weight = nn.Parameter(linear.weight.new_empty(0), requires_grad=False)


def _join(*parts: nn.Linear) -> nn.Linear:
    """One product that gives the outputs of all parts side by side; the parts become views of its weights."""
    weight = torch.cat([part.weight for part in parts])
    joined = nn.Linear(weight.shape[1], weight.shape[0], bias=parts[0].bias is not None, device="meta")
    joined.weight = nn.Parameter(weight, requires_grad=False)
    if parts[0].bias is not None:
        joined.bias = nn.Parameter(torch.cat([part.bias for part in parts]), requires_grad=False)
    for part, rows in zip(parts, weight.split([part.out_features for part in parts]), strict=True):
        part.weight = nn.Parameter(rows, requires_grad=False)
    return joined
