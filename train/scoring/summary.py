"""Results to numbers: one summary for all clips, and one for each group of them. Pure."""

from collections.abc import Sequence
from statistics import fmean

from train.scoring.answers import summarize_answers
from train.scoring.calibration import reliability
from train.scoring.evaluate import ClipResult
from train.scoring.events import Score, ScoredEvent, about, count_repeats, score

TOLERANCES_S = (0.5, 1.0, 2.0)
WORDS = {"verb": False, "all words": True}
"""What must be right, and whether that includes object and target."""


def by_group(results: Sequence[ClipResult]) -> dict[str, dict[str, float]]:
    """The summary of all clips under "all", then those of the groups, by name."""
    groups = {name: [r for r in results if r.group == name] for name in sorted({r.group for r in results})}
    return {"all": summarize(results), **{name: summarize(some) for name, some in groups.items()}}


def summarize(results: Sequence[ClipResult]) -> dict[str, float]:
    """One number a line; what there is nothing to count for is left out.

    Events are scored in clips in which something happens, remarks an hour in those in which nothing does. All shares
    are 0–1; "unseen" is about objects never trained on.
    """
    summary: dict[str, float] = {"clips": len(results)}
    busy, quiet = [r for r in results if r.true], [r for r in results if not r.true]
    if busy:
        summary |= _score_events([(r.said, r.true) for r in busy], "")
    unseen = [(about(r.said, r.unseen), about(r.true, r.unseen)) for r in busy if r.unseen]
    if any(true for _, true in unseen):
        summary |= _score_events(unseen, " unseen")
    num_said = sum(len(r.said) for r in results)
    summary["remarks"] = num_said
    summary["duplicates"] = sum(count_repeats(r.said, r.true) for r in results) / num_said if num_said else 0.0
    if quiet:
        summary["quiet remarks/h"] = sum(len(r.said) for r in quiet) / (sum(r.seconds for r in quiet) / 3600)
    return summary | summarize_answers([a for r in results for a in r.answers]) | _summarize_forced(results)


def _score_events(clips: Sequence[tuple[list[ScoredEvent], list[ScoredEvent]]], of: str) -> dict[str, float]:
    summary = {}
    for tolerance in TOLERANCES_S:
        for words, with_object in WORDS.items():
            scores = (score(said, true, tolerance_s=tolerance, with_object=with_object) for said, true in clips)
            total = sum(scores, start=Score())
            for measure, value in (("precision", total.precision), ("recall", total.recall), ("F1", total.f1)):
                summary[f"{measure}@{tolerance:g}s {words}{of}"] = value
    return summary


def _summarize_forced(results: Sequence[ClipResult]) -> dict[str, float]:
    summary = {}
    metrics = [(r.metrics, r.fps) for r in results if r.metrics and r.true]
    if metrics:
        summary["LM-PPL"] = fmean(m.lm_ppl for m, _ in metrics)
        summary["TimeDiff frames"] = fmean(m.time_diff_frames for m, _ in metrics)
        summary["TimeDiff s"] = fmean(m.time_diff_frames / fps for m, fps in metrics)
        summary["Fluency"] = fmean(m.fluency for m, _ in metrics)
        summary["LM-Correctness"] = fmean(m.lm_correctness for m, _ in metrics)
    of_remarks = [(r.of_remarks, r.fps) for r in results if r.of_remarks and r.true]
    if of_remarks:
        summary["TimeDiff s, remarks"] = fmean(m.time_diff_frames / fps for m, fps in of_remarks)
        summary["Fluency, remarks"] = fmean(m.fluency for m, _ in of_remarks)
    reliable = reliability(*forced_silence(results))
    if reliable:
        summary |= {"ECE": reliable.ece, "Brier": reliable.brier}
    return summary


def forced_silence(results: Sequence[ClipResult]) -> tuple[list[float], list[bool]]:
    """p(silence) at all learned frames of all clips, and whether silence was right there."""
    return [p for r in results for p in r.forced_probs], [s for r in results for s in r.forced_silent]


def scores_by(results: Sequence[ClipResult], key: str) -> dict[str, Score]:
    """Scores within 1 s by "verb" (the verb alone) or "object" (all words right), without what cannot be read."""
    busy = [r for r in results if r.true]
    names = sorted({getattr(e, key) for r in busy for e in (*r.said, *r.true) if e.verb})
    totals = {}
    for name in names:
        clips = [([e for e in r.said if _is(e, key, name)], [e for e in r.true if _is(e, key, name)]) for r in busy]
        scores = (score(said, true, tolerance_s=1.0, with_object=key == "object") for said, true in clips)
        totals[name] = sum(scores, start=Score())
    return totals


def _is(event: ScoredEvent, key: str, name: str) -> bool:
    return bool(event.verb) and getattr(event, key) == name
