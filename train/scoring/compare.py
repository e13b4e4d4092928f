"""Several checkpoints side by side; what differs in its seed alone (NAME-0, NAME-1, …) is pooled."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from train.clips import ClipFile
from train.recipe import RecipeError
from train.scoring.charts import plot_comparison
from train.scoring.evaluate import Evaluated
from train.scoring.report import PAPER, REPORT, say, table, write_report
from train.scoring.summary import summarize

COLUMNS = (
    *PAPER,
    "F1@1s verb",
    "F1@1s all words",
    "duplicates",
    "quiet remarks/h",
    "answers right",
    "training tokens a sample",
    "training minutes",
)


def report_all(
    evaluated: Iterable[Evaluated], clips: Sequence[ClipFile], out: Path, *, compares: bool
) -> Iterator[str]:
    """Write a report for each checkpoint as it comes; yields what to show.

    compares: each gets a folder of its own in `out`, and a comparison is written at the top; else `out` is the report.
    """
    rows = {}
    for one in evaluated:
        headline = write_report(one, clips, out / one.name if compares else out)
        rows[one.name] = {**summarize(one.results), **fit_numbers(one.path.absolute().parent)}
        yield f"{one.name}, silence threshold {one.threshold:g}\n\n{headline}\n"
    if compares:
        yield write_comparison(rows, out)


def compare_reports(folders: Sequence[Path], out: Path) -> str:
    """Write the comparison of reports that were made one by one, on the same clips; returns the table.

    A fit's numbers are taken from fit.json in a report's folder or the one above. Raises RecipeError for a folder
    without a checkpoint's report, for two of one name, and for reports on different clips.
    """
    for folder in folders:
        if folder.resolve() == out.resolve():
            raise RecipeError(f"--out {out}: is one of the reports, which would be lost; name another folder")
    rows: dict[str, dict[str, float]] = {}
    seen: dict[str, list[str]] = {}
    for folder in folders:
        path = folder / f"{REPORT}.json"
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            name, clips = str(report["name"]), [clip["clip"] for clip in report["clips"]]
            row = {key: float(value) for key, value in report["groups"]["all"].items() if value is not None}
            if not row:
                raise ValueError("no figures")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecipeError(f"{path}: is no checkpoint's report; make one (python -m train evaluate)") from error
        if name in rows:
            raise RecipeError(f"{path}: another report is called {name} too; leave one of them out")
        rows[name], seen[name] = {**row, **fit_numbers(folder), **fit_numbers(folder.absolute().parent)}, clips
    first = next(iter(seen))
    for name, clips in seen.items():
        if clips != seen[first]:
            raise RecipeError(f"{name} and {first} were scored on different clips; evaluate them on the same ones")
    out.mkdir(parents=True, exist_ok=True)
    return write_comparison(rows, out)


def fit_numbers(folder: Path) -> dict[str, float]:
    """What the fit in a folder said of itself, if there is one."""
    path = folder / "fit.json"
    if not path.is_file():
        return {}
    numbers = {}
    try:
        report = json.loads(path.read_text(encoding="utf-8")).get("report", {})
        if "tokens_per_dialogue" in report:
            numbers["training tokens a sample"] = float(report["tokens_per_dialogue"])
        if "seconds" in report:
            numbers["training minutes"] = float(report["seconds"]) / 60
    except (OSError, ValueError, TypeError, AttributeError):
        raise RecipeError(f"{path}: is not what a fit wrote; delete it to go on without its figures") from None
    return numbers


def write_comparison(rows: Mapping[str, Mapping[str, float]], out: Path) -> str:
    """Write report.json, report.md and compare.png over all checkpoints; returns the table. rows: by name."""
    pooled = pool(rows)
    seeds = {name: sum(pool_name(member) == name for member in rows) for name in pooled}
    lines = [
        [name, str(seeds[name]), *(_with_deviation(row.get(column), seeds[name]) for column in COLUMNS)]
        for name, row in pooled.items()
    ]
    text = table(["checkpoint", "seeds", *COLUMNS], lines)
    content = {
        "pooled": {name: {k: list(v) for k, v in row.items()} for name, row in pooled.items()},
        "checkpoints": rows,
    }
    (out / f"{REPORT}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    note = "Mean ± standard deviation over seeds." if any(count > 1 for count in seeds.values()) else ""
    (out / f"{REPORT}.md").write_text("\n\n".join(part for part in (text, note) if part) + "\n", encoding="utf-8")
    plot_comparison(pooled, COLUMNS, out / "compare.png")
    return text


def pool_name(name: str) -> str:
    """A checkpoint's name without the seed at its end."""
    return re.sub(r"-\d+$", "", name)


def pool(rows: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, tuple[float, float]]]:
    """(mean, standard deviation) of each number over the seeds of each name; the deviation of one is 0."""
    pooled: dict[str, dict[str, tuple[float, float]]] = {}
    for name in dict.fromkeys(pool_name(name) for name in rows):
        members = [row for member, row in rows.items() if pool_name(member) == name]
        keys = dict.fromkeys(key for row in members for key in row)
        values = {key: [row[key] for row in members if key in row] for key in keys}
        pooled[name] = {key: (fmean(some), stdev(some) if len(some) > 1 else 0.0) for key, some in values.items()}
    return pooled


def _with_deviation(value: tuple[float, float] | None, seeds: int) -> str:
    if value is None:
        return "–"
    mean, deviation = value
    if seeds == 1:
        return say("", mean)
    return f"{mean:.3f} ± {deviation:.3f}" if abs(mean) < 10 else f"{mean:.1f} ± {deviation:.1f}"
