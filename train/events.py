"""Free-running scores: which events were called out in time, and with the right words. Pure.

A remark matches an event if both say the same within the tolerance; each event and each remark counts once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from train.tabletop.language import VERBS, remark

OPENINGS = {verb: remark(verb, "").removesuffix(".") for verb in VERBS}
"""How a remark about each verb begins."""


@dataclass(frozen=True)
class Event:
    """Something that happened, or was said to happen. time_s: seconds in the stream."""

    time_s: float
    verb: str
    object: str


@dataclass(frozen=True)
class Score:
    """Counts of one clip or of many; add them up."""

    matched: int = 0
    said: int = 0
    true: int = 0

    def __add__(self, other: "Score") -> "Score":
        return Score(self.matched + other.matched, self.said + other.said, self.true + other.true)

    @property
    def precision(self) -> float:
        """Share of remarks that were right; 1 if nothing was said."""
        return self.matched / self.said if self.said else 1.0

    @property
    def recall(self) -> float:
        """Share of events that were called out; 1 if there was none."""
        return self.matched / self.true if self.true else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.matched / (self.said + self.true) if self.said + self.true else 1.0


def parse_remark(text: str, time_s: float) -> Event:
    """What a remark claims; a sentence of another form has an empty verb and matches nothing."""
    for verb, opening in OPENINGS.items():
        if text.strip().startswith(opening):
            return Event(time_s, verb, text.strip().removeprefix(opening).rstrip("."))
    return Event(time_s, "", text.strip())


def score(said: Sequence[Event], true: Sequence[Event], *, tolerance_s: float, with_object: bool) -> Score:
    """Match remarks to events in order of their distance in time."""
    pairs = sorted(
        (abs(s.time_s - t.time_s), i, j)
        for i, s in enumerate(said)
        for j, t in enumerate(true)
        if abs(s.time_s - t.time_s) <= tolerance_s and s.verb == t.verb and (not with_object or s.object == t.object)
    )
    used_said: set[int] = set()
    used_true: set[int] = set()
    for _, i, j in pairs:
        if i not in used_said and j not in used_true:
            used_said.add(i)
            used_true.add(j)
    return Score(len(used_said), len(said), len(true))
