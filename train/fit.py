"""The fit: adapters, or the whole decoder, and connector on dialogues over frozen features (VideoLLM-online, 3.4).

One process or many, on CPUs or GPUs, replicated or sharded, as Accelerate was told to by whoever launched them. A step
is the same whatever their number: each takes its share of the batch, and losses are divided by what all have learned
from. What is random is drawn from the seed, the step and the rank, so that a run that was killed goes on, from the
state saved last, as if nothing had been.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from peft import PeftModel, get_peft_model
from peft.utils import set_peft_model_state_dict
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import PreTrainedModel

from model.checkpoint import Checkpoint, LoraSpec
from model.grammar import IGNORE_ID, Grammar
from train.objective import embed_dialogues, summed_loss
from train.recipe import FitPart, ObjectivePart, RecipeError
from train.samples import Batch, Sampler
from train.schedule import Schedule

STATE_FILE, STEPS_FILE = "state.pt", "fit.jsonl"


@dataclass(frozen=True)
class Fitted:
    """What a fit gives: tensors under their own names, on the CPU, in the main process; elsewhere they are empty."""

    connector: dict[str, Tensor]
    decoder: dict[str, Tensor]
    """The adapters' tensors under PEFT's names, or all of the decoder's where it has no adapters."""
    losses: list[float]
    report: dict[str, float]


class StreamingModel(nn.Module):
    """Decoder and connector, from a batch to its summed loss."""

    def __init__(self, decoder: nn.Module, connector: nn.Module, grammar: Grammar, objective: ObjectivePart) -> None:
        super().__init__()
        self.decoder = decoder
        self.connector = connector
        self._placeholder_id, self._silence_id = grammar.placeholder_id, grammar.silence_id
        self._objective = objective

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sum of the weighted losses, and the number of positions it stands for. Only those go through the head."""
        causal: Any = self.decoder.get_base_model() if isinstance(self.decoder, PeftModel) else self.decoder
        is_learned_BT = batch.labels_BT != IGNORE_ID
        embeds_BTD = embed_dialogues(
            causal, self.connector, batch.input_ids_BT, [batch.features_MNF], self._placeholder_id
        )
        hidden_BTD = causal.base_model(inputs_embeds=embeds_BTD, use_cache=False).last_hidden_state
        logits_LV = causal.get_output_embeddings()(hidden_BTD[is_learned_BT])
        labels_L, decides_L = batch.labels_BT[is_learned_BT], batch.decides_BT[is_learned_BT]
        return summed_loss(logits_LV, labels_L, decides_L, self._objective, self._silence_id)


def fit(
    decoder: PreTrainedModel,
    connector: nn.Module,
    lora: LoraSpec | None,
    grammar: Grammar,
    sampler: Sampler,
    part: FitPart,
    objective: ObjectivePart,
    *,
    accelerator: Accelerator,
    run_dir: Path | None = None,
    identity: object = None,
    gradient_checkpointing: bool = False,
    start: Checkpoint | None = None,
) -> Fitted:
    """Train adapters on `decoder` (all of it without `lora`) and the whole `connector`.

    Stops at part.steps or part.max_seconds. With `run_dir`, every step is noted in fit.jsonl and the state is
    saved as the part says; a run that finds a state goes on from it. identity: what the state belongs to, as JSON can
    hold it. start: whose tensors to begin with.
    Raises RecipeError if it is another's, or if the batch cannot be shared among the processes.
    What is trained is float32; frozen weights are as small as the precision.
    """
    if part.batch_clips % accelerator.num_processes:
        raise RecipeError(
            f"fit.batch_clips = {part.batch_clips}: must be a multiple of the {accelerator.num_processes} processes"
        )
    torch.manual_seed(part.seed)
    if start:
        connector.load_state_dict(start.connector)
        decoder.load_state_dict(start.decoder, strict=False)
    model = _prepare(decoder, connector, lora, grammar, objective, accelerator, gradient_checkpointing)
    if start and isinstance(model.decoder, PeftModel):
        set_peft_model_state_dict(model.decoder, start.lora)
    optimizer = _make_optimizer(model, part)
    model, optimizer = accelerator.prepare(model, optimizer)
    schedule = Schedule(
        optimizer, part.steps, part.max_seconds, part.warmup_share, agree=lambda s: _latest(s, accelerator)
    )
    store = _Store(run_dir, json.dumps(identity, sort_keys=True), accelerator, model, optimizer.optimizer)
    first_step, spent_s, losses = store.load()
    schedule.go_on(first_step, spent_s)
    batches = iter(_loader(sampler, first_step, part, accelerator))
    num_tokens = waited_s = 0.0
    started_s, saved_s, next_step = time.monotonic(), spent_s, first_step
    with tqdm(
        total=part.steps, initial=first_step, desc="fit", unit="step", disable=not accelerator.is_main_process
    ) as bar:
        for step in schedule:
            asked_s = time.monotonic()
            batch = next(batches).to(accelerator.device)
            waited_s += time.monotonic() - asked_s
            torch.manual_seed(hash((part.seed, step, accelerator.process_index)))
            loss = _step(model, optimizer, batch, accelerator, part.max_grad_norm)
            num_tokens += batch.num_tokens * accelerator.num_processes
            losses.append(loss)
            next_step = step + 1
            store.note(step, loss, optimizer.param_groups[0]["lr"])
            bar.set_postfix(loss=f"{loss:.3f}")
            bar.update()
            if part.save_seconds and schedule.spent_s - saved_s >= part.save_seconds:
                store.save(next_step, schedule.spent_s)
                saved_s = schedule.spent_s
    if next_step > first_step:
        store.save(next_step, schedule.spent_s)
    store.close()
    seconds = time.monotonic() - started_s
    done = max(1, next_step - first_step)
    report = {
        "steps": float(next_step),
        "steps_per_s": done / seconds,
        "dialogues_per_s": done * part.batch_clips / seconds,
        "tokens_per_s": num_tokens / seconds,
        "tokens_per_dialogue": num_tokens / done / part.batch_clips,
        "data_wait_share": waited_s / seconds,
        "seconds": schedule.spent_s,
        "processes": float(accelerator.num_processes),
    }
    trained = store.trained()
    return Fitted(
        {name.removeprefix("connector."): t for name, t in trained.items() if name.startswith("connector.")},
        {_plain_name(name): t for name, t in trained.items() if name.startswith("decoder.")},
        losses,
        report,
    )


def _prepare(
    decoder: PreTrainedModel,
    connector: nn.Module,
    lora: LoraSpec | None,
    grammar: Grammar,
    objective: ObjectivePart,
    accelerator: Accelerator,
    gradient_checkpointing: bool,
) -> StreamingModel:
    # Frozen weights can be small; where they are sharded, all must be of one type.
    is_small = accelerator.mixed_precision == "bf16" and lora and accelerator.distributed_type != DistributedType.FSDP
    decoder.to(accelerator.device, torch.bfloat16 if is_small else torch.float32)  # pyright: ignore[reportArgumentType]
    if gradient_checkpointing:
        decoder.gradient_checkpointing_enable({"use_reentrant": False})
    adapted: nn.Module = get_peft_model(decoder, lora.to_peft()) if lora else decoder.requires_grad_(True)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    connector.to(accelerator.device, torch.float32).requires_grad_(True)
    return StreamingModel(adapted, connector, grammar, objective).to(accelerator.device).train()


def _latest(seconds: float, accelerator: Accelerator) -> float:
    """The furthest of all processes' clocks, so that they stop and save together."""
    if accelerator.num_processes == 1:
        return seconds
    everyone = accelerator.gather(torch.tensor([seconds], device=accelerator.device, dtype=torch.float64))
    assert isinstance(everyone, Tensor)
    return float(everyone.max())


def _step(model: nn.Module, optimizer: Any, batch: Batch, accelerator: Accelerator, max_grad_norm: float) -> float:
    """One step of the optimizer; returns the loss of the whole batch, all processes together."""
    total, count = model(batch)
    everyone = accelerator.reduce(torch.stack((total.detach().float(), count.float())), "sum")
    assert isinstance(everyone, Tensor)
    # Gradients are averaged over the processes; what is wanted is their sum over all that was learned.
    accelerator.backward(total * accelerator.num_processes / everyone[1].clamp(min=1))
    accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(everyone[0] / everyone[1].clamp(min=1))


class _Store:
    """A run's files: the state to go on from, and one line a step. All processes call; the main one writes."""

    def __init__(
        self, run_dir: Path | None, identity: str, accelerator: Accelerator, model: nn.Module, optimizer: Any
    ) -> None:
        self._run_dir, self._identity, self._accelerator = run_dir, identity, accelerator
        self._model, self._optimizer = model, optimizer
        self._options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
        self._lines = None

    def load(self) -> tuple[int, float, list[float]]:
        """The next step, the seconds spent and the losses so far; all at nothing if there is no state."""
        if self._run_dir is None:
            return 0, 0.0, []
        path, notes = self._run_dir / STATE_FILE, self._run_dir / STEPS_FILE
        step, spent_s, losses = 0, 0.0, []
        if path.is_file():
            state = torch.load(path, map_location="cpu", weights_only=True)
            if state["identity"] != self._identity:
                raise RecipeError(
                    f"{path}: belongs to a run of another recipe or other data; move it away, or take another --run"
                )
            set_model_state_dict(
                self._model, state["model"], options=StateDictOptions(full_state_dict=True, strict=False)
            )
            set_optimizer_state_dict(self._model, self._optimizer, state["optimizer"], options=self._options)
            step, spent_s = state["step"], state["spent_s"]
        if self._accelerator.is_main_process:
            self._run_dir.mkdir(parents=True, exist_ok=True)
            kept = notes.read_text(encoding="utf-8").splitlines()[:step] if step and notes.is_file() else []
            losses = [json.loads(line)["loss"] for line in kept]
            self._lines = notes.open("w", encoding="utf-8")
            self._lines.write("".join(f"{line}\n" for line in kept))
        return step, spent_s, losses

    def note(self, step: int, loss: float, learning_rate: float) -> None:
        """Write down one step."""
        if self._lines is not None:
            self._lines.write(json.dumps({"step": step, "loss": loss, "lr": learning_rate}) + "\n")
            self._lines.flush()

    def save(self, step: int, spent_s: float) -> None:
        """Replace the state; it is whole or the old one at any time."""
        if self._run_dir is None:
            return
        optimizer = get_optimizer_state_dict(self._model, self._optimizer, options=self._options)
        state = {"identity": self._identity, "step": step, "spent_s": spent_s}
        state |= {"model": self.trained(), "optimizer": optimizer}
        if self._accelerator.is_main_process:
            draft = self._run_dir / f".{STATE_FILE}.draft"
            with draft.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._run_dir / STATE_FILE)

    def trained(self) -> dict[str, Tensor]:
        """What is trained, gathered from all processes into the main one."""
        tensors = get_model_state_dict(self._model, options=self._options)
        return {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()


class _Steps(Dataset):
    """A sampler as the data loader wants it: one item is one process's share of one step."""

    def __init__(self, sampler: Sampler, rank: int, num_ranks: int) -> None:
        self._sampler, self._rank, self._num_ranks = sampler, rank, num_ranks

    def __getitem__(self, step: int) -> Batch:
        return self._sampler.batch(step, rank=self._rank, num_ranks=self._num_ranks)


def _loader(sampler: Sampler, first_step: int, part: FitPart, accelerator: Accelerator) -> DataLoader:
    return DataLoader(
        _Steps(sampler, accelerator.process_index, accelerator.num_processes),
        sampler=range(first_step, part.steps),
        batch_size=None,
        num_workers=part.workers,
        prefetch_factor=4 if part.workers else None,
        pin_memory=accelerator.device.type == "cuda",
    )


def _plain_name(name: str) -> str:
    """The name of a decoder's tensor as PEFT, or the decoder itself, saves it."""
    return name.removeprefix("decoder.").replace(".default.", ".")


def _make_optimizer(model: StreamingModel, part: FitPart) -> torch.optim.AdamW:
    trained = [p for p in model.decoder.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": trained, "lr": part.learning_rate},
            {"params": list(model.connector.parameters()), "lr": part.connector_learning_rate},
        ],
        weight_decay=part.weight_decay,
    )
