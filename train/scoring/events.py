"""Free-running scores: which events were called out in time, and with the right words. Pure.

A remark matches an event if both say the same within the tolerance; each event and each remark counts once. What is
said in words that cannot be read back matches what is said in the same words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from train.clip import Clip
from train.scoring.answers import normalize
from train.tabletop.language import read_remark

REPEATED_WITHIN_S = 10.0
REPEAT_TOLERANCE_S = 2.0


@dataclass(frozen=True)
class ScoredEvent:
    """Something that happened, or was said to happen.

    time_s: seconds in the stream. target: where to, or with what. verb: empty if the words cannot be read back;
    `object` is then the words themselves, normalised. text: the words, which are no part of what makes events equal.
    """

    time_s: float
    verb: str
    object: str
    target: str | None = None
    text: str = field(default="", compare=False)

    @property
    def claim(self) -> tuple[str, str, str | None]:
        """All that is said but for the time."""
        return self.verb, self.object, self.target


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


def parse_remark(text: str, time_s: float) -> ScoredEvent:
    """What a remark claims; a sentence of another form has an empty verb, and its normalised words for an object."""
    claim = read_remark(text)
    return ScoredEvent(time_s, *claim) if claim else ScoredEvent(time_s, "", normalize(text))


def true_events(clip: Clip) -> list[ScoredEvent]:
    """A clip's events, read from their words as remarks are."""
    return [read(event.text, event.time_s) for event in clip.events]


def read(text: str, time_s: float) -> ScoredEvent:
    """`parse_remark`, with the words kept."""
    event = parse_remark(text, time_s)
    return ScoredEvent(event.time_s, event.verb, event.object, event.target, text.strip())


def score(said: Sequence[ScoredEvent], true: Sequence[ScoredEvent], *, tolerance_s: float, with_object: bool) -> Score:
    """Match remarks to events in order of their distance in time; with_object: object and target must be right too."""
    return Score(len(match(said, true, tolerance_s, same_words if with_object else same_verb)), len(said), len(true))


def same_verb(said: ScoredEvent, true: ScoredEvent) -> bool:
    """Whether the verb is right; of words that cannot be read back, all."""
    return said.verb == true.verb and (bool(said.verb) or said.object == true.object)


def same_words(said: ScoredEvent, true: ScoredEvent) -> bool:
    """Whether verb, object and target are right."""
    return said.claim == true.claim


def any_words(said: ScoredEvent, true: ScoredEvent) -> bool:
    """Time alone."""
    return True


def match(
    said: Sequence[ScoredEvent],
    true: Sequence[ScoredEvent],
    tolerance_s: float,
    is_right: Callable[[ScoredEvent, ScoredEvent], bool],
) -> dict[int, int]:
    """Which remark goes with which event (indices), the closest in time first, each at most once."""
    pairs = sorted(
        (abs(s.time_s - t.time_s), i, j)
        for i, s in enumerate(said)
        for j, t in enumerate(true)
        if abs(s.time_s - t.time_s) <= tolerance_s and is_right(s, t)
    )
    matched: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in pairs:
        if i not in matched and j not in taken:
            matched[i] = j
            taken.add(j)
    return matched


def count_repeats(said: Sequence[ScoredEvent], true: Sequence[ScoredEvent]) -> int:
    """Remarks that claim again what was claimed in the last 10 s, with no event of their own to match within 2 s."""
    matched = match(said, true, REPEAT_TOLERANCE_S, same_words)
    return sum(
        i not in matched and any(s.claim == r.claim and 0 <= s.time_s - r.time_s <= REPEATED_WITHIN_S for r in said[:i])
        for i, s in enumerate(said)
    )


def about(events: Sequence[ScoredEvent], names: Sequence[str]) -> list[ScoredEvent]:
    """Those that have one of these things for an object or a target."""
    return [e for e in events if e.object in names or e.target in names]
