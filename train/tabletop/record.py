"""What happened in a clip, as plain records: events, what the hand was about, questions. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

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
