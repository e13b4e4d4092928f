"""What kind of failure ended a part, and what helps: less memory, or a new process.

A CUDA error other than want of memory leaves a process that can never use the GPU again (after a suspend, a driver's
reset, or a fault in a kernel); so does a thread that is stuck in one.
"""

from __future__ import annotations

from typing import Literal

from assistant.errors import WorkerFailed
from model.errors import is_of_memory

Fault = Literal["memory", "gpu", "other"]

_GPU_MARKS = ("CUDA error", "Triton Error [CUDA]")


class ProcessSpoilt(WorkerFailed):
    """Only a new process can go on."""


def fault_of(error: BaseException) -> Fault:
    """By the first in the chain of causes that says it."""
    cause: BaseException | None = error
    while cause is not None:
        if is_of_memory(cause):
            return "memory"
        if isinstance(cause, RuntimeError) and any(mark in str(cause) for mark in _GPU_MARKS):
            return "gpu"
        cause = cause.__cause__ or cause.__context__
    return "other"
