"""Pictures of a fit: what a person would look at before the numbers."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

CURVES = {"loss": "what is learned from", "words": "words", "decisions": "decisions"}


def plot_fit(steps: Sequence[Mapping[str, float | None]], path: Path, *, title: str) -> None:
    """The losses of a fit by step, with running means over a fiftieth of it; its learning rate; its gradients' norm.

    steps: as `train.store.read_steps` gives them. Words and decisions are plain cross-entropies, so that fits with
    different objectives can be laid side by side.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    span = max(1, len(steps) // 50)
    for number, (name, label) in enumerate(CURVES.items()):
        values = _column(steps, name)
        if np.isnan(values).all():
            continue
        losses.plot(values, color=f"C{number}", linewidth=0.5, alpha=0.3)
        losses.plot(running_mean(values, span), color=f"C{number}", label=label)
    losses.set(ylabel=f"nats, mean of {span} steps", yscale="log", title=title)
    losses.legend()
    rates.plot(_column(steps, "lr"), color="C4")
    rates.set(xlabel="step", ylabel="learning rate")
    norms = rates.twinx()
    norms.plot(running_mean(_column(steps, "grad_norm"), span), color="C5", linewidth=0.8)
    norms.set(ylabel="gradient norm", yscale="log")
    for axis, colour in ((rates.yaxis, "C4"), (norms.yaxis, "C5")):
        axis.label.set_color(colour)
    figure.savefig(path, dpi=120)


def running_mean(values: np.ndarray, span: int) -> np.ndarray:
    """The mean of each value and up to span − 1 before it; NaNs are passed over."""
    known = ~np.isnan(values)
    sums, counts = np.cumsum(np.where(known, values, 0.0)), np.cumsum(known).astype(float)
    sums[span:] -= sums[:-span].copy()
    counts[span:] -= counts[:-span].copy()
    return np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)


def _column(steps: Sequence[Mapping[str, float | None]], name: str) -> np.ndarray:
    return np.array([math.nan if step[name] is None else step[name] for step in steps], dtype=float)
