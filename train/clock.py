"""One time for many processes, so that they stop and save together."""

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor

from train.later import STEPS_BEHIND, Later


class SharedClock:
    """The furthest of all processes' clocks; a few steps old where there are many processes, so that nobody waits for
    what is being computed.

    waiting: entered while the clock is read, for whoever measures that.
    """

    def __init__(
        self, accelerator: Accelerator, waiting: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._accelerator, self._waiting = accelerator, waiting
        self._asked: deque[Later] = deque(maxlen=STEPS_BEHIND)

    def agree(self, seconds: float) -> float:
        """All processes call with their own seconds, and get the same."""
        if self._accelerator.num_processes == 1:
            return seconds
        mine = torch.full((1,), seconds, device=self._accelerator.device, dtype=torch.float32)
        everyone = self._accelerator.gather(mine)
        assert isinstance(everyone, Tensor)
        self._asked.append(Later(everyone.max()))
        with self._waiting():
            return self._asked[0].read()[0]
