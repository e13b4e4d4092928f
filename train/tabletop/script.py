"""Writes what happens in a clip: who stands where, what the hands do when, and what is said of it. Pure and
seeded.

The same (split, seed) always gives the same script, on any machine. Nothing is rendered here and nothing of
MuJoCo is used; `render.py` plays a script at any frame rate.
"""

from __future__ import annotations

import numpy as np

from train.tabletop.actions import (
    UNTIL_POURED_S,
    choose_side,
    handle,
    linger,
    move,
    operate,
    pour,
    reach_and_withdraw,
    visit,
)
from train.tabletop.arrangement import find_place, place_fixtures
from train.tabletop.catalog import FIRST_FIXTURE, FIXTURES, HELD_OUT_ITEMS, KNOWN_ITEMS, OBJECTS
from train.tabletop.goals import Plan, choose_goal
from train.tabletop.language import NUM_VOICES
from train.tabletop.motion import LEFT, RIGHT, HandTrack, Motion
from train.tabletop.questions import ask
from train.tabletop.record import Goal, Habits, Manner, Script, Step
from train.tabletop.scenery import Look, choose_look, widen
from train.tabletop.stage import Stage

SPLITS = ("train", "val", "bench", "snapshot", "taught", "demo", "wide", "wide_snapshot")
"""In the order of their seeds: add at the end only. Clips of the wide ones have other hands, eyes, lights and habits.
"""
WIDE = ("wide", "wide_snapshot")
STUDIED = ("train", "wide")
"""Splits whose clips are worded in rarer ways too, and have more questions."""
SEEDS_PER_SPLIT = 1_000_000
NUM_BENCH_CLIPS = 200
BENCH_GROUPS = {"known": 80, "room": 80, "objects": 40}
"""The benchmark's clips by what is new in them: arrangements alone, the room too, or some of the objects."""
TAUGHT_ITEM = HELD_OUT_ITEMS[0]
"""What the clips of the split "taught" are about: an object that no checkpoint of these splits knows."""

_ACTIONS = ("handle", "put", "pour", "move", "operate", "withdraw", "idle", "linger")
_SHARES = (0.25, 0.17, 0.14, 0.10, 0.18, 0.06, 0.04, 0.06)


def clip_seed(split: str, index: int) -> int:
    """The seed of a split's clip number `index`; splits have ranges of seeds of their own."""
    assert split in SPLITS
    assert 0 <= index < SEEDS_PER_SPLIT
    return SPLITS.index(split) * SEEDS_PER_SPLIT + index


def group_of(split: str, seed: int) -> str:
    """What a clip is reported under: a benchmark's group, or the split's own name."""
    if split != "bench":
        return {"demo": "room"}.get(split, split)
    index = seed - clip_seed("bench", 0)
    for group, count in BENCH_GROUPS.items():
        if index < count:
            return group
        index -= count
    return "room"


def is_quiet(split: str, seed: int) -> bool:
    """True for clips in which no hand appears: one in eight of the benchmark's, about as many of the others."""
    if split == "bench":
        return (seed - clip_seed("bench", 0)) % 8 == 7
    if split in ("taught", "demo"):
        return False
    return bool(np.random.default_rng([seed, 99]).random() < 0.12)


def write_script(split: str, seed: int, duration_s: float | None = None) -> Script:
    """The clip of a split and seed. duration_s: 30–60 s by chance if not given.

    Half of the quiet clips show a bare or almost bare table, and all of them an odd one, but in the held-out room.
    """
    rng = np.random.default_rng([seed, 7])
    length_s = duration_s if duration_s is not None else float(rng.integers(60, 121)) / 2
    group = group_of(split, seed)
    is_odd = is_quiet(split, seed) and group != "room"
    look, habits = choose_look(rng, is_held_out=group == "room", is_odd=is_odd), Habits()
    if split in WIDE:
        look, habits = _widen(look, np.random.default_rng([seed, 31]))
    plan = choose_goal(rng) if split != "taught" and rng.random() < 0.22 else None
    if is_quiet(split, seed):
        plan = None
    num_items = int(rng.integers(0, 4)) if is_odd and rng.random() < 0.5 else int(rng.integers(4, 8))
    fixtures = plan[2] if plan else _choose_fixtures(rng)
    items = _choose_items(rng, group, num_items - len(fixtures), plan)
    motion = Motion({RIGHT: HandTrack(), LEFT: HandTrack()}, {}, fixtures=place_fixtures(rng, fixtures, look))
    for item in sorted(items, key=lambda i: -OBJECTS[i].radius_m):
        placed = find_place(rng, item, motion.start, look, 0.0, motion.fixtures)
        if placed is not None:
            motion.start[item] = placed
    motion.states = {f: float(plan is None and FIXTURES[f].is_openable and rng.random() < 0.15) for f in fixtures}
    missing = plan is not None and any(item not in motion.start for item in plan[1])
    goal = plan[0] if plan and not missing else None
    script = Script(split, seed, length_s, look, motion, sorted(i for i in items if i in motion.start), group,
                    _choose_manner(rng, split), goal, habits)  # fmt: skip
    stage = Stage(script, rng, dict(motion.start), dict(motion.states))
    stage.rest_hands(0.0)
    if not is_quiet(split, seed):
        _fill(stage, goal)
    script.spans.sort(key=lambda span: span.start_s)
    script.events.sort(key=lambda event: event.time_s)
    script.questions = ask(rng, script)
    return script


def _widen(look: Look, rng: np.random.Generator) -> tuple[Look, Habits]:
    habits = Habits(
        pace=float(rng.uniform(0.55, 1.1)),
        approach_rad=float(rng.uniform(-0.7, 0.7)),
        shown_share=float(rng.choice([0.0, 0.4, 1.0])),
    )
    return widen(look, rng), habits


def _choose_fixtures(rng: np.random.Generator) -> list[int]:
    number = int(rng.choice(3, p=[0.35, 0.47, 0.18]))
    chosen = [int(f) for f in rng.choice(len(FIXTURES), number, replace=False)]
    wide = [f for f in chosen if FIXTURES[f].radius_m > 0.15]
    return chosen if len(wide) < 2 else chosen[:1]


def _choose_items(rng: np.random.Generator, group: str, number: int, plan: Plan | None) -> list[int]:
    """Objects of a clip: what its goal takes first, then others; a clip of new objects has two of them."""
    items = list(plan[1]) if plan else []
    if group == "objects":
        items += [int(i) for i in rng.choice(HELD_OUT_ITEMS, 2, replace=False)]
    if group == "taught":
        items.append(TAUGHT_ITEM)
    others = [i for i in KNOWN_ITEMS if i not in items]
    missing = max(0, number - len(items))
    if missing and rng.random() < 0.5:  # something to put things in or on
        homes = [i for i in others if OBJECTS[i].role == "container" or OBJECTS[i].name in ("plate", "cutting board")]
        items.append(int(rng.choice(homes)))
        others, missing = [i for i in others if i not in items], missing - 1
    return items + [int(i) for i in rng.choice(others, missing, replace=False)]


def _choose_manner(rng: np.random.Generator, split: str) -> Manner:
    """A fifth of the clips are coached; elsewhere one in ten words its remarks in a rarer way, in training alone."""
    if split == "taught" or split == "demo":
        return Manner()
    if rng.random() < 0.2:
        return Manner("coaching")
    voice = int(rng.integers(1, NUM_VOICES)) if rng.random() < 0.1 else 0
    return Manner("plain", voice if split in STUDIED else 0)


def _fill(stage: Stage, goal: Goal | None) -> None:
    """Add quiet spells and actions until the clip is full: the steps to the goal in their order, others in between."""
    rng, script = stage.rng, stage.script
    now_s = float(rng.uniform(3.0, 7.0) if goal or script.manner.style == "coaching" else rng.uniform(1.0, 6.0))
    steps = list(goal.steps) if goal else []
    while True:
        mark = stage.mark()
        is_step = bool(steps) and rng.random() < 0.8
        end_s = _take_step(stage, now_s, steps[0]) if is_step else _act(stage, now_s)
        if end_s is None:
            stage.undo(mark)
            if is_step:
                return  # a step that cannot be taken: the rest of the clip is quiet
            continue
        if end_s > script.duration_s - 1.0:
            stage.undo(mark)
            return
        if is_step:
            steps.pop(0)
        quiet_s = float(rng.uniform(1.0, 3.0)) if rng.random() < 0.8 else float(rng.uniform(3.0, 12.0))
        now_s = end_s + quiet_s


def _act(stage: Stage, start_s: float) -> float | None:
    """One action by chance; None if it is not possible as things stand, or would undo what a goal is about."""
    rng, goal = stage.rng, stage.script.goal
    kind = str(rng.choice(_ACTIONS, p=_SHARES))
    needed = (
        {thing for step in goal.steps for thing in (step.item, step.target) if thing is not None} if goal else set()
    )
    items = [item for item in stage.free_items() if item not in needed]
    if kind == "idle":
        return visit(stage, start_s, choose_side(stage, start_s))
    if kind == "linger":
        return linger(stage, start_s, choose_side(stage, start_s))
    if kind == "operate":
        fixtures = [fixture for fixture in stage.states if fixture + FIRST_FIXTURE not in needed]
        if not fixtures:
            return None
        fixture = int(rng.choice(fixtures))
        return operate(stage, start_s, fixture, choose_side(stage, start_s, fixture + FIRST_FIXTURE))
    if kind == "pour":
        side = choose_side(stage, start_s)
        pairs = [
            (a, b) for a, b in stage.vessels(side, start_s + UNTIL_POURED_S) if a not in needed and b not in needed
        ]
        if not pairs:
            return None
        source, target = pairs[int(rng.integers(len(pairs)))]
        return pour(stage, start_s, source, target, side)
    if not items:
        return None
    item = _choose_item(stage, items)
    side = choose_side(stage, start_s, item)
    if kind == "withdraw":
        return reach_and_withdraw(stage, start_s, item, side)
    if kind == "move":
        return move(stage, start_s, item, side)
    if kind == "put":
        holders = [holder for holder in stage.holders_of(item) if holder not in needed]
        return handle(stage, start_s, item, side, int(rng.choice(holders))) if holders else None
    return handle(stage, start_s, item, side)


def _choose_item(stage: Stage, items: list[int]) -> int:
    """New objects and the latest one are taken more often than others."""
    rng, events = stage.rng, stage.script.events
    new = [item for item in items if item in HELD_OUT_ITEMS]
    if new and rng.random() < 0.6:
        return int(rng.choice(new))
    if events and events[-1].item in items and rng.random() < 0.15:
        return events[-1].item
    return int(rng.choice(items))


def _take_step(stage: Stage, start_s: float, step: Step) -> float | None:
    """The action that fulfils one step; None if it is not possible."""
    side = choose_side(stage, start_s, step.item)
    if step.verb in ("open", "close", "turn on", "turn off"):
        is_on = stage.states[step.item - FIRST_FIXTURE] > 0.5
        if is_on == (step.verb in ("open", "turn on")):
            return None
        return operate(stage, start_s, step.item - FIRST_FIXTURE, side)
    if step.verb == "pour":
        assert step.target is not None
        sides = [s for s in (side, -side) if (step.item, step.target) in stage.vessels(s, start_s + UNTIL_POURED_S)]
        return pour(stage, start_s, step.item, step.target, sides[0]) if sides else None
    if step.verb == "move":
        return move(stage, start_s, step.item, side)
    assert step.target is not None
    if step.target not in stage.holders_of(step.item):
        return None
    return handle(stage, start_s, step.item, side, step.target)
