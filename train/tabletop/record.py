"""What happens in a clip, as plain records: events, what the hand is about, questions, the script. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, field

from train.tabletop.motion import Motion
from train.tabletop.scenery import Look

PHASE_NONE, PHASE_REACHING, PHASE_HOLDING, PHASE_IDLE = 0, 1, 2, 3
NO_ITEM = -1


@dataclass(frozen=True)
class Event:
    """One moment worth a remark: exact time, "reach", "pick up" or "put down", the item, the remark."""

    time_s: float
    verb: str
    item: int
    text: str


@dataclass(frozen=True)
class Span:
    """What the hand is about between two times; item is NO_ITEM when it is about nothing in particular."""

    start_s: float
    end_s: float
    phase: int
    item: int


@dataclass(frozen=True)
class Question:
    """Asked by the viewer at a time, with the answer that is true at that time."""

    time_s: float
    question: str
    answer: str


@dataclass
class Script:
    """A whole clip, ready to be played at any frame rate."""

    split: str
    seed: int
    duration_s: float
    look: Look
    motion: Motion
    items: list[int]
    events: list[Event] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    def span_at(self, time_s: float) -> Span:
        """What the hand is about at a time."""
        for span in self.spans:
            if span.start_s <= time_s < span.end_s:
                return span
        return Span(time_s, time_s, PHASE_NONE, NO_ITEM)
