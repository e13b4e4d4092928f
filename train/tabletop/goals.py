"""What a viewer may set out to do: the things it takes and the steps that lead there. Pure and seeded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from train.tabletop.catalog import FIRST_FIXTURE, FIXTURES, KNOWN_ITEMS, OBJECTS, STOVE, TAP
from train.tabletop.record import Goal, Step

Plan = tuple[Goal, list[int], list[int]]
"""A goal, the objects it takes, and the fixtures."""


def choose_goal(rng: np.random.Generator) -> Plan:
    """One of the goals, with particular things."""
    return _GOALS[int(rng.integers(len(_GOALS)))](rng)


def _pick(
    rng: np.random.Generator, *, role: str, word: str = "", max_radius_m: float = 1.0, max_height_m: float = 1.0
) -> int:
    fitting = [
        item
        for item in KNOWN_ITEMS
        if OBJECTS[item].role == role
        and word in OBJECTS[item].name
        and OBJECTS[item].radius_m <= max_radius_m
        and OBJECTS[item].height_m <= max_height_m
    ]
    return int(rng.choice(fitting))


def _coffee(rng: np.random.Generator) -> Plan:
    pot, mug = _pick(rng, role="vessel", word="moka pot"), _pick(rng, role="dish", word="mug")
    stove = STOVE + FIRST_FIXTURE
    steps = (Step("turn on", stove), Step("pour", pot, mug), Step("turn off", stove))
    return Goal("make coffee", steps), [pot, mug], [STOVE]


def _table(rng: np.random.Generator) -> Plan:
    plate = next(item for item in KNOWN_ITEMS if OBJECTS[item].name == "plate")
    bowl, mug = _pick(rng, role="dish", word="bowl"), _pick(rng, role="dish", word="mug")
    steps = (Step("move", plate), Step("put on", bowl, plate), Step("move", mug))
    return Goal("set the table", steps), [plate, bowl, mug], []


def _heat(rng: np.random.Generator) -> Plan:
    oven = next(f for f, fixture in enumerate(FIXTURES) if fixture.name == "microwave")
    dish = _pick(rng, role="dish", word="ramekin")
    thing = oven + FIRST_FIXTURE
    steps = (Step("open", thing), Step("put in", dish, thing), Step("close", thing))
    return Goal("heat up some food", steps), [dish], [oven]


def _store(rng: np.random.Generator) -> Plan:
    closet = int(rng.choice([f for f, fixture in enumerate(FIXTURES) if fixture.kind == "drawer"]))
    limits = FIXTURES[closet].holds_m
    assert limits is not None
    food = _pick(rng, role="food", max_radius_m=limits[0], max_height_m=limits[1])
    thing = closet + FIRST_FIXTURE
    steps = (Step("open", thing), Step("put in", food, thing), Step("close", thing))
    return Goal("put the groceries away", steps), [food], [closet]


def _wash(rng: np.random.Generator) -> Plan:
    dish = _pick(rng, role="dish", word="mug")
    board = next(item for item in KNOWN_ITEMS if OBJECTS[item].name == "cutting board")
    tap = TAP + FIRST_FIXTURE
    steps = (Step("turn on", tap), Step("put on", dish, board), Step("turn off", tap))
    return Goal("wash up", steps), [dish, board], [TAP]


_GOALS: tuple[Callable[[np.random.Generator], Plan], ...] = (_coffee, _table, _heat, _store, _wash)
