"""Smooth motion of a hand and of what it holds, sampled at any time. Pure numpy; runs in the caller's thread.

World coordinates in metres, the table top at z = 0: the viewer sits at positive x and looks along -x, the
viewer's right is +y, z points up. Hand coordinates are those of `hand.py`. Rotations are 3 x 3 matrices whose
columns are the hand's axes.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np

from train.tabletop.catalog import Item

HOME_M = np.array([0.66, 0.34, 0.10])  # below and to the right of what the viewer sees
ELBOW_M = np.array([0.60, 0.52, 0.06])
SLEEVE_RADIUS_M = 0.036
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


def grasp(item: Item, yaw_rad: float) -> Grasp:
    """The grasp that suits an item's shape and how it is turned."""
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
    """An object standing on the table: middle of its base, and its turn about the vertical."""

    x_m: float
    y_m: float
    yaw_rad: float

    def position(self) -> np.ndarray:
        return np.array([self.x_m, self.y_m, 0.0])


@dataclass(frozen=True)
class Hold:
    """One object in the hand from `start_s` (grasped) to `end_s` (standing again), moving rigidly with the palm."""

    start_s: float
    end_s: float
    item: int
    offset: np.ndarray  # object base minus hand position
    placed: Placement
    twist_rad: float  # turned by the wrist in the middle of the hold, and back


@dataclass
class Motion:
    """Everything that moves in a clip."""

    hand: HandTrack
    start: dict[int, Placement]
    holds: list[Hold]

    def hold_at(self, time_s: float) -> Hold | None:
        """The hold that is going on at a time."""
        for hold in self.holds:
            if hold.start_s <= time_s < hold.end_s:
                return hold
        return None

    def object_at(self, item: int, time_s: float) -> tuple[np.ndarray, float]:
        """Base position and yaw of one object of the clip."""
        placed = self.start[item]
        for hold in self.holds:
            if hold.item != item or time_s < hold.start_s:
                continue
            if time_s >= hold.end_s:
                placed = hold.placed
                continue
            u = (time_s - hold.start_s) / (hold.end_s - hold.start_s)
            yaw = placed.yaw_rad + (hold.placed.yaw_rad - placed.yaw_rad) * ease(u)
            base = self.hand.position_at(time_s) + hold.offset
            return np.maximum(base, [-9, -9, 0.0]), yaw + hold.twist_rad * float(np.sin(np.pi * u)) ** 2
        return placed.position(), placed.yaw_rad
