"""The streaming fit: LoRA and connector on dialogues over frozen features (VideoLLM-online, section 3.4)."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel

from model.checkpoint import LoraSpec
from model.grammar import IGNORE_ID, Grammar
from train.objective import embed_dialogues, streaming_loss
from train.recipe import FitPart
from train.samples import Batch, Sampler


@dataclass(frozen=True)
class Fitted:
    """What a fit gives. losses: one a step."""

    connector: dict[str, Tensor]
    lora: dict[str, Tensor]
    losses: list[float]
    tokens_per_s: float


def fit(
    decoder: PreTrainedModel,
    connector: nn.Module,
    lora: LoraSpec,
    grammar: Grammar,
    sampler: Sampler,
    part: FitPart,
    *,
    device: torch.device,
) -> Fitted:
    """Train adapters on `decoder` and the whole `connector`; stops at part.steps or part.max_seconds.

    The decoder's own weights stay as they are (bfloat16 on a GPU); adapters and connector are float32.
    """
    torch.manual_seed(part.seed)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    decoder.to(device, dtype)  # pyright: ignore[reportArgumentType]
    adapted = get_peft_model(decoder, lora.to_peft())
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    connector.to(device, torch.float32).requires_grad_(True).train()
    adapted.train()
    optimizer = _make_optimizer(adapted, connector, part)
    losses: list[float] = []
    num_tokens, started_s = 0, time.monotonic()
    with tqdm(total=part.steps, desc="fit", unit="step") as bar:
        for step in scheduled_steps(optimizer, part.steps, part.max_seconds, part.warmup_share):
            batch = sampler.batch(step)
            loss = batch_loss(adapted, connector, batch, grammar, part.tau, device)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], part.max_grad_norm)
            optimizer.step()
            num_tokens += batch.num_tokens
            losses.append(float(loss.detach()))
            bar.set_postfix(loss=f"{losses[-1]:.3f}")
            bar.update()
    adapted.eval()
    connector.eval()
    return Fitted(
        {name: tensor.detach().cpu() for name, tensor in connector.state_dict().items()},
        {name: tensor.detach().cpu() for name, tensor in get_peft_model_state_dict(adapted).items()},
        losses,
        num_tokens / (time.monotonic() - started_s),
    )


def batch_loss(
    adapted: PeftModel | PreTrainedModel,
    connector: nn.Module,
    batch: Batch,
    grammar: Grammar,
    tau: float,
    device: torch.device,
) -> Tensor:
    """The streaming loss of one batch. Only labelled positions go through the language-model head."""
    ids_BT, labels_BT = batch.input_ids_BT.to(device), batch.labels_BT.to(device)
    base: Any = adapted.get_base_model() if isinstance(adapted, PeftModel) else adapted
    is_learned_BT = labels_BT != IGNORE_ID
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        embeds_BTD = embed_dialogues(base, connector, ids_BT, batch.features, grammar.placeholder_id)
        hidden_BTD = base.base_model(inputs_embeds=embeds_BTD, use_cache=False).last_hidden_state
        logits_LV = base.get_output_embeddings()(hidden_BTD[is_learned_BT])
    is_frame_L = (ids_BT == grammar.placeholder_id)[is_learned_BT]
    return streaming_loss(logits_LV[None], labels_BT[is_learned_BT][None], is_frame_L[None], tau)


def scheduled_steps(
    optimizer: torch.optim.Optimizer, steps: int, max_seconds: float, warmup_share: float
) -> Iterator[int]:
    """Step numbers until `steps` or `max_seconds` are used up, with the learning rates set for each.

    Progress is whichever of the two is further, so that the rates have come down when time runs out.
    """
    peaks = [group["lr"] for group in optimizer.param_groups]
    started_s = time.monotonic()
    for step in range(steps):
        progress = max(step / steps, (time.monotonic() - started_s) / max_seconds)
        if progress >= 1:
            return
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * cosine(progress, warmup_share)
        yield step


def cosine(progress: float, warmup_share: float) -> float:
    """Share of the peak learning rate at `progress` (0–1): linear warm-up, then half a cosine down to 0."""
    if progress < warmup_share:
        return progress / warmup_share
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup_share) / (1 - warmup_share)))


def _make_optimizer(adapted: PeftModel, connector: nn.Module, part: FitPart) -> torch.optim.AdamW:
    adapters = [p for p in adapted.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": adapters, "lr": part.learning_rate},
            {"params": list(connector.parameters()), "lr": part.connector_learning_rate},
        ],
        weight_decay=part.weight_decay,
    )
