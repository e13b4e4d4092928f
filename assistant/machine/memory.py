"""How much memory this machine's GPUs have."""

from __future__ import annotations


def gpu_bytes() -> int:
    """Of the largest GPU that torch can use, in all; 0 without one. Loads torch."""
    import torch

    if not torch.cuda.is_available():
        return 0
    return max(torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count()))
