"""What went wrong, to be looked at: the frame, what was said about it, what was true."""

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from train.clips import ClipFile
from train.scoring.evaluate import ClipResult
from train.scoring.events import any_words, match, same_words

MAX_MISTAKES = 24
COLUMNS = 6


@dataclass(frozen=True)
class Mistake:
    """A wrong remark or one that was missing. frame: the one after which it was, or should have been, said."""

    clip: str
    frame: int
    time_s: float
    said: str
    true: str


def find_mistakes(result: ClipResult) -> list[Mistake]:
    """Remarks without an event that they are right about, and events without a remark, within a second; by time."""
    right = match(result.said, result.true, 1.0, same_words)
    found = match(result.said, result.true, 1.0, any_words)
    mistakes = []
    for index, event in enumerate(result.said):
        if index not in right:
            true = result.true[found[index]].text if index in found else "nothing happened"
            mistakes.append((event.time_s, event.text, true))
    seen = {*right.values(), *found.values()}
    mistakes += [(e.time_s + 1 / result.fps, "nothing", e.text) for j, e in enumerate(result.true) if j not in seen]
    last = len(result.silence_probs) - 1
    return [Mistake(result.clip, min(last, int(t * result.fps)), t, s, true) for t, s, true in sorted(mistakes)]


def choose(results: Sequence[ClipResult], limit: int = MAX_MISTAKES) -> list[Mistake]:
    """Up to `limit` mistakes, from as many clips as can be."""
    by_clip = [find_mistakes(result) for result in results]
    rounds = itertools.zip_longest(*by_clip)
    return [mistake for some in rounds for mistake in some if mistake is not None][:limit]


def plot_gallery(mistakes: Sequence[Mistake], clips: Mapping[str, ClipFile], path: Path) -> None:
    """A grid of frames with words under them; clips by name."""
    from matplotlib.figure import Figure

    rows = -(-len(mistakes) // COLUMNS)
    height = 4.3 * rows + 0.3
    figure = Figure(figsize=(3.1 * COLUMNS, height))
    figure.subplots_adjust(0.01, 1.1 / height, 0.99, 1 - 0.3 / height, wspace=0.05, hspace=0.45)
    panels = figure.subplots(rows, COLUMNS, squeeze=False)
    for axes, mistake in zip(panels.flat, mistakes, strict=False):
        axes.imshow(clips[mistake.clip].frames()[mistake.frame])
        axes.set_title(f"{mistake.clip} at {mistake.time_s:.1f} s", fontsize=9)
        said, true = (
            textwrap.fill(text, 36, max_lines=3) for text in (f"said: {mistake.said}", f"true: {mistake.true}")
        )
        for text, colour, lines_above in ((said, "tab:red", 0), (true, "tab:green", said.count("\n") + 1)):
            place = (0, -6 - 14 * lines_above)
            axes.annotate(text, (0, 0), place, "axes fraction", "offset points", va="top", fontsize=9.5, color=colour)
    for axes in panels.flat:
        axes.axis("off")
    figure.savefig(path, dpi=90)
