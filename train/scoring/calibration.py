"""How far p(silence) can be believed, and at which threshold a checkpoint is at its best."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from model.videolm import VideoLM
from train.scoring.events import Score, ScoredEvent, score
from train.scoring.freerun import FreeRun
from train.scoring.lockstep import Job, free_run_many

NUM_BINS = 10
GRID = tuple(round(0.2 + 0.05 * k, 2) for k in range(16))
"""Thresholds to choose from, 0.2 to 0.95."""


@dataclass(frozen=True)
class Reliability:
    """p(silence) against how often silence was right, in bins of equal width over 0–1.

    counts, mean_probs, shares: by bin; the last two are 0 in empty bins. ece: mean distance of the two, weighted by
    counts (expected calibration error). brier: mean squared distance of each probability from what was right.
    """

    counts: list[int]
    mean_probs: list[float]
    shares: list[float]
    ece: float
    brier: float


def reliability(probs: Sequence[float], is_right: Sequence[bool], num_bins: int = NUM_BINS) -> Reliability | None:
    """How reliable probabilities are; None without any."""
    if not probs:
        return None
    p, right = np.asarray(probs, dtype=np.float64), np.asarray(is_right, dtype=np.float64)
    bins = np.minimum((p * num_bins).astype(int), num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    mean_probs, shares = (np.bincount(bins, v, num_bins) / np.maximum(counts, 1) for v in (p, right))
    ece = float(np.sum(counts * np.abs(mean_probs - shares)) / len(p))
    brier = float(np.mean((p - right) ** 2))
    return Reliability(counts.tolist(), mean_probs.tolist(), shares.tolist(), ece, brier)


@dataclass(frozen=True)
class Trial:
    """The calibration clips at one threshold: F1@1s by the verb alone and by all words."""

    threshold: float
    f1_verb: float
    f1_words: float

    @property
    def mean(self) -> float:
        """What is maximised."""
        return (self.f1_verb + self.f1_words) / 2


def best_threshold(trials: Sequence[Trial]) -> float:
    """The threshold with the best mean of both F1; of several, the middle one, which is furthest from doing worse."""
    best = max(round(trial.mean, 9) for trial in trials)
    ties = sorted(trial.threshold for trial in trials if round(trial.mean, 9) == best)
    return ties[(len(ties) - 1) // 2]


def try_thresholds(
    true: Sequence[Sequence[ScoredEvent]], said: Sequence[dict[float, list[ScoredEvent]]], grid: Sequence[float] = GRID
) -> list[Trial]:
    """Scores of each threshold over clips in which something happens. true, said: by clip; said by threshold too."""
    trials = []
    for threshold in grid:
        f1 = [
            sum(
                (
                    score(by[threshold], events, tolerance_s=1.0, with_object=with_object)
                    for by, events in zip(said, true, strict=True)
                    if events
                ),
                start=Score(),
            ).f1
            for with_object in (False, True)
        ]
        trials.append(Trial(threshold, *f1))
    return trials


def sweep(
    model: VideoLM, jobs: Sequence[Job], *, batch: int, window_tokens: int = 2048, grid: Sequence[float] = GRID
) -> list[dict[float, FreeRun]]:
    """Every job at every threshold, its own aside: by job, the runs by threshold.

    A run is the same at all thresholds between the probabilities at which it decided, so that few need to be run.
    """
    runs: list[dict[float, FreeRun]] = [{} for _ in jobs]
    left = [list(grid) for _ in jobs]
    while wanted := [(index, some[len(some) // 2]) for index, some in enumerate(left) if some]:
        trials = [replace(jobs[index], threshold=threshold) for index, threshold in wanted]
        made = free_run_many(model, trials, batch=batch, window_tokens=window_tokens, label="calibrate")
        for (index, threshold), run in zip(wanted, made, strict=True):
            low, high = same_between(run, threshold)
            runs[index] |= {t: run for t in left[index] if t == threshold or low < t <= high}
            left[index] = [t for t in left[index] if t not in runs[index]]
    return runs


def same_between(run: FreeRun, threshold: float) -> tuple[float, float]:
    """(low, high]: the thresholds at which this run, made at `threshold`, would be the same."""
    spoke = {said.frame for said in run.said if said.question is None}
    asked = {said.frame for said in run.said if said.question is not None}
    low = max((p for f, p in enumerate(run.silence_probs) if f in spoke and p < threshold), default=0.0)
    high = min((p for f, p in enumerate(run.silence_probs) if f not in spoke | asked), default=1.0)
    return low, high
