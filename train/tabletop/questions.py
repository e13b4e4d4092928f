"""What a viewer may ask at a moment of a clip, and the answer that is true then. Pure and seeded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from train.tabletop.catalog import FIRST_FIXTURE, FIXTURES, KNOWN_ITEMS, OBJECTS, name_of
from train.tabletop.language import NUMBERS, listing, wish
from train.tabletop.record import (
    NO_ITEM,
    PHASE_CLOSING,
    PHASE_HOLDING,
    PHASE_MOVING,
    PHASE_OPENING,
    PHASE_POURING,
    PHASE_REACHING,
    PHASE_SWITCHING,
    Event,
    Goal,
    Question,
    Script,
    Step,
)

QUIET_BEFORE_QUESTION_S = 1.0  # a question never falls on an event
MIN_QUESTION_GAP_S = 4.0
CANT_SEE = "I can't see that."
NUM_STUDY_SETS = 8
_SHARES = {"present": 0.22, "past": 0.18, "count": 0.08, "list": 0.08, "place": 0.16, "state": 0.08, "unknowable": 0.20}
_STUDY_SHARES = _SHARES | {"past": 0.12, "count": 0.14, "list": 0.12, "place": 0.22, "unknowable": 0.10}
"""What is to be read off the picture is hardest to learn, and asked more often in training."""


class Moment:
    """What is true at one time of a clip: the answers read nothing else."""

    def __init__(self, script: Script, time_s: float) -> None:
        self._motion, self.time_s = script.motion, time_s
        self.view = script.look.head.at(time_s)
        self.items, self.fixtures = script.items, sorted(script.motion.fixtures)
        self.events = [event for event in script.events if event.time_s <= time_s]
        self.goal = script.goal
        self.span = script.span_at(time_s)
        self.placed = {item: script.motion.placement_at(item, time_s) for item in script.items}

    @property
    def held(self) -> int | None:
        """What a hand holds."""
        return self.span.item if self.span.phase in (PHASE_HOLDING, PHASE_POURING) else None

    @property
    def on_table(self) -> list[int] | None:
        """Objects and fixtures that stand on the table; None while it is a matter of words: a bowl on a plate."""
        holders = {item: place.holder for item, place in self.placed.items() if place is not None}
        if any(holder is not None and not _is_closet(holder) for holder in holders.values()):
            return None
        resting = [item for item, holder in holders.items() if holder is None]
        return resting + [fixture + FIRST_FIXTURE for fixture in self.fixtures]

    def is_open(self, fixture: int) -> bool:
        """Whether a fixture is open, or on."""
        return self._motion.state_at(fixture, self.time_s) > 0.5

    def last(self, *verbs: str) -> str | None:
        """The name of the thing of the latest event of these verbs."""
        return next((name_of(event.item) for event in reversed(self.events) if event.verb in verbs), None)


Asked = tuple[str, str] | None
"""A question and its answer; None where this moment has no clear one."""


def _say(rng: np.random.Generator, *wordings: str) -> str:
    return wordings[int(rng.integers(len(wordings)))]


_DOING = {
    PHASE_REACHING: "You are reaching for the {}.",
    PHASE_HOLDING: "You are holding the {}.",
    PHASE_MOVING: "You are moving the {}.",
    PHASE_OPENING: "You are opening the {}.",
    PHASE_CLOSING: "You are closing the {}.",
    PHASE_POURING: "You are pouring from the {}.",
    PHASE_SWITCHING: None,
}


def _present(rng: np.random.Generator, moment: Moment) -> Asked:
    span = moment.span
    if rng.random() < 0.5:
        question = _say(rng, "What am I holding?", "What is in my hand?", "What do I have in my hand?")
        if span.phase in (PHASE_MOVING, PHASE_OPENING, PHASE_CLOSING, PHASE_SWITCHING):
            return None  # a hand at something, that neither holds it nor is free
        if moment.held is None:
            return question, "Nothing, your hands are free."
        return question, f"You are holding the {name_of(moment.held)}."
    question = _say(rng, "What am I doing?", "What am I doing right now?", "Can you tell what I am doing?")
    if span.item == NO_ITEM:
        return question, "You are not doing anything."
    doing = _DOING.get(span.phase, "You are not doing anything.")
    return (question, doing.format(name_of(span.item))) if doing else None


def _past(rng: np.random.Generator, moment: Moment) -> Asked:
    kind = int(rng.integers(4))
    if kind == 0:
        name = moment.last("pick up")
        question = _say(
            rng, "What did I pick up last?", "Which object did I pick up last?", "What was the last thing I picked up?"
        )
        return question, f"You picked up the {name}." if name else "You have not picked up anything yet."
    if kind == 1:
        name = moment.last("put down", "put on", "put in")
        question = _say(
            rng, "What did I put down last?", "Which object did I put down last?", "What was the last thing I put down?"
        )
        return question, f"You put down the {name}." if name else "You have not put down anything yet."
    if kind == 2:
        name = moment.last("open", "turn on")
        question = _say(rng, "What did I open or turn on last?", "Which thing did I last open or switch on?")
        return question, f"The {name}." if name else "You have not opened or turned on anything yet."
    item = int(rng.choice(moment.items)) if moment.items else NO_ITEM
    if item == NO_ITEM:
        return None
    verbs = {event.verb for event in moment.events if event.item == item}
    picked = "pick up" in verbs
    if "move" in verbs and not picked:
        return None  # taken, but never lifted
    question = _say(rng, "Did I pick up the {}?", "Have I picked up the {} yet?", "Have I had the {} in my hand?")
    return question.format(name_of(item)), "Yes, you picked it up." if picked else "No, you have not picked it up."


def _count(rng: np.random.Generator, moment: Moment) -> Asked:
    if moment.on_table is None:
        return None
    count = len(moment.on_table)
    question = _say(rng, "How many objects are on the table?", "How many things are on the table?")
    objects = "is one object" if count == 1 else f"are {NUMBERS[count]} objects"
    return question, f"There {objects} on the table."


def _list(rng: np.random.Generator, moment: Moment) -> Asked:
    if moment.on_table is None:
        return None
    question = _say(rng, "What is on the table?", "What do you see on the table?", "Which objects are on the table?")
    names = [name_of(thing) for thing in moment.on_table]
    return question, f"There is {listing(names) if names else 'nothing'} on the table."


def _place(rng: np.random.Generator, moment: Moment) -> Asked:
    if not moment.items:
        return None
    item = int(rng.choice(moment.items))
    question = _say(rng, "Where is the {}?", "Where did I leave the {}?", "Can you find the {}?").format(name_of(item))
    placed = moment.placed[item]
    if placed is None:
        return question, "It is in your hand."
    if placed.holder is not None:
        is_in = _is_inside(placed.holder)
        return question, f"It is {'in' if is_in else 'on'} the {name_of(placed.holder)}."
    u, _, _ = moment.view.project(placed.position())
    if min(abs(u - 0.38), abs(u - 0.62)) < 0.05:
        return None  # neither clearly at the side nor in the middle
    side = "on the left" if u < 0.38 else "on the right" if u > 0.62 else "in the middle"
    return question, f"It is {side} of the table."


def _is_closet(holder: int) -> bool:
    return holder >= FIRST_FIXTURE and FIXTURES[holder - FIRST_FIXTURE].is_openable


def _is_inside(holder: int) -> bool:
    return _is_closet(holder) or (holder < FIRST_FIXTURE and OBJECTS[holder].role == "container")


def _state(rng: np.random.Generator, moment: Moment) -> Asked:
    if not moment.fixtures:
        return None
    number = int(rng.choice(moment.fixtures))
    fixture = FIXTURES[number]
    word, other = ("open", "closed") if fixture.is_openable else ("on", "off")
    question = f"Is the {fixture.name} {word if rng.random() < 0.5 else other}?"
    now = word if moment.is_open(number) else other
    return question, f"{'Yes' if question.endswith(f' {now}?') else 'No'}, it is {now}."


_UNKNOWABLE = (
    "What is behind me?",
    "What time is it?",
    "Who called me this morning?",
    "What is the weather like outside?",
    "How much did this cost?",
    "How heavy is it?",
    "What did I have for breakfast?",
    "Is anyone else in the house?",
    "What colour are my shoes?",
    "How does it smell?",
    "When does this expire?",
    "What is my name?",
    "Is it raining?",
    "Where did I leave my keys?",
    "How warm is it?",
)


def _unknowable(rng: np.random.Generator, moment: Moment) -> Asked:
    if rng.random() < 0.6:
        return _say(rng, *_UNKNOWABLE), CANT_SEE
    if rng.random() < 0.25:
        missing = [fixture for fixture in range(len(FIXTURES)) if fixture not in moment.fixtures]
        name = FIXTURES[int(rng.choice(missing))].name
    else:
        present = [OBJECTS[item].name for item in moment.items]
        missing = [  # a yellow plate is a plate
            item for item in KNOWN_ITEMS if not any(f" {name}".endswith(f" {OBJECTS[item].name}") for name in present)
        ]
        name = OBJECTS[int(rng.choice(missing))].name
    return _say(rng, "Where is the {}?", "Can you find the {}?", "Where did I leave the {}?").format(name), (
        f"I can't see the {name}."
    )


_ASK: dict[str, Callable[[np.random.Generator, Moment], Asked]] = {
    "present": _present,
    "past": _past,
    "count": _count,
    "list": _list,
    "place": _place,
    "state": _state,
    "unknowable": _unknowable,
}


@dataclass(frozen=True)
class GoalProgress:
    """How far a goal has come at a moment."""

    goal: Goal
    num_done: int

    @property
    def next_step(self) -> Step | None:
        """What is to be done now; None when all is done."""
        return self.goal.steps[self.num_done] if self.num_done < len(self.goal.steps) else None


def progress(goal: Goal, events: list[Event]) -> GoalProgress:
    """The steps that events have fulfilled, in their order."""
    done = 0
    for event in events:
        if done < len(goal.steps) and Step(event.verb, event.item, event.target) == goal.steps[done]:
            done += 1
    return GoalProgress(goal, done)


def say_step(step: Step) -> str:
    """A step as something to do: "put the red mug on the plate"."""
    return wish(step.verb, name_of(step.item), None if step.target is None else name_of(step.target))


def _next(rng: np.random.Generator, moment: Moment, goal: Goal) -> Asked:
    question = _say(rng, "What next?", "What should I do next?", "What do I do now?")
    step = progress(goal, moment.events).next_step
    return question, f"Now {say_step(step)}." if step else "Nothing more, you are done."


def instruct(script: Script, rng: np.random.Generator) -> Question | None:
    """What the viewer asks for when the clip begins, a coach or help with a goal, and what is answered."""
    is_coaching = script.manner.style == "coaching"
    if script.goal:
        help_me = "Coach me while I {}." if is_coaching else _say(rng, "Help me {}.", "I want to {}. Help me.")
        answer = f"Sure. First {say_step(script.goal.steps[0])}."
        return Question(0.4, help_me.format(script.goal.name), answer, "instruction")
    if is_coaching:
        wanted = _say(rng, "Coach me.", "Be my coach.", "Please coach me.")
        return Question(0.4, wanted, "Sure, I will coach you.", "instruction")
    return None


def ask(rng: np.random.Generator, script: Script) -> list[Question]:
    """One to five questions at random times, each a second or more from every event and every change of the hands."""
    first = instruct(script, rng)
    count = int(rng.choice([1, 2, 3, 4, 5], p=[0.12, 0.22, 0.28, 0.23, 0.15]))
    return _ask(rng, script, first, count, _SHARES)


def ask_for_study(script: Script) -> list[list[Question]]:
    """Other sets of questions on the same clip, for training alone: pictures are dear, questions are not."""
    rng = np.random.default_rng([script.seed, 13])
    return [
        _ask(rng, script, instruct(script, rng), int(rng.integers(2, 7)), _STUDY_SHARES) for _ in range(NUM_STUDY_SETS)
    ]


def _ask(
    rng: np.random.Generator, script: Script, first: Question | None, count: int, shares: dict[str, float]
) -> list[Question]:
    edges_s = [event.time_s for event in script.events]
    edges_s += [time for span in script.spans for time in (span.start_s, span.end_s)]
    asked = [first] if first else []
    for _ in range(count):
        kind = str(rng.choice(list(shares), p=list(shares.values())))
        if script.goal and rng.random() < 0.4:
            kind = "next"
        for _ in range(40):
            time_s = round(float(rng.uniform(2.0, script.duration_s - 2.0)), 2)
            if any(abs(time_s - question.time_s) < MIN_QUESTION_GAP_S for question in asked):
                continue
            if any(-QUIET_BEFORE_QUESTION_S < time_s - edge_s < QUIET_BEFORE_QUESTION_S for edge_s in edges_s):
                continue
            if any(span.item == NO_ITEM and span.start_s <= time_s < span.end_s for span in script.spans):
                continue  # a hand on its way: what it is doing is not yet, or no longer, to be seen
            moment = Moment(script, time_s)
            found = _next(rng, moment, script.goal) if kind == "next" and script.goal else _ASK[kind](rng, moment)
            if found:
                asked.append(Question(time_s, *found, kind={"list": "present", "state": "present"}.get(kind, kind)))
                break
    return sorted(asked, key=lambda question: question.time_s)
