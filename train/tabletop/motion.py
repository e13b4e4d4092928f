"""Smooth motion of a hand and of what it holds, sampled at any time. Pure numpy; runs in the caller's thread.

World coordinates in metres, the table top at z = 0: the viewer sits at positive x and looks along -x, the
viewer's right is +y, z points up. Hand coordinates are those of `hand.py`. Rotations are 3 x 3 matrices whose
columns are the hand's axes. A left hand is planned as a right hand in a mirrored world (y turned round): its tracks,
grasps and offsets are written in that world, `mirror` brings them back.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np

from train.tabletop.catalog import FIXTURES, Fixture, Item

HOME_M = np.array([0.66, 0.34, 0.10])  # below and to the right of what the viewer sees
ELBOW_M = np.array([0.60, 0.52, 0.06])
SLEEVE_RADIUS_M = 0.036
RIGHT, LEFT = 1, -1
MIRROR = np.diag([1.0, -1.0, 1.0])
GRAVITY_M_S2 = 9.81
NEAR_M = 0.03  # this far from the hovering place, the hand is within its own width of the object


@dataclass(frozen=True)
class Grasp:
    """How a hand takes an item that stands at the origin, and where it hovers before."""

    hand: np.ndarray
    rotation: np.ndarray
    hover: np.ndarray
    grip: float


def frame(fingers: tuple[float, float, float], back: tuple[float, float, float]) -> np.ndarray:
    """Orientation with the fingers along `fingers` and the back of the hand towards `back`."""
    x = np.array(fingers) / np.linalg.norm(fingers)
    z = np.array(back) - x * (np.array(back) @ x)
    z /= np.linalg.norm(z)
    return np.stack([x, np.cross(z, x), z], axis=1)


_EDGE_ANGLE_RAD = 0.95  # edges are taken on the side of the viewer's right hand
REST = frame((-0.88, -0.35, -0.22), (-0.1, 0.25, 1.0))


def elbow_at(side: int, approach_rad: float) -> np.ndarray:
    """The elbow of an arm turned by `approach_rad` about the vertical from its usual side, in world coordinates."""
    elbow = turn_about_z(approach_rad) @ ELBOW_M
    return elbow if side == RIGHT else MIRROR @ elbow


def grasp(item: Item, yaw_rad: float, approach_rad: float = 0.0) -> Grasp:
    """The grasp that suits an item's shape and how it is turned. approach_rad: so far round it from the usual side, but
    for what has a handle.
    """
    if approach_rad and item.grasp != "handle":
        usual, turn = grasp(item, yaw_rad - approach_rad), turn_about_z(approach_rad)
        return Grasp(turn @ usual.hand, turn @ usual.rotation, turn @ usual.hover, usual.grip)
    if item.grasp == "side":
        rotation = frame((-0.93, -0.30, -0.14), (-0.25, 0.95, 0.25))
        point = np.array([0.0, 0.0, min(0.50 * item.height_m, item.height_m - 0.04)])
        inside = np.array([0.038, 0.002, -(0.016 + item.grip_m)])
        hand = point - rotation @ inside
        grip = 1.02 - 7.0 * max(item.grip_m - 0.028, 0)
        return Grasp(hand, rotation, hand + np.array([0.02, 0.022, 0.05]), grip)
    rotation = frame((-0.80, -0.55, -0.22), (-0.28, 0.50, 0.85))
    angle = yaw_rad if item.grasp == "handle" else _EDGE_ANGLE_RAD
    out_m = 0.7 * item.radius_m if item.grasp == "handle" else edge_distance(item, angle - yaw_rad) - 0.008
    point = np.array([out_m * np.cos(angle), out_m * np.sin(angle), item.height_m - 0.008])
    hand = point - rotation @ np.array([0.076, 0.010, -0.058])
    return Grasp(hand, rotation, hand + np.array([0.025, 0.02, 0.05]), 0.82)


def handle_grasp(point: np.ndarray) -> Grasp:
    """How a hand takes a handle at a point of its world, and where it hovers before."""
    rotation = frame((-0.85, -0.42, -0.30), (-0.30, 0.45, 0.85))
    hand = point - rotation @ np.array([0.078, 0.010, -0.052])
    return Grasp(hand, rotation, hand + np.array([0.035, 0.02, 0.03]), 0.75)


def part_pose(fixture: Fixture, state: float) -> tuple[np.ndarray, np.ndarray]:
    """Where a fixture's moving part is, in the fixture's frame: how far it has gone, and how it has turned (3 x 3)."""
    if fixture.kind == "drawer":
        return np.array([fixture.travel * state, 0.0, 0.0]), np.eye(3)
    turn, hinge = turn_about_z(fixture.travel * state), np.array(fixture.hinge_m)
    return hinge - turn @ hinge, turn


def turn_about_z(yaw_rad: float) -> np.ndarray:
    """The rotation about the vertical."""
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def turn_about(axis: np.ndarray, angle_rad: float) -> np.ndarray:
    """The rotation about a unit vector (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle_rad) * cross + (1 - np.cos(angle_rad)) * cross @ cross


def edge_distance(item: Item, angle_rad: float) -> float:
    """From an item's middle to its edge in a direction of its own frame, in metres."""
    if item.half_m is None:
        return item.radius_m
    along, across = abs(np.cos(angle_rad)), abs(np.sin(angle_rad))
    return float(min(item.half_m[0] / max(along, 1e-6), item.half_m[1] / max(across, 1e-6)))


def ease(u: float) -> float:
    """0 to 1 with no speed at either end."""
    u = min(max(u, 0.0), 1.0)
    return u * u * (3 - 2 * u)


@dataclass(frozen=True)
class HandPose:
    """Where the hand is: middle of the palm, orientation, grip 0..1."""

    position: np.ndarray
    rotation: np.ndarray
    grip: float


@dataclass
class HandTrack:
    """Key poses with smooth travel between them; `arch_m` lifts the path in its middle."""

    times_s: list[float] = field(default_factory=list)
    poses: list[HandPose] = field(default_factory=list)
    arches_m: list[float] = field(default_factory=list)

    def go(self, at_s: float, position: np.ndarray, rotation: np.ndarray, grip: float, arch_m: float = 0.0) -> None:
        """Be in this pose at `at_s`, which must not lie before the pose added last."""
        assert not self.times_s or at_s >= self.times_s[-1]
        self.times_s.append(at_s)
        self.poses.append(HandPose(position, rotation, grip))
        self.arches_m.append(arch_m)

    def at(self, time_s: float) -> HandPose:
        """The pose at any time; at rest before the first key and after the last."""
        before, after, u = self._between(time_s)
        a, b = self.poses[before], self.poses[after]
        if before == after:
            return a
        left, _, right = np.linalg.svd(a.rotation * (1 - u) + b.rotation * u)
        return HandPose(self.position_at(time_s), left @ right, a.grip + (b.grip - a.grip) * u)

    def position_at(self, time_s: float) -> np.ndarray:
        """The position of `at`, without the rest."""
        before, after, u = self._between(time_s)
        a, b = self.poses[before].position, self.poses[after].position
        return a + (b - a) * u + np.array([0, 0, self.arches_m[after] * 4 * u * (1 - u)])

    def positions_at(self, times_s: np.ndarray) -> np.ndarray:
        """The positions of `at` at many times: T x 3."""
        keys_s = np.array(self.times_s)
        later = np.searchsorted(keys_s, times_s, side="right")
        before, after = np.maximum(later - 1, 0), np.minimum(later, len(keys_s) - 1)
        u = np.clip((times_s - keys_s[before]) / np.maximum(keys_s[after] - keys_s[before], 1e-9), 0.0, 1.0)
        u = np.where(before == after, 0.0, u * u * (3 - 2 * u))[:, None]
        spots = np.stack([pose.position for pose in self.poses])
        path = spots[before] + (spots[after] - spots[before]) * u
        path[:, 2] += np.array(self.arches_m)[after] * 4 * u[:, 0] * (1 - u[:, 0])
        return path

    def _between(self, time_s: float) -> tuple[int, int, float]:
        """The keys before and after a time, and how far it is from the one to the other, eased."""
        after = bisect_right(self.times_s, time_s)
        if after == 0 or after == len(self.times_s):
            only = 0 if after == 0 else after - 1
            return only, only, 0.0
        start_s, end_s = self.times_s[after - 1], self.times_s[after]
        return after - 1, after, ease((time_s - start_s) / max(end_s - start_s, 1e-9))


@dataclass(frozen=True)
class Placement:
    """A thing at rest: middle of its base, and its turn about the vertical.

    carrier: the fixture whose moving part it rides in, or None. z_m: above the table. holder: what it stands in or
    on, an item or a fixture (numbered from FIRST_FIXTURE), or None for the table itself.
    """

    x_m: float
    y_m: float
    yaw_rad: float
    z_m: float = 0.0
    carrier: int | None = None
    holder: int | None = None

    def position(self) -> np.ndarray:
        """x, y, z in metres."""
        return np.array([self.x_m, self.y_m, self.z_m])

    def seen_from(self, side: int) -> Placement:
        """The same in the world of the right or, mirrored, of the left hand."""
        if side == RIGHT:
            return self
        return Placement(self.x_m, -self.y_m, -self.yaw_rad, self.z_m, self.carrier, self.holder)


@dataclass(frozen=True)
class Hold:
    """One object in a hand from `start_s` (grasped) to `end_s` (standing again), moving rigidly with the palm.

    offset, rotation: object base minus hand position, and the hand's orientation, when it was grasped, in the hand's
    world (`side`). twist_rad: turned by the wrist in the middle of the hold, and back. drop_m: how far it falls when it
    is let go.
    """

    start_s: float
    end_s: float
    item: int
    offset: np.ndarray
    rotation: np.ndarray
    placed: Placement
    twist_rad: float
    side: int
    drop_m: float = 0.0


@dataclass(frozen=True)
class FixtureMove:
    """A fixture's part going from one state (0 closed or off … 1) to another in `num_steps` equal strides of a hand."""

    start_s: float
    end_s: float
    fixture: int
    before: float
    after: float
    num_steps: int

    def state_at(self, time_s: float) -> float:
        """The state at a time between start and end."""
        strides = (time_s - self.start_s) / (self.end_s - self.start_s) * self.num_steps
        whole = int(np.clip(np.floor(strides), 0, self.num_steps - 1))
        return self.before + (self.after - self.before) * (whole + ease(strides - whole)) / self.num_steps


@dataclass(frozen=True)
class Pour:
    """A stream from one item into another between two times."""

    start_s: float
    end_s: float
    source: int
    target: int
    side: int


@dataclass
class Motion:
    """Everything that moves in a clip. hands: the tracks of right and left hand, each in its own world.

    start, fixtures: where objects and fixtures stand when the clip begins; states: of the fixtures, then.
    """

    hands: dict[int, HandTrack]
    start: dict[int, Placement]
    holds: list[Hold] = field(default_factory=list)
    fixtures: dict[int, Placement] = field(default_factory=dict)
    states: dict[int, float] = field(default_factory=dict)
    moves: list[FixtureMove] = field(default_factory=list)
    pours: list[Pour] = field(default_factory=list)

    def hand_at(self, side: int, time_s: float) -> HandPose:
        """A hand's pose in the real world; a left hand's mesh is the mirrored right one."""
        pose = self.hands[side].at(time_s)
        if side == RIGHT:
            return pose
        return HandPose(MIRROR @ pose.position, MIRROR @ pose.rotation @ MIRROR, pose.grip)

    def state_at(self, fixture: int, time_s: float) -> float:
        """How far a fixture is open or on, 0–1."""
        state = self.states[fixture]
        for move in self.moves:
            if move.fixture == fixture and time_s >= move.start_s:
                state = move.after if time_s >= move.end_s else move.state_at(time_s)
        return state

    def pour_at(self, time_s: float) -> Pour | None:
        """The stream that flows at a time."""
        return next((pour for pour in self.pours if pour.start_s <= time_s < pour.end_s), None)

    def placement_at(self, item: int, time_s: float) -> Placement | None:
        """Where an object stands; None while a hand holds it."""
        placed = self.start[item]
        for hold in self.holds:
            if hold.item == item and time_s >= hold.start_s:
                if time_s < hold.end_s:
                    return None
                placed = hold.placed
        return placed

    def object_at(self, item: int, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Base position and orientation (3 x 3) of one object of the clip."""
        placed, above_m = self.start[item], 0.0
        for hold in self.holds:
            if hold.item != item or time_s < hold.start_s:
                continue
            if time_s >= hold.end_s:
                placed = hold.placed
                above_m = max(0.0, hold.drop_m - GRAVITY_M_S2 / 2 * (time_s - hold.end_s) ** 2)
                continue
            u = (time_s - hold.start_s) / (hold.end_s - hold.start_s)
            yaw = placed.yaw_rad + (hold.placed.yaw_rad - placed.yaw_rad) * ease(u)
            yaw += hold.twist_rad * float(np.sin(np.pi * u)) ** 2
            pose = self.hands[hold.side].at(time_s)
            tilt = pose.rotation @ hold.rotation.T
            base = pose.position + tilt @ hold.offset
            if hold.side == LEFT:
                base, tilt = MIRROR @ base, MIRROR @ tilt @ MIRROR
            return np.maximum(base, [-9, -9, 0.0]), tilt @ turn_about_z(yaw)
        position = placed.position() + np.array([0.0, 0.0, above_m])
        if placed.carrier is not None:
            position = position + self._ride(placed.carrier, time_s)
        return position, turn_about_z(placed.yaw_rad)

    def _ride(self, fixture: int, time_s: float) -> np.ndarray:
        """How far a drawer has gone from where it is fully open."""
        towards_viewer = turn_about_z(self.fixtures[fixture].yaw_rad) @ np.array([1.0, 0.0, 0.0])
        return towards_viewer * FIXTURES[fixture].travel * (self.state_at(fixture, time_s) - 1.0)
