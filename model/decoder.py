"""The decoder: any causal language model of transformers, read through the few things a stream needs of it."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils.import_utils import is_flash_attn_2_available

from model.attention import register
from model.cache import KVRing
from model.errors import CheckpointError, MissingDependency
from model.tensors import first_few, first_line

FLASH_ATTENTION = "pip install flash-attn --no-build-isolation"
"""Builds it, where there is no ready wheel for this torch: that takes the CUDA compiler of torch's own CUDA version."""
ATTENTIONS = ("auto", "sdpa", "eager", "flash_attention_2")


def resolve_attention(attention: str, device: torch.device) -> str:
    """The attention implementation to ask transformers for.

    "auto" takes flash-attn on a GPU that has it installed, else SDPA; SDPA is our own (model.attention). Raises
    MissingDependency when flash_attention_2 is asked for and cannot run, CheckpointError for an unknown name.
    """
    if attention not in ATTENTIONS:
        raise CheckpointError(f"attention = {attention!r}: must be one of {', '.join(ATTENTIONS)}")
    if attention == "auto":
        attention = "flash_attention_2" if device.type == "cuda" and is_flash_attn_2_available() else "sdpa"
    if attention == "sdpa":
        return register()
    if attention == "flash_attention_2" and not (device.type == "cuda" and is_flash_attn_2_available()):
        raise MissingDependency(
            "attention = 'flash_attention_2': needs an NVIDIA GPU and the package flash-attn, and this machine has "
            f"not both; install it ({FLASH_ATTENTION}) or set attention to 'sdpa'"
        )
    return attention


def open_decoder(
    path: str | Path, *, dtype: torch.dtype, attention: str, device: torch.device | None = None
) -> PreTrainedModel:
    """A causal LM from a folder or a hub name, frozen, in evaluation mode, read straight to `device` (the CPU).

    Raises CheckpointError if it cannot be read, or some of its tensors are not there: transformers would make them up.
    """
    try:
        decoder, found = AutoModelForCausalLM.from_pretrained(  # type: ignore[misc]
            path,
            dtype=dtype,
            attn_implementation=attention,
            device_map={"": device} if device else None,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, torch.OutOfMemoryError) or "CUDA" in str(error):
            raise
        raise CheckpointError(f"decoder {str(path)!r}: cannot be loaded: {first_line(error)}") from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise CheckpointError(
            f"decoder {str(path)!r}: {len(missing)} of its tensors are missing: {first_few(missing)}; get it again"
        )
    return decoder.eval().requires_grad_(False)


def bare_decoder(path: str | Path, *, dtype: torch.dtype) -> PreTrainedModel:
    """The structure of the causal LM in a folder, without weights (on the meta device). Raises CheckpointError."""
    try:
        config = AutoConfig.from_pretrained(path)
        with torch.device("meta"):
            decoder = AutoModelForCausalLM.from_config(config, dtype=dtype)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"decoder {str(path)!r}: cannot be loaded: {first_line(error)}") from error
    return decoder.eval().requires_grad_(False)


def tied_names(decoder: nn.Module) -> set[str]:
    """Names of parameters that are another one's, too: files may hold them once."""
    seen: set[int] = set()
    tied = set()
    for name, parameter in decoder.named_parameters(remove_duplicate=False):
        if id(parameter) in seen:
            tied.add(name)
        seen.add(id(parameter))
    return tied


def make_ring(decoder: PreTrainedModel, capacity: int) -> KVRing:
    """A KV ring that fits `decoder`. Raises CheckpointError for decoders whose positions cannot be shifted."""
    frequencies = [buffer for name, buffer in decoder.named_buffers() if name.endswith("rotary_emb.inv_freq")]
    if not frequencies:
        raise CheckpointError(
            f"{decoder.config.model_type}: has no rotary position embedding, so its cache cannot slide; "
            "choose a decoder such as Llama, Qwen, Mistral or SmolLM"
        )
    rope_type = (getattr(decoder.config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope_type in ("dynamic", "longrope"):
        raise CheckpointError(
            f"{decoder.config.model_type}: its {rope_type} rotary scaling changes with the length, so that its "
            "cache cannot slide; choose a decoder with default, linear, llama3 or yarn scaling"
        )
    return KVRing(decoder.config.num_hidden_layers, capacity, frequencies[0])


@torch.inference_mode()
def append(decoder: PreTrainedModel, cache: KVRing, embeds_TD: Tensor, wanted: list[int]) -> Tensor:
    """Append T embeddings to the cache and return the logits at the `wanted` offsets, (len(wanted), vocabulary).

    Only the wanted positions go through the language-model head. Logits come back in float32.
    """
    positions = torch.arange(cache.num_tokens, cache.num_tokens + embeds_TD.shape[0], device=embeds_TD.device)
    output = decoder(
        inputs_embeds=embeds_TD[None],
        position_ids=positions[None],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=torch.tensor(wanted, device=embeds_TD.device),
    )
    return output.logits[0].to(torch.float32)


def embedding(decoder: PreTrainedModel) -> nn.Module:
    """The decoder's token embedding, ids → vectors of its hidden width."""
    return decoder.get_input_embeddings()
