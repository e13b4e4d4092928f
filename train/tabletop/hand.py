"""A right hand as triangle meshes, from an open to a closed grip. Pure numpy; runs in the caller's thread.

The hand is a distance field (round cones for fingers and thumb, a rounded slab for the palm, blended
smoothly) that is turned into triangles by surface nets. Hand coordinates, in metres: x towards the finger
tips, y towards the thumb, z out of the back of the hand; the origin is the middle of the palm, and the
forearm goes off along -x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NUM_GRIPS = 9
NUM_HANDS = 7  # of a kit: our own, and those of six bodies
WRIST_X_M = -0.085  # where the sleeve begins
KNUCKLES_X_M = 0.043  # where the first joint of a finger in the middle is
_CELL_M = 0.0026
_LOW = np.array([-0.125, -0.075, -0.135])
_HIGH = np.array([0.165, 0.105, 0.05])


@dataclass(frozen=True)
class HandMesh:
    """vertices V x 3 metres, faces F x 3, shade V in 0..1 (0.5 skin, above lighter: palm and nails, below: creases)."""

    vertices: np.ndarray
    faces: np.ndarray
    shade: np.ndarray


Chain = tuple[np.ndarray, tuple[float, ...], np.ndarray]
"""Of a finger: its four joints, their radii, and the direction its nail faces."""


@dataclass(frozen=True)
class Finger:
    """Of our own hand: its first joint, its three bones and what they are scaled by, the radii of its four joints."""

    base_m: np.ndarray
    bones_m: np.ndarray
    radii_m: tuple[float, ...]
    length: float = 1.0
    spread_rad: float = 0.0  # of the open hand


def _finger(base_y_m: float, spread_rad: float, length: float) -> Finger:
    base_m = np.array([KNUCKLES_X_M - abs(base_y_m) * 0.12, base_y_m, 0.002])
    return Finger(base_m, np.array([0.044, 0.028, 0.021]), (0.0105, 0.0095, 0.0086, 0.0074), length, spread_rad)


FINGERS = (
    _finger(0.031, 0.10, 0.95),
    _finger(0.0105, 0.02, 1.06),
    _finger(-0.0105, -0.05, 1.0),
    _finger(-0.030, -0.14, 0.80),
    Finger(np.array([-0.026, 0.026, -0.006]), np.array([0.042, 0.034, 0.026]), (0.0165, 0.0125, 0.0108, 0.0088)),
)
"""Index … little finger, thumb."""


def make_hand(grip: float) -> HandMesh:
    """The hand at `grip` from 0 (open, relaxed) to 1 (closed round something about 7 cm thick)."""
    axes = [np.arange(_LOW[i], _HIGH[i] + _CELL_M, _CELL_M) for i in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float32)
    field, joints = _distance(points, grip)
    vertices, faces = _surface_nets(field, axes)
    return HandMesh(vertices, faces, _shade(vertices, joints))


def directions(finger: int, grip: float, change: np.ndarray) -> np.ndarray:
    """Where the three bones of FINGERS[finger] point, with `change` (four angles in radians) added.

    These are the bends of the three joints and the spread; of the thumb, out and down, and the bends of two joints.
    """
    if finger < 4:
        spread = FINGERS[finger].spread_rad * (1 - 0.7 * grip) + change[3]
        bends = np.cumsum(_bends(grip) + change[:3])
        return np.stack([np.cos(bends) * np.cos(spread), np.cos(bends) * np.sin(spread), -np.sin(bends)], axis=1)
    out = 0.78 - 0.30 * grip + change[0] - np.array([0.0, 0.14 + 0.10 * grip, 0.26 + 0.20 * grip])
    down = 0.18 + 0.62 * grip + change[1] - np.array([0.0, change[2], change[2] + change[3]])
    return np.stack([np.cos(out) * np.cos(down), np.sin(out) * np.cos(down), -np.sin(down)], axis=1)


def _bends(grip: float) -> np.ndarray:
    return np.array([0.12 + 0.62 * grip, 0.25 + 0.70 * grip, 0.15 + 0.45 * grip])


def _finger_chains(grip: float) -> list[Chain]:
    bend, thumb_nail = _bends(grip).cumsum()[-1], np.array([-0.25, 0.75, 0.6])
    nails = [np.array([np.sin(bend), 0.0, np.cos(bend)])] * 4 + [thumb_nail / np.linalg.norm(thumb_nail)]
    chains = []
    for number, (finger, nail) in enumerate(zip(FINGERS, nails, strict=True)):
        joints = [finger.base_m]
        for bone_m, step in zip(finger.bones_m, directions(number, grip, np.zeros(4)), strict=True):
            joints.append(joints[-1] + bone_m * finger.length * step)
        chains.append((np.array(joints), finger.radii_m, nail))
    return chains


def _distance(points: np.ndarray, grip: float) -> tuple[np.ndarray, list[Chain]]:
    chains = _finger_chains(grip)
    slab = np.abs(points - np.array([-0.002, 0.0, 0.0], np.float32)) - np.array([0.036, 0.031, 0.004], np.float32)
    palm = np.linalg.norm(np.maximum(slab, 0), axis=-1) + np.minimum(slab.max(axis=-1), 0) - 0.0115
    heel = _round_cone(points, np.array([-0.03, 0.016, -0.008]), np.array([0.0, 0.022, -0.007]), 0.016, 0.013)
    edge = _round_cone(points, np.array([-0.032, -0.022, -0.006]), np.array([0.03, -0.028, -0.002]), 0.015, 0.011)
    flat = points * np.array([1, 0.78, 1], np.float32)
    wrist = _round_cone(flat, np.array([-0.15, 0, 0]), np.array([-0.04, 0, 0]), 0.0225, 0.019)
    body = _blend(_blend(_blend(palm, heel, 0.012), edge, 0.012), wrist, 0.022)
    fingers = []
    for joints, radii, _ in chains:
        bones = [_round_cone(points, joints[i], joints[i + 1], radii[i], radii[i + 1]) for i in range(len(joints) - 1)]
        finger = bones[0]
        for bone in bones[1:]:
            finger = _blend(finger, bone, 0.004)
        fingers.append(finger)
    whole = body
    for finger in fingers:
        whole = (
            np.minimum(_blend(body, finger, 0.011), whole)
            if whole is body
            else np.minimum(whole, _blend(body, finger, 0.011))
        )
    return whole, chains


def _round_cone(points: np.ndarray, a: np.ndarray, b: np.ndarray, radius_a: float, radius_b: float) -> np.ndarray:
    axis = (b - a).astype(np.float32)
    along = np.clip((points - a.astype(np.float32)) @ axis / float(axis @ axis), 0, 1)
    nearest = a.astype(np.float32) + along[..., None] * axis
    return np.linalg.norm(points - nearest, axis=-1) - (radius_a + (radius_b - radius_a) * along)


def _blend(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    near = np.maximum(width - np.abs(a - b), 0) / width
    return np.minimum(a, b) - near * near * width / 4


def _surface_nets(field: np.ndarray, axes: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """One vertex in every cell that the zero surface crosses, one quad round every grid edge that it crosses."""
    inside = field < 0
    corners = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    shape = tuple(n - 1 for n in field.shape)

    def shifted(array: np.ndarray, i: int, j: int, k: int) -> np.ndarray:
        return array[i : i + shape[0], j : j + shape[1], k : k + shape[2]]

    count = sum(shifted(inside, *corner).astype(np.int8) for corner in corners)
    cells = np.argwhere((count > 0) & (count < 8))
    index = np.full(shape, -1, np.int64)
    index[tuple(cells.T)] = np.arange(len(cells))
    total, weight = np.zeros((len(cells), 3)), np.zeros((len(cells), 1))
    for first in corners:
        for axis in range(3):
            if first[axis]:
                continue
            second = tuple(1 if n == axis else first[n] for n in range(3))
            value_a = field[tuple((cells + first).T)]
            value_b = field[tuple((cells + second).T)]
            crosses = (value_a < 0) != (value_b < 0)
            t = np.where(crosses, value_a / np.where(crosses, value_a - value_b, 1), 0)
            point = np.array(first) + t[:, None] * (np.array(second) - np.array(first))
            total += np.where(crosses[:, None], point, 0)
            weight += crosses[:, None]
    origin, cell = np.array([axis[0] for axis in axes]), float(axes[0][1] - axes[0][0])
    vertices = origin + (cells + total / weight) * cell
    faces = []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        low = [slice(1, n) for n in shape]
        high = list(low)
        low[axis], high[axis] = slice(0, shape[axis]), slice(1, shape[axis] + 1)
        a, b = inside[tuple(low)], inside[tuple(high)]
        edges = np.argwhere(a != b)
        flips = a[tuple(edges.T)]
        offset = np.array([1, 1, 1])
        offset[axis] = 0
        base = edges + offset
        step_u, step_v = np.eye(3, dtype=int)[u], np.eye(3, dtype=int)[v]
        ring = [base - step_u - step_v, base - step_v, base, base - step_u]
        quad = np.stack([index[tuple(r.T)] for r in ring], axis=1)
        keep = (quad >= 0).all(axis=1)
        quad = np.where(flips[:, None], quad, quad[:, ::-1])[keep]
        faces += [quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]
    return vertices.astype(np.float32), np.concatenate(faces).astype(np.int32)


def _shade(vertices: np.ndarray, chains: list[Chain]) -> np.ndarray:
    shade = 0.5 + 0.12 * np.clip(-vertices[:, 2] / 0.02, -0.4, 1.0)
    for joints, radii, nail_up in chains:
        for joint, radius in zip(joints[1:3], radii[1:3], strict=True):
            near = np.linalg.norm(vertices - joint, axis=1) - radius
            along = (vertices - joint) @ (joints[2] - joints[1]) / np.linalg.norm(joints[2] - joints[1])
            shade -= np.where(near < 0.004, 0.16 * np.exp(-((along / 0.0016) ** 2)), 0)
        tip, before = joints[-1], joints[-2]
        bone = (tip - before) / np.linalg.norm(tip - before)
        up = nail_up - bone * (nail_up @ bone)
        up /= np.linalg.norm(up)
        side = np.cross(bone, up)
        offset = vertices - (tip + bone * 0.001)
        on_nail = (
            (np.abs(offset @ bone) < 0.0068)
            & (np.abs(offset @ side) < radii[-1] * 0.72)
            & (offset @ up > radii[-1] * 0.45)
        )
        shade = np.where(on_nail, 0.95, shade)
    return np.clip(shade, 0, 1).astype(np.float32)
