"""Numbers that a GPU has yet to compute, read a few steps later, so that the program runs ahead of it meanwhile."""

import torch
from torch import Tensor

STEPS_BEHIND = 3
"""How much later: enough for a slow CPU to fill the GPU's queue, too little to fill memory with batches."""


class Later:
    """A copy of `values` on its way to the CPU, behind what the device has been given to do so far."""

    def __init__(self, values: Tensor) -> None:
        self._values = values.detach().to("cpu", non_blocking=True)
        self._arrived = torch.cuda.Event() if values.is_cuda else None
        if self._arrived:
            self._arrived.record()

    def read(self) -> list[float]:
        """The numbers; waits for the device if it has not come so far."""
        if self._arrived:
            self._arrived.synchronize()
        return self._values.flatten().tolist()
