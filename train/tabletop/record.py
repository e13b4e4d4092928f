"""What happens in a clip, as plain records: events, what the hand is about, questions, the script. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, field

from train.tabletop.motion import Motion
from train.tabletop.scenery import Look

PHASES = ("none", "reaching", "holding", "idle", "moving", "opening", "closing", "switching", "pouring")
PHASE_NONE, PHASE_REACHING, PHASE_HOLDING, PHASE_IDLE, PHASE_MOVING = 0, 1, 2, 3, 4
PHASE_OPENING, PHASE_CLOSING, PHASE_SWITCHING, PHASE_POURING = 5, 6, 7, 8
NO_ITEM = -1


@dataclass(frozen=True)
class Event:
    """One moment worth a remark: exact time, verb, the thing (object or fixture), what it goes into or onto."""

    time_s: float
    verb: str
    item: int
    text: str
    target: int | None = None


@dataclass(frozen=True)
class Span:
    """What the hands are about between two times; item is NO_ITEM when it is nothing in particular.

    target: what is poured into, or what the item is being brought to; NO_ITEM: nothing.
    """

    start_s: float
    end_s: float
    phase: int
    item: int
    target: int = NO_ITEM


@dataclass(frozen=True)
class Question:
    """Asked by the viewer at a time, with the answer that is true at that time.

    kind: present, past, next, count, place, unknowable, or instruction (a wish rather than a question).
    """

    time_s: float
    question: str
    answer: str
    kind: str


@dataclass(frozen=True)
class Manner:
    """How remarks of a clip are worded. style: of language.STYLES. voice: 0 for the usual phrases, else rarer ones."""

    style: str = "plain"
    voice: int = 0


@dataclass(frozen=True)
class Habits:
    """How the hands of a clip move. pace: of every stroke, 1 for the usual time. approach_rad: from how far round a
    thing they take it, about the vertical. shown_share: of the things taken up, how many are held before the eyes.
    """

    pace: float = 1.0
    approach_rad: float = 0.0
    shown_share: float = 1.0


@dataclass(frozen=True)
class Step:
    """One step towards a goal: what is to be done with which thing, and to what."""

    verb: str
    item: int
    target: int | None = None


@dataclass(frozen=True)
class Goal:
    """What the viewer has set out to do."""

    name: str
    steps: tuple[Step, ...]


@dataclass
class Script:
    """A whole clip, ready to be played at any frame rate."""

    split: str
    seed: int
    duration_s: float
    look: Look
    motion: Motion
    items: list[int]
    group: str = ""
    manner: Manner = Manner()
    goal: Goal | None = None
    habits: Habits = Habits()
    events: list[Event] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    def span_at(self, time_s: float) -> Span:
        """What the hand is about at a time."""
        for span in self.spans:
            if span.start_s <= time_s < span.end_s:
                return span
        return Span(time_s, time_s, PHASE_NONE, NO_ITEM)
