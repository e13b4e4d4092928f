"""One checkpoint's report: every number and word as JSON, tables as Markdown, pictures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from train.clips import ClipFile
from train.scoring.calibration import Reliability, reliability
from train.scoring.charts import count_pairs, plot_calibration, plot_confusion, plot_thresholds
from train.scoring.evaluate import ClipResult, Evaluated
from train.scoring.events import Score, ScoredEvent, any_words, match
from train.scoring.gallery import choose, plot_gallery
from train.scoring.summary import TOLERANCES_S, WORDS, by_group, forced_silence, scores_by, summarize
from train.scoring.timeline import plot_timeline

REPORT = "report"
HEADLINE = (
    "clips",
    "F1@1s verb",
    "F1@1s all words",
    "precision@1s all words",
    "recall@1s all words",
    "F1@1s all words unseen",
    "duplicates",
    "quiet remarks/h",
    "answers right",
    "abstentions",
    "wrong abstentions",
)
PAPER = ("LM-PPL", "TimeDiff s", "TimeDiff s, remarks", "Fluency", "Fluency, remarks", "LM-Correctness")
FORCED = (*PAPER, "ECE", "Brier")
COUNTS = ("clips", "answers", "remarks")


def write_report(evaluated: Evaluated, clips: Sequence[ClipFile], folder: Path) -> str:
    """Write report.json, report.md and the pictures to `folder`; returns the headline table."""
    folder.mkdir(parents=True, exist_ok=True)
    results = evaluated.results
    groups = by_group(results)
    reliable = reliability(*forced_silence(results))
    verbs, objects = scores_by(results, "verb"), scores_by(results, "object")
    content = {
        "name": evaluated.name,
        "threshold": evaluated.threshold,
        "groups": groups,
        "by_verb": {name: _counts(score) for name, score in verbs.items()},
        "by_object": {name: _counts(score) for name, score in objects.items()},
        "reliability": asdict(reliable) if reliable else None,
        "calibration": [asdict(trial) for trial in evaluated.trials],
        "clips": [_rounded(asdict(result)) for result in results],
    }
    (folder / f"{REPORT}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    headline = group_table(groups, HEADLINE)
    sections = {
        f"{evaluated.name}, silence threshold {evaluated.threshold:g}": headline,
        "With the true replies in place": group_table(groups, FORCED),
        "By tolerance": tolerance_table(groups, ""),
        "By tolerance, objects never trained on": tolerance_table(groups, " unseen"),
        "By trait, with it and without it": traits_table(results),
        "Answers by kind": kinds_table(groups),
        "By verb, F1@1s of the verb": score_table("verb", verbs),
        "By object, F1@1s of all words": score_table("object", objects),
    }
    text = "\n\n".join(f"## {title}\n\n{body}" for title, body in sections.items() if body)
    (folder / f"{REPORT}.md").write_text(text + "\n", encoding="utf-8")
    _draw(evaluated, reliable, clips, folder)
    return headline


def _draw(evaluated: Evaluated, reliable: Reliability | None, clips: Sequence[ClipFile], folder: Path) -> None:
    results = evaluated.results
    if reliable:
        plot_calibration(reliable, folder / "calibration.png")
    if evaluated.trials:
        plot_thresholds(evaluated.trials, evaluated.threshold, folder / "threshold.png")
    for key in ("verb", "object"):
        pairs = count_pairs([(_read(s, key), _read(t, key)) for r in results for s, t in pair_up(r)])
        plot_confusion(pairs, folder / f"confusion_{key}s.png", f"{key}s, remarks and events within a second")
    plot_timeline(results, evaluated.threshold, folder / "timeline.png")
    mistakes = choose(results)
    if mistakes:
        plot_gallery(mistakes, {clip.path.stem: clip for clip in clips}, folder / "gallery.png")


def pair_up(result: ClipResult) -> list[tuple[ScoredEvent | None, ScoredEvent | None]]:
    """Each remark and each event once, together if within a second, whatever the words."""
    matched = match(result.said, result.true, 1.0, any_words)
    pairs: list[tuple[ScoredEvent | None, ScoredEvent | None]] = [
        (said, result.true[matched[i]] if i in matched else None) for i, said in enumerate(result.said)
    ]
    found = set(matched.values())
    return pairs + [(None, event) for j, event in enumerate(result.true) if j not in found]


def _read(event: ScoredEvent | None, key: str) -> str | None:
    if event is None:
        return None
    return getattr(event, key) if event.verb else "other words"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; nothing if it has no rows."""
    if not rows:
        return ""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def group_table(groups: Mapping[str, Mapping[str, float]], keys: Sequence[str]) -> str:
    """Groups down, those of `keys` across that any group has."""
    keys = [key for key in keys if any(key in summary for summary in groups.values())]
    rows = [[name, *(say(key, summary.get(key)) for key in keys)] for name, summary in groups.items()]
    return table(["group", *keys], rows if keys else [])


def tolerance_table(groups: Mapping[str, Mapping[str, float]], of: str) -> str:
    """Precision / recall / F1 of each group at each tolerance."""
    columns = [f"@{tolerance:g}s {words}{of}" for words in WORDS for tolerance in TOLERANCES_S]
    rows = [
        [name, *(" / ".join(say("", summary[m + column]) for m in ("precision", "recall", "F1")) for column in columns)]
        for name, summary in groups.items()
        if "F1" + columns[0] in summary
    ]
    return table(["precision / recall / F1", *columns], rows)


def kinds_table(groups: Mapping[str, Mapping[str, float]]) -> str:
    """Kinds of questions down, groups across: share right, and of how many."""
    prefix = "answers right "
    kinds = sorted(
        {key.removeprefix(prefix) for summary in groups.values() for key in summary if key.startswith(prefix)}
    )
    rows = [
        [
            kind,
            *(
                f"{say('', summary[prefix + kind])} of {summary[f'answers {kind}']:.0f}"
                if prefix + kind in summary
                else "–"
                for summary in groups.values()
            ),
        ]
        for kind in kinds
    ]
    return table(["kind", *groups], rows)


def traits_table(results: Sequence[ClipResult]) -> str:
    """Clips that have a trait, such as one hand or one look, beside those that have another of its kind.

    Where one of them carries the score, or spoils it, the two halves of its row differ.
    """
    keys = ("clips", "F1@1s verb", "F1@1s all words")
    rows = []
    for kind in sorted({kind for result in results for kind in result.traits}):
        those = [result for result in results if kind in result.traits]
        for trait in sorted({result.traits[kind] for result in those}):
            halves = [summarize([r for r in those if (r.traits[kind] == trait) is has]) for has in (True, False)]
            rows.append([f"{kind}: {trait}", *(say(key, half.get(key)) for half in halves for key in keys)])
    return table(["trait", *keys, *(f"{key}, without" for key in keys)], rows)


def score_table(name: str, scores: Mapping[str, Score]) -> str:
    """F1, precision and recall of each, with the numbers said and true."""
    rows = []
    for key, s in scores.items():
        precision, recall = s.precision if s.said else None, s.recall if s.true else None
        rows.append([key, *(say("", value) for value in (s.f1, precision, recall)), str(s.said), str(s.true)])
    return table([name, "F1", "precision", "recall", "said", "true"], rows)


def say(key: str, value: float | None) -> str:
    """A number as the tables have it: counts whole, shares in three places."""
    if value is None:
        return "–"
    if key in COUNTS:
        return f"{value:.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _counts(score: Score) -> dict[str, float]:
    return {**asdict(score), "f1": score.f1}


def _rounded(value):
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
