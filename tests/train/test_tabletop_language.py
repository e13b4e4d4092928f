"""What is said in the tabletop world: remarks can be read back, and every answer is true to events and motion."""

from __future__ import annotations

from itertools import pairwise, product

import pytest

from train.tabletop.catalog import FIRST_FIXTURE, FIXTURES, OBJECTS, VOCABULARY, name_of
from train.tabletop.ground_truth import describe
from train.tabletop.language import NUM_VOICES, NUMBERS, STYLES, VERBS, WITH_TARGET, listing, read_remark, remark, wish
from train.tabletop.questions import CANT_SEE, MIN_QUESTION_GAP_S, NUM_STUDY_SETS, ask_for_study
from train.tabletop.record import Event, Manner, Question, Script

PUT = ("put down", "put on", "put in")
SWITCHED = {"open": True, "turn on": True, "close": False, "turn off": False}
STILL = ("put down", "put on", "put in", "move", *SWITCHED)  # after these a hand goes away


@pytest.fixture(scope="module")
def scripts(train_scripts: list[Script], bench_scripts: list[Script]) -> list[Script]:
    return train_scripts + bench_scripts


class World:
    """What is known at a time from the beginning of a clip and its events alone."""

    def __init__(self, script: Script, time_s: float) -> None:
        self.script, self.time_s = script, time_s
        self.events = [event for event in script.events if event.time_s <= time_s]
        self.holders: dict[int, int] = {}
        self.held: int | None = None
        self.is_on = {fixture: state > 0.5 for fixture, state in script.motion.states.items()}
        for event in self.events:
            if event.verb == "pick up":
                self.held = event.item
            elif event.verb in PUT:
                self.held = None
                if event.target is not None:
                    self.holders[event.item] = event.target
            elif event.verb in SWITCHED:
                self.is_on[event.item - FIRST_FIXTURE] = SWITCHED[event.verb]

    def on_table(self) -> list[str]:
        """Names of what stands on the table itself."""
        objects = [item for item in self.script.items if item != self.held and item not in self.holders]
        return [OBJECTS[item].name for item in objects] + [FIXTURES[fixture].name for fixture in sorted(self.is_on)]

    def last(self, *verbs: str) -> str | None:
        found = [event.item for event in self.events if event.verb in verbs]
        return name_of(found[-1]) if found else None

    def doing(self) -> str:
        """What the hands are about: the latest event tells, unless they have gone since."""
        last = self.events[-1] if self.events else None
        acting = {"reach": "reaching for", "pick up": "holding", "pour": "pouring from"}
        if last is None or last.verb in STILL:
            return "You are not doing anything."
        is_over = last.verb == "pour" and self.script.motion.pour_at(self.time_s) is None
        return f"You are {'holding' if is_over else acting[last.verb]} the {name_of(last.item)}."


def asked_of(scripts: list[Script], kind: str) -> list[tuple[World, Question]]:
    study = {s.seed: [asked for one in ask_for_study(s) for asked in one] for s in scripts[:20] if s.split == "train"}
    found = [
        (World(s, asked.time_s), asked)
        for s in scripts
        for asked in (*s.questions, *study.get(s.seed, []))
        if asked.kind == kind
    ]
    assert len(found) > 20
    return found


def named(question: str) -> int:
    """The thing that a question names, by its number."""
    names = [name for name in VOCABULARY if f"the {name} " in question or f"the {name}?" in question]
    index = VOCABULARY.index(max(names, key=len))
    return index if index < len(OBJECTS) else index - len(OBJECTS) + FIRST_FIXTURE


def num_done(script: Script, events: list[Event]) -> int:
    assert script.goal is not None
    done = 0
    for event in events:
        if done == len(script.goal.steps):
            break
        step = script.goal.steps[done]
        done += (step.verb, step.item, step.target) == (event.verb, event.item, event.target)
    return done


def test_remarks_are_as_spoken():
    assert remark("reach", "red mug") == "You reach for the red mug."
    assert remark("pour", "milk", "red mug") == "You pour from the milk into the red mug."
    assert remark("put in", "milk", "fridge", Manner("coaching")) == "Tidy, the milk is in the fridge."
    assert wish("put on", "red mug", "plate") == "put the red mug on the plate"
    assert listing(["milk", "plate", "red mug"]) == "the milk, the plate and the red mug"
    assert listing(["milk"]) == "the milk"


@pytest.mark.parametrize("verb", VERBS)
def test_a_remark_of_any_style_and_voice_can_be_read_back(verb: str):
    targets = VOCABULARY[::5] if verb in WITH_TARGET else (None,)
    texts: dict[str, str] = {}
    for name, target in product(VOCABULARY, targets):
        for style, voice in product(STYLES, range(NUM_VOICES)):
            text = remark(verb, name, target, Manner(style, voice))
            assert read_remark(text) == (verb, name, target)
            texts[text] = style
    assert set(texts.values()) == set(STYLES)


@pytest.mark.parametrize("text", ["", "You wave.", "You reach for the milk", "There is the milk on the table."])
def test_other_words_are_no_remark(text: str):
    assert read_remark(text) is None


def test_events_say_what_they_are(scripts):
    for script in scripts:
        for event in script.events:
            target = None if event.target is None else name_of(event.target)
            assert read_remark(event.text) == (event.verb, name_of(event.item), target)


def test_rare_wordings_are_for_training_alone_and_a_fifth_is_coached(scripts):
    assert {script.manner.voice for script in scripts if script.split == "train"} == set(range(NUM_VOICES))
    assert {script.manner.voice for script in scripts if script.split == "bench"} == {0}
    coached = [script for script in scripts if script.manner.style == "coaching"]
    assert 0.1 < len(coached) / len(scripts) < 0.3
    assert all(script.questions[0].kind == "instruction" for script in coached)


def test_questions_are_apart_from_each_other_and_from_events(scripts):
    sets = [(script, script.questions) for script in scripts]
    sets += [(script, asked) for script in scripts[:20] for asked in ask_for_study(script)]
    for script, questions in sets:
        times_s = [asked.time_s for asked in questions]
        assert times_s == sorted(times_s)
        assert all(later - earlier >= MIN_QUESTION_GAP_S for earlier, later in pairwise(times_s))
        assert all(abs(time_s - event.time_s) >= 1.0 for time_s in times_s for event in script.events)
        assert all(0 < time_s <= script.duration_s - 2.0 for time_s in times_s)


def test_clips_to_train_on_have_other_questions_too(scripts):
    studied = describe(scripts[0])
    assert scripts[0].split == "train"
    assert len(studied.study_questions) == NUM_STUDY_SETS
    asked = {repr(one) for one in (studied.questions, *studied.study_questions)}
    assert len(asked) == NUM_STUDY_SETS + 1
    assert describe(scripts[0]).study_questions == studied.study_questions
    assert describe(scripts[-1]).study_questions == []


def test_answers_about_the_present_are_true(scripts):
    for world, asked in asked_of(scripts, "present"):
        held = f"You are holding the {name_of(world.held)}." if world.held is not None else None
        words = asked.question.split()
        if words[0] == "Is":
            fixture = named(asked.question) - FIRST_FIXTURE
            yes, no = ("open", "closed") if FIXTURES[fixture].is_openable else ("on", "off")
            now = yes if world.is_on[fixture] else no
            assert words[-1] in (f"{yes}?", f"{no}?")
            assert asked.answer == f"{'Yes' if words[-1] == f'{now}?' else 'No'}, it is {now}."
            assert round(world.script.motion.state_at(fixture, asked.time_s)) == world.is_on[fixture]
        elif "doing" in words or "doing?" in words:
            assert asked.answer in (world.doing(), "You are not doing anything.")
            assert (asked.answer == world.doing()) or world.events[-1].verb == "reach"  # and the hand has gone
        elif "table?" in words:
            names = world.on_table()
            assert asked.answer == f"There is {listing(names) if names else 'nothing'} on the table."
        else:
            assert asked.answer == (held or "Nothing, your hands are free.")


def test_answers_about_the_past_are_true(scripts):
    for world, asked in asked_of(scripts, "past"):
        if "open" in asked.question:
            name = world.last("open", "turn on")
            assert asked.answer == (f"The {name}." if name else "You have not opened or turned on anything yet.")
        elif "last" in asked.question:
            is_put = "put" in asked.question
            name, verb = world.last(*PUT) if is_put else world.last("pick up"), "put" if is_put else "picked"
            assert asked.answer.startswith(f"You {verb} " if name else f"You have not {verb} ")
            assert name is None or asked.answer.endswith(f" the {name}.")
        else:
            verbs = {event.verb for event in world.events if event.item == named(asked.question)}
            assert asked.answer.split()[0] == ("Yes," if "pick up" in verbs else "No,")
            assert "pick up" in verbs or "move" not in verbs


def test_numbers_of_objects_are_true(scripts):
    for world, asked in asked_of(scripts, "count"):
        count = len(world.on_table())
        assert f" {NUMBERS[count]} object" in asked.answer
        assert asked.answer.startswith("There is ") == (count == 1)
        assert all(holder >= FIRST_FIXTURE for holder in world.holders.values())  # a bowl on a plate would be in doubt


def test_answers_about_places_are_true(scripts):
    for world, asked in asked_of(scripts, "place"):
        item = named(asked.question)
        base, _ = world.script.motion.object_at(item, asked.time_s)
        u, _, _ = world.script.look.head.at(asked.time_s).project(base)
        holder = world.holders.get(item)
        if item == world.held:
            assert asked.answer == "It is in your hand."
        elif holder is not None:
            words = {event.verb for event in world.events if event.item == item} & {"put on", "put in"}
            assert words == {f"put {asked.answer.split()[2]}"}
            assert asked.answer.endswith(f" the {name_of(holder)}.")
        else:
            side = "on the left" if u < 0.34 else "on the right" if u > 0.66 else "in the middle"
            assert asked.answer == f"It is {side} of the table."
            assert min(abs(u - 0.38), abs(u - 0.62)) >= 0.04


def test_what_cannot_be_known_is_not_answered(scripts):
    for world, asked in asked_of(scripts, "unknowable"):
        if asked.answer == CANT_SEE:
            assert not any(f"the {name}?" in asked.question for name in VOCABULARY)
            continue
        name = name_of(named(asked.question))
        assert asked.answer == f"I can't see the {name}."
        there = [OBJECTS[item].name for item in world.script.items] + [FIXTURES[f].name for f in world.is_on]
        assert not any(f" {other}".endswith(f" {name}") for other in there)  # a yellow plate is a plate


def test_next_is_the_first_step_that_is_not_done(scripts):
    for world, asked in asked_of(scripts, "next"):
        goal = world.script.goal
        assert goal is not None
        done = num_done(world.script, world.events)
        if done == len(goal.steps):
            assert asked.answer == "Nothing more, you are done."
            continue
        step = goal.steps[done]
        target = None if step.target is None else name_of(step.target)
        assert asked.answer == f"Now {wish(step.verb, name_of(step.item), target)}."


def test_goals_are_announced_followed_in_order_and_often_reached(scripts):
    with_goal = [script for script in scripts if script.goal]
    reached = []
    for script in with_goal:
        assert script.goal is not None
        first = script.questions[0]
        assert script.goal.name in first.question
        step = script.goal.steps[0]
        target = None if step.target is None else name_of(step.target)
        assert first.answer == f"Sure. First {wish(step.verb, name_of(step.item), target)}."
        needed = {thing for step in script.goal.steps for thing in (step.item, step.target)} - {None}
        done = [event for event in script.events if event.item in needed and event.verb not in ("reach", "pick up")]
        done = [event for event in done if not (event.verb == "put down" and script.goal.name == "make coffee")]
        assert num_done(script, script.events) == len(done)  # nothing else is done with what the goal needs
        reached.append(len(done) == len(script.goal.steps))
    assert len({script.goal.name for script in with_goal if script.goal}) == 5
    assert sum(reached) > len(reached) / 3
