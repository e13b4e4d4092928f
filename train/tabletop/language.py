"""Puts what happens into words: remarks, questions and their true answers. Pure; runs in the caller's thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from train.tabletop.catalog import VOCABULARY
from train.tabletop.record import NO_ITEM, PHASE_HOLDING, PHASE_REACHING, Event, Question, Span

_REMARKS = {
    "reach": "You reach for the {}.",
    "pick up": "You pick up the {}.",
    "put down": "You put down the {}.",
}
VERBS = tuple(_REMARKS)
QUIET_BEFORE_QUESTION_S = 1.0  # a question never falls on an event
MIN_QUESTION_GAP_S = 4.0
_NUMBERS = "no one two three four five six seven eight nine ten".split()  # noqa: SIM905


def remark(verb: str, name: str) -> str:
    """The second-person line for an event: remark("reach", "red mug") is "You reach for the red mug."."""
    return _REMARKS[verb].format(name)


def listing(names: Sequence[str]) -> str:
    """["milk", "plate", "red mug"] as "the milk, the plate and the red mug"."""
    the = [f"the {name}" for name in names]
    return the[0] if len(the) == 1 else ", ".join(the[:-1]) + " and " + the[-1]


class Moment:
    """What is true at one time of a clip: the questions' answers read nothing else."""

    def __init__(self, time_s: float, items: Sequence[int], events: Sequence[Event], spans: Sequence[Span]) -> None:
        past = [event for event in events if event.time_s <= time_s]
        now = [span for span in spans if span.start_s <= time_s < span.end_s and span.item != NO_ITEM]
        self.names = [VOCABULARY[item] for item in items]
        self.picked = [VOCABULARY[event.item] for event in past if event.verb == "pick up"]
        self.put = [VOCABULARY[event.item] for event in past if event.verb == "put down"]
        self.held = next((VOCABULARY[span.item] for span in now if span.phase == PHASE_HOLDING), None)
        self.reached = next((VOCABULARY[span.item] for span in now if span.phase == PHASE_REACHING), None)


def _doing(moment: Moment) -> str:
    if moment.held:
        return f"You are holding the {moment.held}."
    if moment.reached:
        return f"You are reaching for the {moment.reached}."
    return "You are not doing anything."


def _holding(moment: Moment) -> str:
    return f"You are holding the {moment.held}." if moment.held else "Nothing, your hands are free."


def _picked_last(moment: Moment) -> str:
    return f"You picked up the {moment.picked[-1]}." if moment.picked else "You have not picked up anything yet."


def _put_last(moment: Moment) -> str:
    return f"You put down the {moment.put[-1]}." if moment.put else "You have not put down anything yet."


def _on_table(moment: Moment) -> str:
    resting = [name for name in moment.names if name != moment.held]
    return f"There is {listing(resting) if resting else 'nothing'} on the table."


def _how_many(moment: Moment) -> str:
    count = len(moment.names) - (1 if moment.held else 0)
    return f"There {'is' if count == 1 else 'are'} {_NUMBERS[count]} object{'' if count == 1 else 's'} on the table."


QUESTIONS: tuple[tuple[tuple[str, ...], Callable[[Moment], str]], ...] = (
    (("What am I doing?", "What am I doing right now?", "Can you tell what I am doing?"), _doing),
    (("What am I holding?", "What is in my hand?", "What do I have in my hand?"), _holding),
    (
        ("What did I pick up last?", "Which object did I pick up last?", "What was the last thing I picked up?"),
        _picked_last,
    ),
    (
        ("What did I put down last?", "Which object did I put down last?", "What was the last thing I put down?"),
        _put_last,
    ),
    (("What is on the table?", "What do you see on the table?", "Which objects are on the table?"), _on_table),
    (("How many objects are on the table?", "How many things are on the table?"), _how_many),
)


def ask(
    rng: np.random.Generator,
    duration_s: float,
    items: Sequence[int],
    events: Sequence[Event],
    spans: Sequence[Span],
) -> list[Question]:
    """None to three questions at random times, each a second or more from every event and every change of the hand."""
    edges_s = [event.time_s for event in events] + [time for span in spans for time in (span.start_s, span.end_s)]
    asked: list[Question] = []
    for _ in range(int(rng.choice(4, p=[0.25, 0.30, 0.25, 0.20]))):
        variants, answer = QUESTIONS[int(rng.integers(len(QUESTIONS)))]
        wording = variants[int(rng.integers(len(variants)))]
        for _ in range(40):
            time_s = round(float(rng.uniform(2.0, duration_s - 2.0)), 2)
            if any(abs(time_s - question.time_s) < MIN_QUESTION_GAP_S for question in asked):
                continue
            if any(-0.2 < time_s - edge_s < QUIET_BEFORE_QUESTION_S for edge_s in edges_s):
                continue
            if any(span.item == NO_ITEM and span.start_s <= time_s < span.end_s for span in spans):
                continue  # a hand on its way: what it is doing is not yet, or no longer, to be seen
            if any(-QUIET_BEFORE_QUESTION_S < time_s - event.time_s < 0 for event in events):
                continue
            asked.append(Question(time_s, wording, answer(Moment(time_s, items, events, spans))))
            break
    return sorted(asked, key=lambda question: question.time_s)
