"""Writes what happens in a clip: who stands where, what the hand does when, and what is said of it. Pure and
seeded.

The same (split, seed) always gives the same script, on any machine. Nothing is rendered here and nothing of
MuJoCo is used; `render.py` plays a script at any frame rate.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from train.tabletop.catalog import OBJECTS, VOCABULARY
from train.tabletop.language import ask, remark
from train.tabletop.motion import HOME_M, NEAR_M, REST, Grasp, HandTrack, Hold, Motion, Placement, grasp
from train.tabletop.record import NO_ITEM, PHASE_HOLDING, PHASE_IDLE, PHASE_NONE, PHASE_REACHING, Event, Question, Span
from train.tabletop.scenery import Look, View, choose_look

SPLITS = ("train", "val", "test")
SEEDS_PER_SPLIT = 1_000_000
NUM_TEST_CLIPS = 60
MIN_EVENT_GAP_S = 1.5
NEAR_X_M, FAR_X_M, SIDE_Y_M = 0.13, -0.25, 0.27  # where objects stand, at the viewer's edge and beyond
GAP_M = 0.022
MARGIN = 0.09  # of the picture, kept free of objects' middles


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


def clip_seed(split: str, index: int) -> int:
    """The seed of a split's clip number `index`; splits have ranges of seeds of their own."""
    assert split in SPLITS
    assert 0 <= index < SEEDS_PER_SPLIT
    return SPLITS.index(split) * SEEDS_PER_SPLIT + index


def is_quiet(split: str, seed: int) -> bool:
    """True for clips in which no hand appears: one in six of the test clips, about one in eight of the others."""
    if split == "test":
        return (seed - clip_seed("test", 0)) % 6 == 5
    return bool(np.random.default_rng([seed, 99]).random() < 0.12)


def write_script(split: str, seed: int, duration_s: float | None = None) -> Script:
    """The clip of a split and seed. duration_s: 30–75 s by chance if not given."""
    rng = np.random.default_rng([seed, 7])
    length_s = duration_s if duration_s is not None else float(rng.integers(60, 151)) / 2
    items = sorted(int(i) for i in rng.choice(len(OBJECTS), int(rng.integers(5, 8)), replace=False))
    look = choose_look(split, rng)
    start: dict[int, Placement] = {}
    for item in sorted(items, key=lambda i: -OBJECTS[i].radius_m):
        placed = find_place(rng, item, start, look, 0.0)
        if placed is not None:
            start[item] = placed
    items = [item for item in items if item in start]
    motion = Motion(HandTrack(), start, [])
    script = Script(split, seed, length_s, look, motion, items)
    motion.hand.go(0.0, HOME_M, REST, 0.1)
    if not is_quiet(split, seed):
        _fill(script, rng)
    script.questions = ask(rng, script.duration_s, script.items, script.events, script.spans)
    return script


def find_place(
    rng: np.random.Generator, item: int, others: dict[int, Placement], look: Look, time_s: float
) -> Placement | None:
    """A free place on the table for one object, in sight at a time, or None if 400 tries found none."""
    view = look.head.at(time_s)
    for _ in range(400):
        placed = Placement(
            float(rng.uniform(FAR_X_M, NEAR_X_M)),
            float(rng.uniform(-SIDE_Y_M, SIDE_Y_M)),
            float(rng.uniform(*OBJECTS[item].yaws_rad)),
        )
        is_free = all(is_clear(item, placed, other, standing) for other, standing in others.items())
        if is_free and _is_in_sight(item, placed, others, view):
            return placed
    return None


def _is_in_sight(item: int, placed: Placement, others: dict[int, Placement], view: View) -> bool:
    """True if the object is well inside the picture, is not hidden by another, and hides none."""
    u, v, depth = view.project(_middle(item, placed))
    if not (MARGIN <= u <= 1 - MARGIN and MARGIN <= v <= 1 - MARGIN):
        return False
    for other, standing in others.items():
        their_u, their_v, their_depth = view.project(_middle(other, standing))
        front, back = (item, other) if depth < their_depth else (other, item)
        if OBJECTS[front].height_m < 0.7 * OBJECTS[back].height_m:
            continue  # looked at from above, a low thing hides nothing
        if np.hypot(u - their_u, v - their_v) < 0.11:
            return False
    return True


def _before_the_eyes(rng: np.random.Generator, view: View, item: int) -> np.ndarray:
    """Where the base of a held object is, so that its middle is near the middle of the picture.

    What is held by its edge is kept a little further left, for else the hand would come between.
    """
    forward = view.forward()
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    is_side = OBJECTS[item].grasp == "side"
    aside_m = float(rng.uniform(-0.04, 0.04)) if is_side else float(rng.uniform(-0.07, -0.01))
    middle = (
        view.eye() + float(rng.uniform(0.34, 0.42)) * forward + aside_m * right + float(rng.uniform(-0.05, 0.01)) * up
    )
    return middle - np.array([0.0, 0.0, OBJECTS[item].height_m / 2])


def _middle(item: int, placed: Placement) -> np.ndarray:
    return placed.position() + np.array([0.0, 0.0, OBJECTS[item].height_m / 2])


def is_clear(item: int, placed: Placement, other: int, standing: Placement) -> bool:
    """True if two objects do not touch, each taken as a disc of its radius."""
    apart = float(np.hypot(placed.x_m - standing.x_m, placed.y_m - standing.y_m))
    return apart >= OBJECTS[item].radius_m + OBJECTS[other].radius_m + GAP_M


def _fill(script: Script, rng: np.random.Generator) -> None:
    """Add quiet spells and actions until the clip is full."""
    standing = dict(script.motion.start)
    now_s = float(rng.uniform(1.0, 6.0))
    handled: list[int] = []
    while True:
        kind = str(rng.choice(["handle", "withdraw", "idle"], p=[0.80, 0.11, 0.09]))
        item = int(rng.choice(script.items))
        if handled and rng.random() < 0.15:
            item = handled[-1]
        before = len(script.events), len(script.spans), len(script.motion.hand.times_s), len(script.motion.holds)
        if kind == "idle":
            end_s = _visit(script, rng, now_s)
        elif kind == "withdraw":
            end_s = _reach_and_withdraw(script, rng, now_s, item, standing)
        else:
            end_s = _handle(script, rng, now_s, item, standing)
        if end_s > script.duration_s - 1.0:
            track = script.motion.hand
            del script.events[before[0] :], script.spans[before[1] :], script.motion.holds[before[3] :]
            del track.times_s[before[2] :], track.poses[before[2] :], track.arches_m[before[2] :]
            return
        if kind == "handle":
            handled.append(item)
            standing[item] = script.motion.holds[-1].placed
        quiet_s = float(rng.uniform(1.0, 3.0)) if rng.random() < 0.72 else float(rng.uniform(3.0, 12.0))
        now_s = end_s + quiet_s


def _visit(script: Script, rng: np.random.Generator, start_s: float) -> float:
    """The hand comes in over the near edge of the table, waits, and goes: nothing to remark."""
    track = script.motion.hand
    point = np.array([0.30, float(rng.uniform(-0.05, 0.28)), float(rng.uniform(0.06, 0.13))])
    arrive_s = start_s + float(rng.uniform(1.0, 1.8))
    leave_s = arrive_s + float(rng.uniform(0.6, 2.5))
    end_s = leave_s + float(rng.uniform(1.0, 1.6))
    grip = float(rng.uniform(0.05, 0.6))
    track.go(start_s, HOME_M, REST, 0.1)
    track.go(arrive_s, point, REST, grip, 0.03)
    track.go(leave_s, point + rng.normal(0, 0.012, 3), REST, grip)
    track.go(end_s, HOME_M, REST, 0.1, 0.02)
    script.spans.append(Span(start_s, end_s, PHASE_IDLE, NO_ITEM))
    return end_s


def _reach(
    script: Script, rng: np.random.Generator, start_s: float, item: int, place: Placement
) -> tuple[float, float, Grasp]:
    """The hand travels to the object and hovers; returns (event time, time at the hover point, grasp)."""
    track, how = script.motion.hand, grasp(OBJECTS[item], place.yaw_rad)
    hover = place.position() + how.hover
    arrive_s = start_s + float(rng.uniform(1.5, 3.0))
    track.go(start_s, HOME_M, REST, 0.1)
    track.go(arrive_s, hover, how.rotation, 0.12, float(rng.uniform(0.03, 0.08)))
    times_s = np.arange(start_s, arrive_s + 0.01, 0.01)
    distances_m = np.array([np.linalg.norm(track.position_at(t) - hover) for t in times_s])
    event_s = round(float(times_s[np.argmax(distances_m <= NEAR_M)]), 2)
    script.events.append(Event(event_s, "reach", item, remark("reach", VOCABULARY[item])))
    return event_s, arrive_s, how


def _reach_and_withdraw(
    script: Script, rng: np.random.Generator, start_s: float, item: int, standing: dict[int, Placement]
) -> float:
    """A reach that takes nothing."""
    track, place = script.motion.hand, standing[item]
    event_s, arrive_s, how = _reach(script, rng, start_s, item, place)
    leave_s = arrive_s + float(rng.uniform(1.0, 1.8))
    end_s = leave_s + float(rng.uniform(1.1, 1.7))
    hover = place.position() + how.hover
    track.go(leave_s, hover + rng.normal(0, 0.004, 3), how.rotation, 0.12)
    track.go(end_s, HOME_M, REST, 0.1, 0.05)
    script.spans += [
        Span(start_s, event_s, PHASE_REACHING, NO_ITEM),
        Span(event_s, leave_s, PHASE_REACHING, item),
        Span(leave_s, end_s, PHASE_IDLE, NO_ITEM),
    ]
    return end_s


def _handle(
    script: Script, rng: np.random.Generator, start_s: float, item: int, standing: dict[int, Placement]
) -> float:
    """Reach, pick up, hold before the eyes, put down somewhere free, and leave."""
    track, place, thing = script.motion.hand, standing[item], OBJECTS[item]
    reach_s, arrive_s, how = _reach(script, rng, start_s, item, place)
    base = place.position()
    descend_s = arrive_s + float(rng.uniform(0.7, 1.2))
    closed_s = max(descend_s + float(rng.uniform(0.6, 0.9)), reach_s + MIN_EVENT_GAP_S)
    track.go(descend_s, base + how.hover, how.rotation, 0.12)
    track.go((descend_s + closed_s) / 2, base + how.hand, how.rotation, 0.15)
    track.go(closed_s, base + how.hand, how.rotation, how.grip)
    offset = -how.hand
    shown_s = closed_s + float(rng.uniform(1.0, 1.7))
    keep_s = shown_s + float(rng.uniform(1.0, 4.0))
    show = _before_the_eyes(rng, script.look.head.at((shown_s + keep_s) / 2), item)
    track.go(shown_s, show - offset, how.rotation, how.grip, 0.04)
    track.go((shown_s + keep_s) / 2, show - offset + rng.normal(0, 0.012, 3), how.rotation, how.grip)
    track.go(keep_s, show - offset + rng.normal(0, 0.012, 3), how.rotation, how.grip)
    others = {other: placed for other, placed in standing.items() if other != item}
    target = find_place(rng, item, others, script.look, keep_s) or place
    # What is held by an edge or a handle stays as it is in the hand; what is held round its body may be turned.
    turn_rad = 0.6 if thing.grasp == "side" else 0.0
    target = Placement(target.x_m, target.y_m, place.yaw_rad + float(rng.uniform(-turn_rad, turn_rad)))
    above = target.position() + np.array([0.0, 0.0, 0.07])
    above_s = keep_s + float(rng.uniform(0.9, 1.6))
    touch_s = above_s + float(rng.uniform(0.5, 0.9))
    open_s = touch_s + float(rng.uniform(0.35, 0.6))
    back_s = open_s + float(rng.uniform(0.5, 0.8))
    end_s = back_s + float(rng.uniform(0.9, 1.5))
    track.go(above_s, above - offset, how.rotation, how.grip, 0.03)
    track.go(touch_s, target.position() - offset, how.rotation, how.grip)
    track.go(open_s, target.position() - offset, how.rotation, 0.15)
    track.go(back_s, target.position() + how.hover, how.rotation, 0.12)
    track.go(end_s, HOME_M, REST, 0.1, 0.04)
    hold = Hold(closed_s, touch_s, item, offset, target, float(rng.uniform(-turn_rad, turn_rad)))
    script.motion.holds.append(hold)
    # The object leaves the table when it has risen by a centimetre; it is put down when the fingers are off it.
    times_s = np.arange(closed_s, shown_s, 0.01)
    heights_m = np.array([(track.position_at(t) + offset)[2] for t in times_s])
    up_s = round(float(times_s[np.argmax(heights_m >= 0.01)]), 2)
    down_s = round(touch_s + 0.6 * (open_s - touch_s), 2)
    name = VOCABULARY[item]
    script.events += [
        Event(up_s, "pick up", item, remark("pick up", name)),
        Event(down_s, "put down", item, remark("put down", name)),
    ]
    script.spans += [
        Span(start_s, reach_s, PHASE_REACHING, NO_ITEM),
        Span(reach_s, up_s, PHASE_REACHING, item),
        Span(up_s, down_s, PHASE_HOLDING, item),
        Span(down_s, back_s, PHASE_IDLE, item),
        Span(back_s, end_s, PHASE_IDLE, NO_ITEM),
    ]
    return end_s
