"""What a hand does, one action at a time: each adds its motion, events and spans to a script and returns the time it
ends. Pure and seeded.
"""

from __future__ import annotations

import numpy as np

from train.tabletop.arrangement import find_place
from train.tabletop.catalog import OBJECTS, VOCABULARY
from train.tabletop.gaze import View
from train.tabletop.language import remark
from train.tabletop.motion import HOME_M, NEAR_M, REST, Grasp, Hold, Placement, frame, grasp
from train.tabletop.record import NO_ITEM, PHASE_HOLDING, PHASE_IDLE, PHASE_REACHING, Event, Script, Span

MIN_EVENT_GAP_S = 1.5
FINGER_TIPS_M = np.array([0.09, 0.0, 0.0])  # in the hand's own coordinates


def visit(script: Script, rng: np.random.Generator, start_s: float) -> float:
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


def linger(script: Script, rng: np.random.Generator, start_s: float, standing: dict[int, Placement]) -> float:
    """The hand is about among the objects, before some of them even, but takes and reaches for none."""
    track, view = script.motion.hand, script.look.head.at(start_s)
    turn = frame((-0.88, -0.35 + float(rng.normal(0, 0.15)), -0.22 + float(rng.normal(0, 0.1))), (-0.1, 0.25, 1.0))
    low, high = np.array([-0.12, -0.20, 0.05]), np.array([0.27, 0.30, 0.20])
    points = [point for point in rng.uniform(low, high, (40, 3)) if _is_aloof(point, turn, standing)]
    if not points:
        return visit(script, rng, start_s)
    if rng.random() < 0.6:  # where the palm hides part of an object, rather than anywhere
        points.sort(key=lambda point: _nearest_in_picture(point, standing, view))
    now_s, grip = start_s + float(rng.uniform(1.1, 2.2)), float(rng.uniform(0.05, 0.9))
    track.go(start_s, HOME_M, REST, 0.1)
    for point in points[: int(rng.integers(1, 4))]:
        track.go(now_s, point, turn, grip, 0.06)
        now_s += float(rng.uniform(0.4, 2.2))
        track.go(now_s, point + rng.normal(0, 0.006, 3), turn, grip)
        now_s += float(rng.uniform(0.8, 1.6))
    track.go(now_s, HOME_M, REST, 0.1, 0.05)
    script.spans.append(Span(start_s, now_s, PHASE_IDLE, NO_ITEM))
    return now_s


def _is_aloof(point: np.ndarray, turn: np.ndarray, standing: dict[int, Placement]) -> bool:
    """True if neither palm nor finger tips are where they would be to take one of the objects, or in one."""
    tips = point + turn @ FINGER_TIPS_M
    return all(
        np.hypot(*(spot - place.position())[:2]) > OBJECTS[item].radius_m + 0.075
        for item, place in standing.items()
        for spot in (point, tips)
    )


def _nearest_in_picture(point: np.ndarray, standing: dict[int, Placement], view: View) -> float:
    u, v, _ = view.project(point)
    spots = [
        view.project(place.position() + np.array([0.0, 0.0, OBJECTS[item].height_m / 2]))
        for item, place in standing.items()
    ]
    return min(float(np.hypot(u - their_u, v - their_v)) for their_u, their_v, _ in spots)


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
    distances_m = np.linalg.norm(track.positions_at(times_s) - hover, axis=1)
    event_s = round(float(times_s[np.argmax(distances_m <= NEAR_M)]), 2)
    script.events.append(Event(event_s, "reach", item, remark("reach", VOCABULARY[item])))
    return event_s, arrive_s, how


def reach_and_withdraw(
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


def handle(
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
    heights_m = (track.positions_at(times_s) + offset)[:, 2]
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


def _before_the_eyes(rng: np.random.Generator, view: View, item: int) -> np.ndarray:
    """Where the base of a held object is, so that its middle is near the middle of the picture.

    What is held by its edge is kept a little further left, for else the hand would come between.
    """
    forward, right, up = view.axes
    is_side = OBJECTS[item].grasp == "side"
    aside_m = float(rng.uniform(-0.04, 0.04)) if is_side else float(rng.uniform(-0.07, -0.01))
    middle = (
        view.eye + float(rng.uniform(0.34, 0.42)) * forward + aside_m * right + float(rng.uniform(-0.05, 0.01)) * up
    )
    return middle - np.array([0.0, 0.0, OBJECTS[item].height_m / 2])
