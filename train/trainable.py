"""What a fit trains: a decoder, perhaps with adapters, and a connector, from a batch of dialogues to its loss.

Shapes: B dialogues, T tokens, L learned positions, D decoder width, V vocabulary.
"""

from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from peft import PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from model.checkpoint import LoraSpec
from model.grammar import Grammar
from train.objective import cross_entropies, embed_dialogues, summed_loss
from train.recipe import ObjectivePart
from train.samples import Batch

CAUSAL_SDPA = "causal_sdpa"


class StreamingModel(nn.Module):
    """Decoder and connector, from a batch to its summed loss."""

    def __init__(self, decoder: nn.Module, connector: nn.Module, grammar: Grammar, objective: ObjectivePart) -> None:
        super().__init__()
        self.decoder = decoder
        self.connector = connector
        self._placeholder_id, self._silence_id = grammar.placeholder_id, grammar.silence_id
        self._objective = objective

    @property
    def causal(self) -> Any:
        """The decoder without what PEFT puts around it."""
        return self.decoder.get_base_model() if isinstance(self.decoder, PeftModel) else self.decoder

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The sum of the weighted losses, the number of positions it stands for, and plain sums: of words, decisions.

        Only learned positions go through the head. Nothing in here waits for the GPU.
        """
        causal = self.causal
        embeds_BTD = embed_dialogues(
            causal,
            self.connector,
            batch.input_ids_BT,
            [batch.features_MNF],
            self._placeholder_id,
            batch.frame_tokens_P,
        )
        hidden_BTD = causal.base_model(inputs_embeds=embeds_BTD, use_cache=False).last_hidden_state
        logits_LV = causal.get_output_embeddings()(hidden_BTD.flatten(0, 1).index_select(0, batch.learned_L))
        labels_L = batch.labels_BT.flatten().index_select(0, batch.learned_L)
        decides_L = batch.decides_BT.flatten().index_select(0, batch.learned_L)
        losses_L = cross_entropies(logits_LV, labels_L)
        is_silence_L = labels_L == self._silence_id
        total, count = summed_loss(losses_L, is_silence_L, decides_L, batch.num_decisions, self._objective)
        plain_L = losses_L.detach()
        decisions = (plain_L * decides_L).sum()
        return total, count, torch.stack((plain_L.sum() - decisions, decisions))


def make_trainable(
    decoder: PreTrainedModel,
    connector: nn.Module,
    lora: LoraSpec | None,
    grammar: Grammar,
    objective: ObjectivePart,
    accelerator: Accelerator,
    gradient_checkpointing: bool,
) -> StreamingModel:
    """Decoder, with adapters if `lora` says so, and connector, on the accelerator's device, in training mode.

    What is trained is float32. Frozen weights are as small as the precision.
    """
    # Frozen weights can be small; where they are sharded, all must be of one type.
    is_small = accelerator.mixed_precision == "bf16" and lora and accelerator.distributed_type != DistributedType.FSDP
    decoder.to(accelerator.device, torch.bfloat16 if is_small else torch.float32)  # pyright: ignore[reportArgumentType]
    _let_attention_run(decoder)
    if gradient_checkpointing:
        decoder.gradient_checkpointing_enable({"use_reentrant": False})
    adapted: nn.Module = get_peft_model(decoder, lora.to_peft()) if lora else decoder.requires_grad_(True)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    layers: list[Any] = [module for module in adapted.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:  # autocast casts as it must; PEFT would widen every activation first
        layer.cast_input_dtype_enabled = False
    connector.to(accelerator.device, torch.float32).requires_grad_(True)
    return StreamingModel(adapted, connector, grammar, objective).to(accelerator.device).train()


def _let_attention_run(decoder: PreTrainedModel) -> None:
    """Attention without masks: dialogues are padded at their ends only, so causal is all that it has to be.

    transformers finds that out by itself, but asks the GPU in every step and waits for its answer. A name under which
    it knows no mask keeps it from asking. Sliding windows need their masks.
    """
    if getattr(decoder.config, "sliding_window", None) is None and decoder.config._attn_implementation == "sdpa":
        ALL_ATTENTION_FUNCTIONS.register(CAUSAL_SDPA, sdpa_attention_forward)
        decoder.set_attn_implementation(CAUSAL_SDPA)


def compile_layers(model: StreamingModel, *, backend: str = "inductor") -> None:
    """Fuse the operations of each of the decoder's layers (torch.compile), in place and under the same names.

    Layers are alike, so that all share what is compiled for one, and lengths may vary.
    """
    for layer in model.causal.base_model.layers:
        layer.compile(dynamic=True, backend=backend)
