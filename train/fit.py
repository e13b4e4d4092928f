"""The fit: adapters, or the whole decoder, and connector on dialogues over frozen features (VideoLLM-online, 3.4).

One process or many, on CPUs or GPUs, replicated or sharded, as Accelerate was told to by whoever launched them. A step
is the same whatever their number: each takes its share of the batch, and losses are divided by what all have learned
from. What is random is drawn from the seed, the step and the rank, so that a run that was killed goes on, from the
state saved last, as if nothing had been.
"""

import json
import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import PreTrainedModel

from model.assembly import load_lora
from model.checkpoint import Checkpoint, LoraSpec
from model.decoder import tied_names
from model.grammar import Grammar
from model.tensors import load_tensors
from train.clock import SharedClock
from train.later import STEPS_BEHIND, Later
from train.recipe import FitPart, ObjectivePart, RecipeError
from train.samples import Batch, Sampler
from train.schedule import Schedule
from train.store import Store
from train.throughput import Meter, Report, Work
from train.trainable import StreamingModel, compile_layers, make_trainable


@dataclass(frozen=True)
class Fitted:
    """What a fit gives: tensors under their own names, on the CPU, in the main process; elsewhere they are empty."""

    connector: dict[str, Tensor]
    decoder: dict[str, Tensor]
    """The adapters' tensors under PEFT's names, or all of the decoder's where it has no adapters."""
    losses: list[float]
    report: Report


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

    Stops at part.steps or part.max_seconds. With `run_dir`, every step is noted in fit.jsonl (a few steps later: the
    program runs ahead of the GPU) and the state is saved as the part says; a run that finds a state goes on from it.
    identity: what the state belongs to, as JSON can hold it. start: whose tensors to begin with.
    Raises RecipeError if it is another's, if the batch cannot be shared among the processes, or if there is no time for
    one step; CheckpointError if the start does not fit.
    What is trained is float32; frozen weights are as small as the precision.
    """
    if part.batch_clips % accelerator.num_processes:
        raise RecipeError(
            f"fit.batch_clips = {part.batch_clips}: must be a multiple of the {accelerator.num_processes} processes"
        )
    torch.manual_seed(part.seed)
    if start:
        load_tensors(connector, start.connector, f"{start.where}: its connector")
        if start.decoder:
            load_tensors(decoder, start.decoder, f"{start.where}: its decoder", may_miss=tied_names(decoder))
    model = make_trainable(decoder, connector, lora, grammar, objective, accelerator, gradient_checkpointing)
    if start and isinstance(model.decoder, PeftModel):
        load_lora(model.decoder, start.lora, start.where)
    if part.compile:
        compile_layers(model)
    meter = _make_meter(model, accelerator)
    optimizer = _make_optimizer(model, part, accelerator.device)
    model, optimizer = accelerator.prepare(model, optimizer)
    clock = SharedClock(accelerator, meter.waiting)
    schedule = Schedule(optimizer, part.steps, part.max_seconds, part.warmup_share, agree=clock.agree)
    store = Store(
        run_dir,
        json.dumps(identity, sort_keys=True),
        accelerator,
        model,
        optimizer.optimizer,
        tensorboard=part.tensorboard,
    )
    first_step, spent_s, losses = store.load()
    schedule.go_on(first_step, spent_s)
    batches = iter(_loader(sampler, first_step, part, accelerator))
    saved_s, next_step = spent_s, first_step
    with tqdm(
        total=part.steps, initial=first_step, desc="fit", unit="step", disable=not accelerator.is_main_process
    ) as bar:
        notes = _Notes(store, losses, bar, meter)
        for step in schedule:
            meter.begin()
            batch = next(batches)
            meter.got(batch)
            torch.manual_seed(hash((part.seed, step, accelerator.process_index)))
            found = _step(model, optimizer, batch.to(accelerator.device), accelerator, part.max_grad_norm, meter)
            next_step = step + 1
            notes.add(step, optimizer.param_groups[0]["lr"], found)
            if part.save_seconds and schedule.spent_s - saved_s >= part.save_seconds:
                notes.write(behind=0)
                with meter.paused():
                    store.save(next_step, schedule.spent_s)
                saved_s = schedule.spent_s
        notes.write(behind=0)
    if not next_step:
        raise RecipeError(f"fit.max_seconds = {part.max_seconds:g}: over before the first step; give it more, or 0")
    report = meter.report()
    if next_step > first_step:
        store.save(next_step, schedule.spent_s)
    store.close()
    report |= {
        "steps": float(next_step),
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


def _make_meter(model: StreamingModel, accelerator: Accelerator) -> Meter:
    causal = model.causal
    work = Work.of(model.decoder, causal.get_input_embeddings(), causal.get_output_embeddings(), model.connector)
    is_bfloat16 = accelerator.mixed_precision == "bf16"
    return Meter(accelerator.device, work, is_bfloat16=is_bfloat16, num_processes=accelerator.num_processes)


def _step(
    model: nn.Module, optimizer: Any, batch: Batch, accelerator: Accelerator, max_grad_norm: float, meter: Meter
) -> Tensor:
    """One step of the optimizer; what it found, of all processes together, on the device.

    Sums of the loss, of words' and decisions' cross-entropy; the numbers of positions of each; the gradient's norm.
    """
    total, count, sums_2 = model(batch)
    meter.mark("forward")
    numbers = [len(batch.learned_L) - batch.num_decisions, batch.num_decisions]
    found = [total.detach(), *sums_2, count, *(torch.full_like(count, number) for number in numbers)]
    everyone = accelerator.reduce(torch.stack([value.float() for value in found]), "sum")
    assert isinstance(everyone, Tensor)
    # Gradients are averaged over the processes; what is wanted is their sum over all that was learned.
    accelerator.backward(total * accelerator.num_processes / everyone[3].clamp(min=1))
    meter.mark("backward")
    norm: Any = accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    meter.mark("optimizer")
    return torch.cat((everyone, (norm.full_tensor() if isinstance(norm, DTensor) else norm).float().reshape(1)))


class _Notes:
    """Steps done whose numbers are still being computed."""

    def __init__(self, store: Store, losses: list[float], bar: tqdm, meter: Meter) -> None:
        self._store, self._losses, self._bar, self._meter = store, losses, bar, meter
        self._open: deque[tuple[int, float, Later]] = deque()

    def add(self, step: int, learning_rate: float, found: Tensor) -> None:
        """A step has been asked for; what it found is written down a few steps later."""
        self._open.append((step, learning_rate, Later(found)))
        self._bar.update()
        self.write(behind=STEPS_BEHIND)

    def write(self, *, behind: int) -> None:
        """Write down all but the last `behind` steps; waits for the device."""
        while len(self._open) > behind:
            step, learning_rate, found = self._open.popleft()
            with self._meter.waiting():
                total, words, decisions, count, num_words, num_decisions, norm = found.read()
            loss = total / max(1, count)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise RecipeError(
                    f"fit.learning_rate, fit.connector_learning_rate: too high for this run, whose loss at step {step} "
                    f"is {loss:g} and its gradient's norm {norm:g}; lower them and begin anew"
                )
            self._losses.append(loss)
            self._store.note(
                {
                    "step": step,
                    "loss": loss,
                    "words": words / num_words if num_words else None,
                    "decisions": decisions / num_decisions if num_decisions else None,
                    "lr": learning_rate,
                    "grad_norm": norm,
                }
            )
            self._bar.set_postfix(loss=f"{loss:.3f}", refresh=False)


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


def _make_optimizer(model: StreamingModel, part: FitPart, device: torch.device) -> torch.optim.AdamW:
    trained = [p for p in model.decoder.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": trained, "lr": part.learning_rate},
            {"params": list(model.connector.parameters()), "lr": part.connector_learning_rate},
        ],
        weight_decay=part.weight_decay,
        fused=device.type == "cuda",  # one launch for all tensors
    )
