"""Finds places on the table: free, in sight, and hiding nothing. Pure and seeded."""

from __future__ import annotations

import numpy as np

from train.tabletop.catalog import FIXTURES, OBJECTS
from train.tabletop.gaze import View
from train.tabletop.motion import Placement, turn_about_z
from train.tabletop.scenery import Look

NEAR_X_M, FAR_X_M, SIDE_Y_M = 0.13, -0.25, 0.27  # where objects stand, at the viewer's edge and beyond
GAP_M = 0.022
MARGIN = 0.09  # of the picture, kept free of objects' middles


def place_fixtures(rng: np.random.Generator, fixtures: list[int]) -> dict[int, Placement]:
    """Fixtures at the back of the table, on either side if there are two, turned to the viewer."""
    placed: dict[int, Placement] = {}
    sides = rng.permutation([-1.0, 1.0])
    for number, side in zip(fixtures, sides, strict=False):
        y = (
            float(side * rng.uniform(0.11, 0.19))
            if len(fixtures) > 1 or rng.random() < 0.8
            else float(rng.normal(0, 0.04))
        )
        yaw = float(-np.arctan2(y, 0.75) * rng.uniform(0.3, 1.0) + rng.normal(0, 0.06))
        placed[number] = Placement(float(rng.uniform(-0.25, -0.19)), y, yaw)
    return placed


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
    kind = FIXTURES[fixture]
    middle = standing.position() + turn_about_z(standing.yaw_rad) @ np.array([kind.ahead_m, 0.0, 0.0])
    apart = float(np.hypot(placed.x_m - middle[0], placed.y_m - middle[1]))
    is_behind = placed.x_m < standing.x_m and abs(placed.y_m - standing.y_m) < kind.radius_m
    return not is_behind and apart >= OBJECTS[item].radius_m + kind.radius_m
