"""Finds places on the table: free, in sight, and hiding nothing. Pure and seeded."""

from __future__ import annotations

from functools import cache

import numpy as np

from train.tabletop.catalog import FIXTURES, OBJECTS
from train.tabletop.gaze import View
from train.tabletop.motion import Placement, part_pose, turn_about_z
from train.tabletop.scenery import Look

NEAR_X_M, FAR_X_M, SIDE_Y_M = 0.13, -0.25, 0.27  # where objects stand, at the viewer's edge and beyond
GAP_M = 0.022
MARGIN = 0.09  # of the picture, kept free of objects' middles


def place_fixtures(rng: np.random.Generator, fixtures: list[int], look: Look) -> dict[int, Placement]:
    """Fixtures at the back of the table, one to the left and one to the right if there are two, turned to the viewer.

    Two stand so far apart that neither touches the other, whatever is open. Handles are in sight where they can be.
    """
    view = look.head.at(0.0)
    placed: dict[int, Placement] = {}
    for _ in range(400):
        sides = rng.permutation([-1.0, 1.0])
        found = {number: _stand(rng, side, len(fixtures)) for number, side in zip(fixtures, sides, strict=False)}
        middles = [middle_of(fixture, standing) for fixture, standing in found.items()]
        if len(found) == 2 and np.hypot(*(middles[0] - middles[1])) < sum(FIXTURES[f].radius_m for f in found):
            continue
        placed = found
        handles = [handle_at(f, standing, state) for f, standing in found.items() for state in (0.0, 1.0)]
        if all(0.03 < u < 0.97 and 0.03 < v < 0.97 for u, v, _ in map(view.project, handles)):
            break
    return placed


def handle_at(fixture: int, standing: Placement, state: float) -> np.ndarray:
    """Where a fixture's handle is in one state of its part."""
    shift, turn = part_pose(FIXTURES[fixture], state)
    return standing.position() + turn_about_z(standing.yaw_rad) @ (shift + turn @ np.array(FIXTURES[fixture].handle_m))


def _stand(rng: np.random.Generator, side: float, number: int) -> Placement:
    """Where one of `number` fixtures stands."""
    is_aside = number > 1 or rng.random() < 0.8
    y = float(side * rng.uniform(0.11, 0.19)) if is_aside else float(rng.normal(0, 0.04))
    yaw = float(-np.arctan2(y, 0.75) * rng.uniform(0.3, 1.0) + rng.normal(0, 0.06))
    return Placement(float(rng.uniform(-0.25, -0.19)), y, yaw)


def find_place(
    rng: np.random.Generator,
    item: int,
    others: dict[int, Placement],
    look: Look,
    time_s: float,
    fixtures: dict[int, Placement] | None = None,
) -> Placement | None:
    """A free place on the table for one object, in sight at a time, or None if 400 tries found none."""
    view = look.head.at(time_s)
    for _ in range(400):
        placed = Placement(
            float(rng.uniform(FAR_X_M, NEAR_X_M)),
            float(rng.uniform(-SIDE_Y_M, SIDE_Y_M)),
            float(rng.uniform(*OBJECTS[item].yaws_rad)),
        )
        is_free = all(is_clear(item, placed, other, standing) for other, standing in others.items()) and all(
            _is_clear_of(item, placed, fixture, standing) for fixture, standing in (fixtures or {}).items()
        )
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


def _middle(item: int, placed: Placement) -> np.ndarray:
    return placed.position() + np.array([0.0, 0.0, OBJECTS[item].height_m / 2])


def is_clear(item: int, placed: Placement, other: int, standing: Placement) -> bool:
    """True if two objects do not touch, each taken as a disc of its radius."""
    apart = float(np.hypot(placed.x_m - standing.x_m, placed.y_m - standing.y_m))
    return apart >= OBJECTS[item].radius_m + OBJECTS[other].radius_m + GAP_M


def _is_clear_of(item: int, placed: Placement, fixture: int, standing: Placement) -> bool:
    """True if an object is neither at a fixture nor behind it, nor where its part moves."""
    radius_m, kind = OBJECTS[item].radius_m, FIXTURES[fixture]
    if placed.x_m < standing.x_m and abs(placed.y_m - standing.y_m) < kind.radius_m:
        return False
    spot, stand = placed.position()[:2], standing.position()[:2]
    if np.hypot(*(spot - middle_of(fixture, standing))) < radius_m + kind.radius_m:
        return False
    swept = stand + _swept(fixture) @ turn_about_z(standing.yaw_rad)[:2, :2].T - spot
    return bool(np.hypot(swept[:, 0], swept[:, 1]).min() >= radius_m + GAP_M)


def middle_of(fixture: int, standing: Placement) -> np.ndarray:
    """The middle of the disc that a fixture takes up: x and y."""
    ahead = turn_about_z(standing.yaw_rad) @ np.array([FIXTURES[fixture].ahead_m, 0.0, 0.0])
    return (standing.position() + ahead)[:2]


@cache
def _swept(fixture: int) -> np.ndarray:
    """Points that a fixture's moving part passes on its way, in the fixture's frame: N x 2."""
    kind = FIXTURES[fixture]
    handle, hinge = np.array(kind.handle_m), np.array(kind.hinge_m)
    if kind.kind == "door":  # it goes on a little beyond its handle
        parts = [hinge + (handle - hinge) * share for share in (0.3, 0.6, 0.9, 1.2)]
    else:
        aside = np.array([0.0, 0.45 * kind.size_m[1] if kind.kind == "drawer" else 0.0, 0.0])
        parts = [handle - aside, handle, handle + aside]
    poses = [part_pose(kind, state) for state in np.linspace(0.0, 1.0, 9)]
    return np.array([(shift + turn @ part)[:2] for shift, turn in poses for part in parts])
