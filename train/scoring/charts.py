"""Pictures of an evaluation: is p(silence) to be believed, which threshold, what is taken for what, who is better."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from train.scoring.calibration import Reliability, Trial

NOTHING, NO_EVENT = "nothing", "no event"
DPI = 120


def plot_calibration(reliable: Reliability, path: Path) -> None:
    """p(silence) against how often silence was right, and how often each p was given."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    width = 1 / len(reliable.counts)
    middles = (np.arange(len(reliable.counts)) + 0.5) * width
    filled = np.asarray(reliable.counts) > 0
    above.plot((0, 1), (0, 1), linestyle="--", color="grey", linewidth=1)
    above.bar(middles[filled], np.asarray(reliable.shares)[filled], 0.92 * width, alpha=0.5)
    above.plot(np.asarray(reliable.mean_probs)[filled], np.asarray(reliable.shares)[filled], marker="o", markersize=4)
    above.set(ylabel="silence was right", xlim=(0, 1), ylim=(0, 1.02))
    above.set_title(f"p(silence): ECE {reliable.ece:.3f}, Brier {reliable.brier:.3f}")
    below.bar(middles, reliable.counts, 0.92 * width, color="grey")
    below.set(xlabel="p(silence), true replies in place", ylabel="frames", yscale="log")
    figure.savefig(path, dpi=DPI)


def plot_thresholds(trials: Sequence[Trial], chosen: float, path: Path) -> None:
    """F1@1s by threshold on the calibration clips."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    thresholds = [trial.threshold for trial in trials]
    axes.plot(thresholds, [trial.f1_verb for trial in trials], marker="o", label="verb")
    axes.plot(thresholds, [trial.f1_words for trial in trials], marker="o", label="all words")
    axes.plot(thresholds, [trial.mean for trial in trials], linestyle="--", color="grey", label="mean")
    axes.axvline(chosen, color="black", linewidth=1, label=f"chosen: {chosen:g}")
    axes.set(xlabel="silence threshold", ylabel="F1@1s", title="calibration")
    axes.legend()
    figure.savefig(path, dpi=DPI)


def plot_confusion(pairs: Mapping[tuple[str, str], int], path: Path, title: str) -> None:
    """What was said (columns) when something was true (rows), in shares of the row, with counts.

    pairs: (said, true) → count; NOTHING was said, or NO_EVENT was there, come last.
    """
    from matplotlib.figure import Figure

    names = sorted({name for pair in pairs for name in pair} - {NOTHING, NO_EVENT})
    said, true = [*names, NOTHING], [*names, NO_EVENT]
    counts = np.array([[pairs.get((s, t), 0) for s in said] for t in true], dtype=float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(4.5, 0.34 * len(said) + 2.2)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(said)), said, rotation=90, fontsize=8)
    axes.set_yticks(range(len(true)), true, fontsize=8)
    axes.set(xlabel="said", ylabel="true", title=title)
    for row, column in zip(*counts.nonzero(), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(picture, label="share of what was true", shrink=0.7)
    figure.savefig(path, dpi=DPI)


def plot_comparison(table: Mapping[str, Mapping[str, tuple[float, float]]], columns: Sequence[str], path: Path) -> None:
    """One panel a column: each checkpoint's mean, with its standard deviation over seeds.

    table: checkpoint → column → (mean, deviation).
    """
    from matplotlib.figure import Figure

    columns = [column for column in columns if any(column in row for row in table.values())]
    across = min(4, len(columns))
    down = -(-len(columns) // across)
    figure = Figure(figsize=(3.4 * across + 1, (0.32 * len(table) + 1.1) * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharey=True)
    for axes, column in zip(panels.flat, columns, strict=False):
        names = list(table)
        values = [table[name].get(column, (0.0, 0.0)) for name in names]
        axes.barh(
            names, [mean for mean, _ in values], xerr=[deviation for _, deviation in values], alpha=0.7, capsize=2
        )
        axes.set_title(column, fontsize=10)
        axes.tick_params(labelsize=8)
    panels[0, 0].invert_yaxis()
    for axes in panels.flat[len(columns) :]:
        axes.set_visible(False)
    figure.savefig(path, dpi=DPI)


def count_pairs(pairs: Sequence[tuple[str | None, str | None]]) -> Counter[tuple[str, str]]:
    """(said, true) pairs counted; None said is NOTHING, None true is NO_EVENT."""
    return Counter((NOTHING if said is None else said, NO_EVENT if true is None else true) for said, true in pairs)
