"""How long a run goes on, and its learning rates on the way."""

import math
import time
from collections.abc import Callable, Iterator

import torch


class Schedule:
    """Iterating sets the learning rates and gives step numbers until steps or seconds are used up.

    Progress is whichever of the two is further, so that the rates have come down when time runs out. max_seconds = 0:
    steps alone count. The optimizer's rates at the making of the schedule are the peaks. warmup_steps: at the least,
    since the clock says nothing of how few steps a slow start has taken.
    agree: makes one figure of what each process's clock says.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        steps: int,
        max_seconds: float,
        warmup_share: float,
        *,
        warmup_steps: int = 0,
        agree: Callable[[float], float] = lambda seconds: seconds,
    ) -> None:
        self._optimizer, self._steps, self._warmup_share = optimizer, steps, warmup_share
        self._max_seconds = max_seconds or math.inf
        self._agree, self._warmup_steps = agree, warmup_steps
        self._peaks = [group["lr"] for group in optimizer.param_groups]
        self.go_on(0, 0.0)

    def go_on(self, first_step: int, spent_s: float) -> None:
        """Begin at a later step, some of the time gone."""
        self._first_step = first_step
        self._started_s = time.monotonic() - spent_s
        self.spent_s = spent_s
        """Seconds used when the latest step began, those before an interruption included."""

    def __iter__(self) -> Iterator[int]:
        for step in range(self._first_step, self._steps):
            self.spent_s = self._agree(time.monotonic() - self._started_s)
            progress = max(step / self._steps, self.spent_s / self._max_seconds)
            if progress >= 1:
                return
            for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
                group["lr"] = (
                    peak * cosine(progress, self._warmup_share) * min(1.0, (step + 1) / (self._warmup_steps + 1))
                )
            yield step


def cosine(progress: float, warmup_share: float) -> float:
    """Share of the peak learning rate at `progress` (0–1): linear warm-up, then half a cosine down to 0."""
    if progress < warmup_share:
        return progress / warmup_share
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup_share) / (1 - warmup_share)))
