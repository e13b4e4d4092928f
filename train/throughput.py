"""How fast a fit is, and what keeps it from being faster, measured while it runs and next to free.

The loop runs ahead of the GPU and reads its numbers later (train.later), so that clocks around calls say what the CPU
does; what the GPU does is timed by events, in a few steps only, and read when all is over.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from train.samples import Batch

SKIPPED_STEPS, PROBED_EVERY = 10, 20
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12}
"""Dense bfloat16 operations a second, by a part of the device's name."""
DATA_SHARE, DEVICE_SHARE = 0.1, 0.05

Report = dict[str, float | str]


@dataclass(frozen=True)
class Work:
    """Floating-point operations of one training step.

    A weight costs a token 2 forward, 2 backward, and 2 more for its own gradient if it is trained: 6·N for what is
    trained, 4·N for what is frozen among it (after Kaplan et al. 2020, section 2.1). Embeddings are looked up; the head
    sees learned positions only; the connector, frame tokens. Attention's scores and what gradient checkpointing
    computes again are not counted; padding is.
    """

    per_token: int
    per_learned: int
    per_frame_token: int

    @classmethod
    def of(cls, decoder: nn.Module, embedding: nn.Module, head: nn.Module, connector: nn.Module) -> "Work":
        """Counted from the parameters, before any are sharded. Tied weights count as the head's."""
        heads, embeddings = (set(map(id, module.parameters())) for module in (head, embedding))
        per_token = per_learned = 0
        for parameter in decoder.parameters():
            cost = (6 if parameter.requires_grad else 4) * parameter.numel()
            if id(parameter) in heads:
                per_learned += cost
            elif id(parameter) not in embeddings:
                per_token += cost
        return cls(per_token, per_learned, 6 * sum(p.numel() for p in connector.parameters()))

    def flops(self, batch: Batch) -> int:
        """Operations of one step on `batch`."""
        return (
            self.per_token * batch.num_tokens
            + self.per_learned * len(batch.learned_L)
            + self.per_frame_token * len(batch.frame_tokens_P)
        )


class Meter:
    """Measures the steps of one process after the first few, which are slower than the rest.

    A step is: `begin`, `got` its batch, `mark` forward, backward and optimizer as each has been asked for.
    """

    def __init__(self, device: torch.device, work: Work, *, is_bfloat16: bool, num_processes: int = 1) -> None:
        self._device, self._work, self._num_processes = device, work, num_processes
        self._is_cuda = device.type == "cuda"
        self._peak_flops = _peak_flops(device) if is_bfloat16 else None
        self._utilisation = _Utilisation(device) if self._is_cuda else None
        self._num_begun = 0
        self._restart()

    def _restart(self) -> None:
        self._started_s = time.perf_counter()
        self._steps = self._dialogues = self._tokens = self._padding = self._flops = 0
        self._data_s = self._device_s = self._paused_s = 0.0
        self._probes: list[list[tuple[str, Any]]] = []
        self._is_probed = False
        if self._utilisation:
            self._utilisation.samples.clear()

    def begin(self) -> None:
        """A step begins; its batch is asked for next."""
        if self._num_begun == SKIPPED_STEPS:
            self._restart()
        self._num_begun += 1
        self._begun_s = time.perf_counter()
        if self._utilisation:
            self._utilisation.sample(self._begun_s)

    def got(self, batch: Batch) -> None:
        """The batch is there."""
        self._data_s += time.perf_counter() - self._begun_s
        self._is_probed = self._steps % PROBED_EVERY == 0
        if self._is_probed:
            self._probes.append([("", self._now())])
        self._steps += 1
        self._dialogues += len(batch.input_ids_BT)
        self._tokens += batch.num_tokens
        self._padding += batch.num_padding
        self._flops += self._work.flops(batch)

    def mark(self, part: str) -> None:
        """`part` of the step ends here."""
        if self._is_probed:
            self._probes[-1].append((part, self._now()))

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what waits for the device."""
        started_s = time.perf_counter()
        yield
        self._device_s += time.perf_counter() - started_s

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Around what does not count, such as saving; the device should have nothing left to do."""
        started_s = time.perf_counter()
        yield
        self._paused_s += time.perf_counter() - started_s

    def report(self) -> Report:
        """What was measured; empty before the first step. Keys that the device has nothing to say on are left out.

        Rates are of all processes together, taken to be alike; tflops, memory and shares of this one. tokens_per_s
        counts padding, text_tokens_per_s and tokens_per_dialogue do not. data_wait_share: of the time, spent waiting
        for batches; up to 0.1 data comes at 90 % at least of the speed of computing. device_wait_share: waiting for
        the GPU. forward, backward and optimizer: shares of these three together. bottleneck: see `bottleneck`.
        """
        if not self._steps:
            return {}
        if self._is_cuda:
            torch.cuda.synchronize(self._device)
        seconds = time.perf_counter() - self._started_s - self._paused_s
        every = self._num_processes / seconds
        report: Report = {
            "measured_steps": float(self._steps),
            "measured_seconds": seconds,
            "steps_per_s": self._steps / seconds,
            "dialogues_per_s": self._dialogues * every,
            "tokens_per_s": self._tokens * every,
            "text_tokens_per_s": (self._tokens - self._padding) * every,
            "tokens_per_dialogue": (self._tokens - self._padding) / max(1, self._dialogues),
            "padding_share": self._padding / self._tokens,
            "tflops": self._flops / seconds / 1e12,
            "data_wait_share": self._data_s / seconds,
            "device_wait_share": self._device_s / seconds,
        }
        if self._peak_flops:
            report["peak_share"] = self._flops / seconds / self._peak_flops
        if self._utilisation and self._utilisation.samples:
            report["gpu_utilisation"] = sum(self._utilisation.samples) / len(self._utilisation.samples)
        if self._is_cuda:
            report["peak_memory_gib"] = torch.cuda.max_memory_allocated(self._device) / 2**30
        waits = self._data_s / seconds, self._device_s / seconds
        return report | self._shares() | {"bottleneck": bottleneck(*waits, is_cuda=self._is_cuda)}

    def _shares(self) -> Report:
        spent: dict[str, float] = {}
        for probe in self._probes:
            for (_, before), (part, after) in itertools.pairwise(probe):
                taken = before.elapsed_time(after) if self._is_cuda else after - before
                spent[part] = spent.get(part, 0.0) + taken
        whole = sum(spent.values())
        return {f"{part}_share": taken / whole for part, taken in spent.items()} if whole else {}

    def _now(self) -> Any:
        if not self._is_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def bottleneck(data_wait_share: float, device_wait_share: float, *, is_cuda: bool) -> str:
    """What to speed up first, in a word.

    "data": over a tenth of the time goes into waiting for batches, more than into waiting for the GPU. "compute": the
    loop comes to wait for the GPU, so the GPU always has work (on a CPU: all that is not data). "launches": it
    waits for neither; the CPU cannot tell the GPU fast enough what to do.
    """
    if data_wait_share > DATA_SHARE and data_wait_share > device_wait_share:
        return "data"
    return "compute" if not is_cuda or device_wait_share >= DEVICE_SHARE else "launches"


def summary_line(report: Mapping[str, float | str]) -> str:
    """The report in a line for people; "" if nothing was measured."""
    if "bottleneck" not in report:
        return ""
    of_peak = f" ({report['peak_share']:.0%} of peak)" if "peak_share" in report else ""
    parts = [
        f"{report['dialogues_per_s']:.1f} dialogues/s",
        f"{report['tokens_per_s']:,.0f} tokens/s ({report['padding_share']:.0%} padding)",
        f"{report['tflops']:.3g} TFLOP/s{of_peak}",
        f"{report['data_wait_share']:.1%} of the time waiting for data",
    ]
    if "gpu_utilisation" in report:
        parts.append(f"GPU busy {report['gpu_utilisation']:.0%} of it")
    return f"fit: {', '.join(parts)}; bottleneck: {report['bottleneck']}"


def _peak_flops(device: torch.device) -> float | None:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((flops for part, flops in PEAK_FLOPS.items() if part in name), None)


class _Utilisation:
    """The share of the last moments in which the GPU was doing anything, as its driver tells, once a second."""

    def __init__(self, device: torch.device) -> None:
        self.samples: list[float] = []
        self._sampled_s = 0.0
        self._read = _utilisation_reader(device)

    def sample(self, now_s: float) -> None:
        """Ask the driver, if a second has gone by."""
        if self._read and now_s - self._sampled_s >= 1:
            self._sampled_s = now_s
            self.samples.append(self._read())


def _utilisation_reader(device: torch.device) -> Callable[[], float] | None:
    """A function that gives 0–1, or None where the driver cannot be asked."""
    try:
        import pynvml
    except ModuleNotFoundError:
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        pynvml.nvmlDeviceGetUtilizationRates(handle)
    except pynvml.NVMLError:  # a slice of a GPU, or no driver to talk to
        return None
    return lambda: int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
