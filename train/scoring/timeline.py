"""A few clips as they went: p(silence), what was true below it, what was said above it."""

from collections.abc import Sequence
from pathlib import Path

from train.scoring.evaluate import ClipResult
from train.scoring.events import ScoredEvent, any_words, match, same_words

RIGHT, WRONG, MISSED, TRUE = "tab:green", "tab:red", "tab:orange", "tab:gray"
MAX_CLIPS = 4


def plot_timeline(results: Sequence[ClipResult], threshold: float, path: Path) -> None:
    """One strip a clip: green is right, red wrong, orange an event that nobody called out."""
    from matplotlib.figure import Figure

    shown = pick_clips(results)
    figure = Figure(figsize=(14, 4 * len(shown)), layout="constrained")
    for axes, result in zip(figure.subplots(len(shown), 1, squeeze=False).flat, shown, strict=True):
        times = [frame / result.fps for frame in range(len(result.silence_probs))]
        axes.plot(times, result.silence_probs, color="tab:blue", linewidth=1)
        axes.axhline(threshold, linestyle="--", color="grey", linewidth=0.8)
        right = match(result.said, result.true, 1.0, same_words)
        for index, event in enumerate(result.said):
            _mark(axes, event, 1.1, RIGHT if index in right else WRONG)
        found = set(match(result.said, result.true, 1.0, any_words).values())
        for index, event in enumerate(result.true):
            _mark(axes, event, -0.1, TRUE if index in found else MISSED)
        for answer in result.answers:
            axes.axvline(answer.time_s, color=RIGHT if answer.is_right else WRONG, linestyle=":", linewidth=1.2)
        axes.set(
            xlim=(-0.01 * result.seconds, result.seconds), ylim=(-1.35, 2.35), ylabel="p(silence)", yticks=(0, 0.5, 1)
        )
        axes.set_title(f"{result.clip} ({result.group})", fontsize=10, loc="left")
        axes.set_xlabel("seconds; remarks above, what was true below, dotted: questions", fontsize=8)
    figure.savefig(path, dpi=110)


def pick_clips(results: Sequence[ClipResult]) -> list[ClipResult]:
    """A few clips in which something happens, of as many groups as can be."""
    busy = [r for r in results if r.true] or list(results)
    first = {r.group: r for r in reversed(busy)}
    chosen = [first[group] for group in sorted(first)]
    chosen += [r for r in busy if r not in chosen]
    return chosen[:MAX_CLIPS]


def claim_text(event: ScoredEvent) -> str:
    """A remark's claim in few words."""
    if not event.verb:
        return event.object
    return f"{event.verb} {event.object}" + (f" · {event.target}" if event.target else "")


def _mark(axes, event: ScoredEvent, y: float, colour: str) -> None:
    up = y > 0.5
    axes.plot(event.time_s, y, marker="v" if up else "^", color=colour)
    axes.text(event.time_s, y + (0.1 if up else -0.1), claim_text(event)[:40], rotation=45 if up else -45, fontsize=7,
              color=colour, ha="left", va="bottom" if up else "top", rotation_mode="anchor")  # fmt: skip
