"""Pictures of a run: what a person would look at before the numbers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def plot_losses(losses: Sequence[float], path: Path) -> None:
    """Loss by step, and its running mean over a fiftieth of the run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(losses, linewidth=0.5, alpha=0.4, label="step")
    span = max(1, len(losses) // 50)
    if len(losses) > span:
        mean = np.convolve(losses, np.ones(span) / span, mode="valid")
        axes.plot(np.arange(span - 1, len(losses)), mean, label=f"mean of {span} steps")
    axes.set(xlabel="step", ylabel="loss", yscale="log", title="streaming loss")
    axes.legend()
    figure.savefig(path, dpi=120)
