"""What a hand does, one action at a time: each adds its motion, events and spans to a script and returns the time it
ends. Pure and seeded.

Every action is planned for a right hand; for a left one, in a mirrored world (see motion.py).
"""

from __future__ import annotations

import numpy as np

from train.tabletop.arrangement import find_place, handle_at, middle_of
from train.tabletop.catalog import FIRST_FIXTURE, FIXTURES, OBJECTS
from train.tabletop.gaze import View
from train.tabletop.motion import (
    HOME_M,
    LEFT,
    MIRROR,
    NEAR_M,
    REST,
    RIGHT,
    FixtureMove,
    Grasp,
    Hold,
    Placement,
    Pour,
    frame,
    grasp,
    handle_grasp,
    turn_about,
    turn_about_z,
)
from train.tabletop.record import (
    PHASE_CLOSING,
    PHASE_HOLDING,
    PHASE_IDLE,
    PHASE_MOVING,
    PHASE_OPENING,
    PHASE_POURING,
    PHASE_REACHING,
    PHASE_SWITCHING,
)
from train.tabletop.stage import Stage

MIN_EVENT_GAP_S = 1.5
FINGER_TIPS_M = np.array([0.09, 0.0, 0.0])  # in the hand's own coordinates
LEFT_SHARE = 0.3
UNTIL_POURED_S = 6.0  # about as long it takes from the first reach until something flows


def choose_side(stage: Stage, start_s: float, thing: int | None = None) -> int:
    """Which hand acts: by chance, but rather one that will be in sight at the thing. Handles point to the right one."""
    side = LEFT if stage.rng.random() < LEFT_SHARE else RIGHT
    if thing is None:
        return side
    if thing < FIRST_FIXTURE and OBJECTS[thing].grasp == "handle":
        return RIGHT
    return side if _is_seen_at(stage, start_s, thing, side) or not _is_seen_at(stage, start_s, thing, -side) else -side


def _is_seen_at(stage: Stage, start_s: float, thing: int, side: int) -> bool:
    """Whether the finger tips of a hand that hovers at a thing are in the picture."""
    if thing >= FIRST_FIXTURE:
        base = np.zeros(3)
        how = handle_grasp(_handle(stage, thing - FIRST_FIXTURE, stage.states[thing - FIRST_FIXTURE], side))
    else:
        base, how = _grasp_of(stage, thing, side)
    tips = in_world_of(side, base + how.hover + how.rotation @ FINGER_TIPS_M)
    u, v, _ = stage.script.look.head.at(start_s + 2.0).project(tips)
    return 0.05 < u < 0.95 and 0.05 < v < 0.95


def in_world_of(side: int, point: np.ndarray) -> np.ndarray:
    """A point of the real world in the world of a hand, and back."""
    return point if side == RIGHT else MIRROR @ point


def visit(stage: Stage, start_s: float, side: int) -> float:
    """The hand comes in over the near edge of the table, waits, and goes: nothing to remark."""
    rng, track = stage.rng, stage.script.motion.hands[side]
    point = np.array([0.30, float(rng.uniform(-0.05, 0.28)), float(rng.uniform(0.06, 0.13))])
    arrive_s = start_s + float(rng.uniform(1.0, 1.8))
    leave_s = arrive_s + float(rng.uniform(0.6, 2.5))
    end_s = leave_s + float(rng.uniform(1.0, 1.6))
    grip = float(rng.uniform(0.05, 0.6))
    track.go(start_s, HOME_M, REST, 0.1)
    track.go(arrive_s, point, REST, grip, 0.03)
    track.go(leave_s, point + rng.normal(0, 0.012, 3), REST, grip)
    track.go(end_s, HOME_M, REST, 0.1, 0.02)
    stage.span(start_s, end_s, PHASE_IDLE)
    return end_s


def linger(stage: Stage, start_s: float, side: int) -> float:
    """The hand is about among the objects, before some of them even, but takes and reaches for none."""
    rng, script = stage.rng, stage.script
    track, view = script.motion.hands[side], script.look.head.at(start_s)
    turn = frame((-0.88, -0.35 + float(rng.normal(0, 0.15)), -0.22 + float(rng.normal(0, 0.1))), (-0.1, 0.25, 1.0))
    low, high = np.array([-0.12, -0.20, 0.05]), np.array([0.27, 0.30, 0.20])
    spots = [(place.position()[:2], OBJECTS[item].radius_m) for item, place in stage.standing.items()]
    spots += [(place.position()[:2], FIXTURES[f].radius_m) for f, place in script.motion.fixtures.items()]
    points = [point for point in rng.uniform(low, high, (40, 3)) if _is_aloof(point, turn, spots, side)]
    if not points:
        return visit(stage, start_s, side)
    if rng.random() < 0.6 and stage.standing:  # where the palm hides part of an object, rather than anywhere
        points.sort(key=lambda point: _nearest_in_picture(in_world_of(side, point), stage.standing, view))
    now_s, grip = start_s + float(rng.uniform(1.1, 2.2)), float(rng.uniform(0.05, 0.9))
    track.go(start_s, HOME_M, REST, 0.1)
    for point in points[: int(rng.integers(1, 4))]:
        track.go(now_s, point, turn, grip, 0.06)
        now_s += float(rng.uniform(0.4, 2.2))
        track.go(now_s, point + rng.normal(0, 0.006, 3), turn, grip)
        now_s += float(rng.uniform(0.8, 1.6))
    track.go(now_s, HOME_M, REST, 0.1, 0.05)
    stage.span(start_s, now_s, PHASE_IDLE)
    return now_s


def _is_aloof(point: np.ndarray, turn: np.ndarray, spots: list[tuple[np.ndarray, float]], side: int) -> bool:
    """True if neither palm nor finger tips are where they would be to take one of the things, or in one."""
    both = [in_world_of(side, point), in_world_of(side, point + turn @ FINGER_TIPS_M)]
    return all(np.hypot(*(place[:2] - middle)) > radius_m + 0.075 for middle, radius_m in spots for place in both)


def _nearest_in_picture(point: np.ndarray, standing: dict[int, Placement], view: View) -> float:
    u, v, _ = view.project(point)
    spots = [
        view.project(place.position() + np.array([0.0, 0.0, OBJECTS[item].height_m / 2]))
        for item, place in standing.items()
    ]
    return min(float(np.hypot(u - their_u, v - their_v)) for their_u, their_v, _ in spots)


def _reach(
    stage: Stage, start_s: float, thing: int, hover: np.ndarray, rotation: np.ndarray, side: int
) -> tuple[float, float]:
    """The hand travels to a thing and hovers; returns (event time, time at the hover point)."""
    rng, track = stage.rng, stage.script.motion.hands[side]
    arrive_s = start_s + float(rng.uniform(1.5, 3.0)) * stage.script.habits.pace
    track.go(start_s, HOME_M, REST, 0.1)
    track.go(arrive_s, hover, rotation, 0.12, float(rng.uniform(0.03, 0.08)))
    times_s = np.arange(start_s, arrive_s + 0.01, 0.01)
    distances_m = np.linalg.norm(track.positions_at(times_s) - hover, axis=1)
    event_s = round(float(times_s[np.argmax(distances_m <= NEAR_M)]), 2)
    stage.note(event_s, "reach", thing)
    stage.span(start_s, event_s, PHASE_REACHING)
    return event_s, arrive_s


def _grasp_of(stage: Stage, item: int, side: int) -> tuple[np.ndarray, Grasp]:
    """Where an object's base is in the hand's world, and how it is taken there."""
    place = stage.standing[item].seen_from(side)
    return place.position(), grasp(OBJECTS[item], place.yaw_rad, stage.script.habits.approach_rad)


def reach_and_withdraw(stage: Stage, start_s: float, item: int, side: int) -> float:
    """A reach that takes nothing."""
    rng, track = stage.rng, stage.script.motion.hands[side]
    base, how = _grasp_of(stage, item, side)
    event_s, arrive_s = _reach(stage, start_s, item, base + how.hover, how.rotation, side)
    leave_s = arrive_s + float(rng.uniform(1.0, 1.8))
    end_s = leave_s + float(rng.uniform(1.1, 1.7))
    track.go(leave_s, base + how.hover + rng.normal(0, 0.004, 3), how.rotation, 0.12)
    track.go(end_s, HOME_M, REST, 0.1, 0.05)
    stage.span(event_s, leave_s, PHASE_REACHING, item)
    stage.span(leave_s, end_s, PHASE_IDLE)
    return end_s


class _Carry:
    """One object taken, carried about and set down again by one hand: what `handle` and `pour` share."""

    def __init__(self, stage: Stage, start_s: float, item: int, side: int) -> None:
        self.stage, self.item, self.side = stage, item, side
        self.rng, self.track = stage.rng, stage.script.motion.hands[side]
        self.base, self.how = _grasp_of(stage, item, side)
        self.offset = -self.how.hand
        self.reach_s, arrive_s = _reach(stage, start_s, item, self.base + self.how.hover, self.how.rotation, side)
        self.pace = stage.script.habits.pace
        descend_s = arrive_s + float(self.rng.uniform(0.7, 1.2)) * self.pace
        closed_s = descend_s + float(self.rng.uniform(0.6, 0.9)) * self.pace
        self.closed_s = max(closed_s, self.reach_s + MIN_EVENT_GAP_S)
        self.go(descend_s, self.base, hover=True, grip=0.12)
        self.track.go((descend_s + self.closed_s) / 2, self.base + self.how.hand, self.how.rotation, 0.15)
        self.go(self.closed_s, self.base)

    def go(
        self, at_s: float, base: np.ndarray, arch_m: float = 0.0, *, hover: bool = False, grip: float | None = None
    ) -> None:
        """Have the object's base (in the hand's world) at a point, or the hand where it hovers beside that."""
        spot = base + (self.how.hover if hover else self.how.hand)
        self.track.go(at_s, spot, self.how.rotation, self.how.grip if grip is None else grip, arch_m)

    def lift(self, until_s: float) -> float:
        """Note when the object leaves what it stands on, by a centimetre; returns that time."""
        times_s = np.arange(self.closed_s, until_s, 0.01)
        heights_m = (self.track.positions_at(times_s) + self.offset)[:, 2]
        up_s = round(float(times_s[np.argmax(heights_m >= self.base[2] + 0.01)]), 2)
        self.stage.note(up_s, "pick up", self.item)
        self.stage.span(self.reach_s, up_s, PHASE_REACHING, self.item)
        return up_s

    def set_down(self, from_s: float, target: Placement, verb: str) -> tuple[float, float, float]:
        """Bring it to its place, let go and leave; returns when it stands, when it has been let go, and the end."""
        rng, seen, pace = self.rng, target.seen_from(self.side), self.pace
        place, way = seen.position(), self._way_in(target)
        above_s = from_s + float(rng.uniform(0.9, 1.6)) * pace
        touch_s = above_s + float(rng.uniform(0.5, 0.9)) * pace
        open_s = touch_s + float(rng.uniform(0.35, 0.6)) * pace
        back_s = open_s + float(rng.uniform(0.5, 0.8)) * pace
        end_s = back_s + float(rng.uniform(0.9, 1.5)) * pace
        drop_m = self._drop_m(target)
        let_go = place + np.array([0.0, 0.0, drop_m])
        self.go(above_s, let_go + way, 0.03)
        self.go(touch_s, let_go)
        self.go(open_s, let_go, grip=0.15)
        if target.holder is None:
            self.go(back_s, let_go, hover=True, grip=0.12)
        else:
            self.go(back_s, let_go + way, grip=0.12)
        self.track.go(end_s, HOME_M, REST, 0.1, 0.04)
        down_s = round(touch_s + 0.6 * (open_s - touch_s), 2)
        self.stage.note(down_s, verb, self.item, target.holder)
        twist_rad = float(rng.uniform(-0.6, 0.6)) if OBJECTS[self.item].grasp == "side" else 0.0
        self.stage.script.motion.holds.append(
            Hold(
                self.closed_s, touch_s, self.item, self.offset, self.how.rotation, target, twist_rad, self.side, drop_m
            )
        )
        self.stage.standing[self.item] = target
        if target.holder is not None:
            self.stage.settled.add(self.item)
            self.stage.full.add(target.holder)
        self.stage.span(down_s, back_s, PHASE_IDLE, self.item)
        self.stage.span(back_s, end_s, PHASE_IDLE)
        return touch_s, down_s, end_s

    def _way_in(self, target: Placement) -> np.ndarray:
        """From where it will stand to where it comes from, in the hand's world."""
        holder = target.holder
        if holder is not None and holder >= FIRST_FIXTURE and FIXTURES[holder - FIRST_FIXTURE].kind == "door":
            stand = self.stage.script.motion.fixtures[holder - FIRST_FIXTURE]
            return in_world_of(self.side, turn_about_z(stand.yaw_rad) @ np.array([0.16, 0.0, 0.015]))
        rise_m = 0.07
        if holder is not None and holder < FIRST_FIXTURE:
            rise_m += OBJECTS[holder].height_m * 0.6
        return np.array([0.0, 0.0, rise_m])

    def _drop_m(self, target: Placement) -> float:
        """How far above its place it is let go: what goes into a deep thing falls the last bit."""
        holder = target.holder
        if holder is None or holder >= FIRST_FIXTURE or OBJECTS[holder].role != "container":
            return 0.0
        return max(0.0, OBJECTS[holder].height_m - 0.6 * OBJECTS[self.item].height_m - target.z_m)


def handle(stage: Stage, start_s: float, item: int, side: int, holder: int | None = None) -> float:
    """Reach, pick up, hold before the eyes, put down somewhere free, or in or on a holder, and leave."""
    rng = stage.rng
    carry = _Carry(stage, start_s, item, side)
    shown_s = carry.closed_s + float(rng.uniform(1.0, 1.7)) * carry.pace
    if stage.script.habits.shown_share < 1 and rng.random() >= stage.script.habits.shown_share:
        keep_s = shown_s + float(rng.uniform(0.1, 1.2))
        show = carry.base + rng.uniform([-0.06, -0.06, 0.09], [0.08, 0.08, 0.20])
    else:
        keep_s = shown_s + float(rng.uniform(1.0, 4.0))
        show = in_world_of(side, _before_the_eyes(rng, stage.script.look.head.at((shown_s + keep_s) / 2), item, side))
    carry.go(shown_s, show, 0.04)
    carry.go((shown_s + keep_s) / 2, show + rng.normal(0, 0.012, 3))
    carry.go(keep_s, show + rng.normal(0, 0.012, 3))
    up_s = carry.lift(shown_s)
    target, verb = _where_to(stage, item, holder, keep_s)
    touch_s, down_s, end_s = carry.set_down(keep_s, target, verb)
    if holder is None:
        stage.span(up_s, down_s, PHASE_HOLDING, item)
    else:
        known_s = keep_s + 0.4 * (touch_s - keep_s)  # by then it is to be seen where it goes
        stage.span(up_s, known_s, PHASE_HOLDING, item)
        stage.span(known_s, down_s, PHASE_HOLDING, item, holder)
    return end_s


def _where_to(stage: Stage, item: int, holder: int | None, time_s: float) -> tuple[Placement, str]:
    """Where an object is put, and what that is called."""
    if holder is not None:
        spot = stage.spot(item, holder)
        assert spot is not None, "holders are chosen among those that it fits in"
        is_on = holder < FIRST_FIXTURE and OBJECTS[holder].role != "container"
        is_on |= holder >= FIRST_FIXTURE and FIXTURES[holder - FIRST_FIXTURE].kind == "knob"
        return spot, "put on" if is_on else "put in"
    place = stage.standing[item]
    others = {other: placed for other, placed in stage.standing.items() if other != item and placed.holder is None}
    target = find_place(stage.rng, item, others, stage.script.look, time_s, stage.script.motion.fixtures) or place
    # What is held by an edge or a handle stays as it is in the hand; what is held round its body may be turned.
    turn_rad = 0.6 if OBJECTS[item].grasp == "side" else 0.0
    yaw_rad = place.yaw_rad + float(stage.rng.uniform(-turn_rad, turn_rad))
    return Placement(target.x_m, target.y_m, yaw_rad), "put down"


def pour(stage: Stage, start_s: float, source: int, target: int, side: int) -> float:
    """Pick up a vessel, pour from it into a dish, and put it back somewhere; the other hand may steady the dish."""
    rng, motion = stage.rng, stage.script.motion
    carry = _Carry(stage, start_s, source, side)
    dish, vessel = stage.standing[target].seen_from(side).position(), OBJECTS[source]
    over = dish + np.array([0.0, 0.0, OBJECTS[target].height_m])
    over_s = carry.closed_s + float(rng.uniform(1.6, 2.4))
    tilted_s = over_s + float(rng.uniform(0.9, 1.4))
    back_s = tilted_s + float(rng.uniform(1.6, 3.2))
    upright_s = back_s + float(rng.uniform(0.7, 1.0))
    angle_rad = float(rng.uniform(1.75, 2.05))
    # It tips towards the viewer's left (a left hand's right): its top leads, and comes to be over the dish.
    tilt = turn_about(np.array([1.0, 0.0, 0.0]), angle_rad)
    upright = over + np.array([0.0, 0.055 + vessel.height_m * 0.35, 0.075])
    lip = tilt @ np.array([0.0, 0.0, vessel.height_m])
    tipped = over + np.array([0.0, 0.0, 0.065]) - lip
    carry.go(over_s, upright, 0.05)
    for at_s in (tilted_s, back_s):
        carry.track.go(at_s, tipped + tilt @ carry.how.hand, tilt @ carry.how.rotation, carry.how.grip)
    carry.go(upright_s, upright)
    up_s = carry.lift(over_s)
    pour_s = max(round(over_s + 0.75 * (tilted_s - over_s), 2), up_s + MIN_EVENT_GAP_S)
    stage.note(pour_s, "pour", source, target)
    motion.pours.append(Pour(pour_s - 0.1, back_s + 0.1, source, target, side))
    if rng.random() < 0.4:
        _steady(stage, start_s, over_s, upright_s, target, -side)
    place, verb = _where_to(stage, source, None, upright_s)
    _, down_s, end_s = carry.set_down(upright_s + 0.3, place, verb)
    stage.span(up_s, pour_s, PHASE_HOLDING, source)
    stage.span(pour_s, back_s, PHASE_POURING, source, target)
    stage.span(back_s, down_s, PHASE_HOLDING, source)
    return end_s


def _steady(stage: Stage, from_s: float, there_s: float, until_s: float, item: int, side: int) -> None:
    """The other hand comes to lie beside a dish, and leaves."""
    track, seen = stage.script.motion.hands[side], stage.standing[item].seen_from(side)
    side_m = OBJECTS[item].radius_m + 0.045
    rotation = frame((-0.93, -0.30, -0.14), (-0.25, 0.95, 0.25))
    spot = seen.position() + np.array([0.045, side_m, 0.055])
    track.go(max(from_s, there_s - 1.6), HOME_M, REST, 0.1)
    track.go(there_s, spot, rotation, 0.45, 0.04)
    track.go(until_s, spot, rotation, 0.45)
    track.go(until_s + 1.2, HOME_M, REST, 0.1, 0.04)


def move(stage: Stage, start_s: float, item: int, side: int) -> float | None:
    """Slide an object along the table to another place, in sight of the old one; None if there is no room for it."""
    rng, track = stage.rng, stage.script.motion.hands[side]
    place = stage.standing[item]
    others = {other: placed for other, placed in stage.standing.items() if other != item and placed.holder is None}
    target, fixtures = None, stage.script.motion.fixtures
    for _ in range(12):
        found = find_place(rng, item, others, stage.script.look, start_s + 5, fixtures)
        if found and 0.09 < np.hypot(found.x_m - place.x_m, found.y_m - place.y_m) < 0.30:
            target = Placement(found.x_m, found.y_m, place.yaw_rad)
            break
    if target is None or not _is_way_free(item, place, target, others, fixtures):
        return None
    carry = _Carry(stage, start_s, item, side)
    there = target.seen_from(side).position()
    there_s = carry.closed_s + float(rng.uniform(1.4, 2.4))
    open_s = there_s + float(rng.uniform(0.4, 0.6))
    back_s = open_s + float(rng.uniform(0.5, 0.8))
    end_s = back_s + float(rng.uniform(0.9, 1.5))
    carry.go(there_s, there)
    carry.go(open_s, there, grip=0.15)
    carry.go(back_s, there, hover=True, grip=0.12)
    track.go(end_s, HOME_M, REST, 0.1, 0.04)
    times_s = np.arange(carry.closed_s, there_s, 0.01)
    gone_m = np.linalg.norm(track.positions_at(times_s) + carry.offset - carry.base, axis=1)
    moved_s = max(round(float(times_s[np.argmax(gone_m >= 0.035)]), 2), round(carry.reach_s + MIN_EVENT_GAP_S, 2))
    stage.note(moved_s, "move", item)
    stage.script.motion.holds.append(
        Hold(carry.closed_s, there_s, item, carry.offset, carry.how.rotation, target, 0.0, side)
    )
    stage.standing[item] = target
    stage.span(carry.reach_s, moved_s, PHASE_REACHING, item)
    stage.span(moved_s, there_s, PHASE_MOVING, item)
    stage.span(there_s, end_s, PHASE_IDLE)
    return end_s


def _is_way_free(
    item: int, place: Placement, target: Placement, others: dict[int, Placement], fixtures: dict[int, Placement]
) -> bool:
    """Whether an object can be slid from one place to another without touching the rest."""
    obstacles = [(standing.position()[:2], OBJECTS[other].radius_m) for other, standing in others.items()]
    obstacles += [(middle_of(fixture, standing), FIXTURES[fixture].radius_m) for fixture, standing in fixtures.items()]
    way = [place.position()[:2] + (target.position() - place.position())[:2] * u for u in np.linspace(0.0, 1.0, 12)]
    return all(
        np.hypot(*(point - middle)) >= OBJECTS[item].radius_m + radius_m + 0.005
        for point in way
        for middle, radius_m in obstacles
    )


def operate(stage: Stage, start_s: float, fixture: int, side: int) -> float:
    """Open what is closed, close what is open, turn on what is off, turn off what is on."""
    rng, motion, kind = stage.rng, stage.script.motion, FIXTURES[fixture]
    before = stage.states[fixture]
    after = 1.0 - before
    thing = fixture + FIRST_FIXTURE
    track = motion.hands[side]
    how = handle_grasp(_handle(stage, fixture, before, side))
    reach_s, arrive_s = _reach(stage, start_s, thing, how.hover, how.rotation, side)
    take_s = max(arrive_s + float(rng.uniform(0.5, 0.9)), reach_s + 0.9)
    track.go(take_s, how.hand, how.rotation, how.grip)
    strides, duration_s = 6, float(rng.uniform(1.3, 2.2))
    if kind.kind in ("knob", "lever"):
        strides, duration_s = 3, float(rng.uniform(0.8, 1.2))
    end_move_s = take_s + duration_s
    for stride in range(1, strides + 1):
        state = before + (after - before) * stride / strides
        hold = handle_grasp(_handle(stage, fixture, state, side))
        wrist = turn_about_z(0.5 * kind.travel * (state - before)) if kind.kind == "knob" else np.eye(3)
        track.go(take_s + duration_s * stride / strides, hold.hand, wrist @ hold.rotation, how.grip)
    motion.moves.append(FixtureMove(take_s, end_move_s, fixture, before, after, strides))
    times_s = np.arange(take_s, end_move_s, 0.01)
    gone = np.array([abs(motion.moves[-1].state_at(float(t)) - before) for t in times_s])
    share = 0.3 if kind.is_openable and after else 0.8 if kind.is_openable else 0.6
    event_s = max(round(float(times_s[np.argmax(gone >= share)]), 2), round(reach_s + MIN_EVENT_GAP_S, 2))
    verb = ("open" if after else "close") if kind.is_openable else ("turn on" if after else "turn off")
    stage.note(event_s, verb, thing)
    leave = handle_grasp(_handle(stage, fixture, after, side))
    back_s = end_move_s + float(rng.uniform(0.4, 0.7))
    end_s = back_s + float(rng.uniform(0.9, 1.5))
    track.go(back_s, leave.hover, leave.rotation, 0.12)
    track.go(end_s, HOME_M, REST, 0.1, 0.05)
    stage.states[fixture] = after
    phase = (PHASE_OPENING if after else PHASE_CLOSING) if kind.is_openable else PHASE_SWITCHING
    stage.span(reach_s, take_s, PHASE_REACHING, thing)
    stage.span(take_s, max(event_s, end_move_s), phase, thing)
    stage.span(max(event_s, end_move_s), end_s, PHASE_IDLE)
    return end_s


def _handle(stage: Stage, fixture: int, state: float, side: int) -> np.ndarray:
    """Where a fixture's handle is, in the hand's world."""
    return in_world_of(side, handle_at(fixture, stage.script.motion.fixtures[fixture], state))


def _before_the_eyes(rng: np.random.Generator, view: View, item: int, side: int) -> np.ndarray:
    """Where the base of a held object is, so that its middle is near the middle of the picture.

    What is held by its edge is kept a little further from the hand's side, for else the hand would come between.
    """
    forward, right, up = view.axes
    is_side = OBJECTS[item].grasp == "side"
    aside_m = side * (float(rng.uniform(-0.04, 0.04)) if is_side else float(rng.uniform(-0.07, -0.01)))
    middle = (
        view.eye + float(rng.uniform(0.34, 0.42)) * forward + aside_m * right + float(rng.uniform(-0.05, 0.01)) * up
    )
    return middle - np.array([0.0, 0.0, OBJECTS[item].height_m / 2])
