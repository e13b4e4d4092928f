"""Things made of plain shapes: fruit, a sponge, a phone. Pure data and the meshes of it.

Shapes rest at z >= 0 with the middle of the thing at the origin; lengths in metres, colours RGB in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Solid:
    """One box or ellipsoid: half sides, middle, colour, and its turn about the vertical in radians."""

    kind: str
    half_m: Triple
    middle_m: Triple
    colour: Triple
    yaw_rad: float = 0.0


_YELLOW, _WOOD = (0.93, 0.78, 0.16), (0.72, 0.52, 0.33)
SHAPES: dict[str, tuple[Solid, ...]] = {
    "apple": (
        Solid("ellipsoid", (0.041, 0.041, 0.038), (0, 0, 0.038), (0.74, 0.10, 0.10)),
        Solid("ellipsoid", (0.020, 0.020, 0.006), (0, 0, 0.073), (0.45, 0.30, 0.08)),
        Solid("box", (0.002, 0.002, 0.008), (0, 0, 0.080), (0.25, 0.16, 0.08)),
    ),
    "orange": (
        Solid("ellipsoid", (0.040, 0.040, 0.039), (0, 0, 0.039), (0.95, 0.50, 0.08)),
        Solid("ellipsoid", (0.006, 0.006, 0.002), (0, 0, 0.077), (0.30, 0.40, 0.12)),
    ),
    "banana": (
        Solid("ellipsoid", (0.040, 0.018, 0.018), (0, 0.010, 0.018), _YELLOW),
        Solid("ellipsoid", (0.036, 0.016, 0.016), (0.048, -0.006, 0.017), _YELLOW, -0.6),
        Solid("ellipsoid", (0.036, 0.016, 0.016), (-0.048, -0.006, 0.017), _YELLOW, 0.6),
        Solid("ellipsoid", (0.009, 0.006, 0.006), (0.080, -0.028, 0.017), (0.25, 0.20, 0.08), -0.6),
    ),
    "sponge": (
        Solid("box", (0.056, 0.035, 0.013), (0, 0, 0.013), (0.95, 0.82, 0.25)),
        Solid("box", (0.056, 0.035, 0.005), (0, 0, 0.031), (0.16, 0.45, 0.22)),
    ),
    "cutting_board": (
        Solid("box", (0.095, 0.070, 0.008), (-0.017, 0, 0.008), _WOOD),
        Solid("box", (0.018, 0.020, 0.008), (0.094, 0, 0.008), _WOOD),
        Solid("box", (0.085, 0.003, 0.0003), (-0.017, 0.058, 0.0163), (0.50, 0.34, 0.20)),
        Solid("box", (0.085, 0.003, 0.0003), (-0.017, -0.058, 0.0163), (0.50, 0.34, 0.20)),
    ),
    "phone": (
        Solid("box", (0.073, 0.036, 0.005), (0, 0, 0.005), (0.06, 0.06, 0.07)),
        Solid("box", (0.068, 0.033, 0.0004), (0, 0, 0.0104), (0.10, 0.22, 0.50)),
    ),
    "screwdriver": (
        Solid("ellipsoid", (0.048, 0.015, 0.015), (0.050, 0, 0.015), (0.85, 0.16, 0.10)),
        Solid("box", (0.006, 0.012, 0.012), (0.006, 0, 0.015), (0.12, 0.12, 0.12)),
        Solid("box", (0.050, 0.003, 0.003), (-0.048, 0, 0.015), (0.75, 0.76, 0.78)),
    ),
    "lemon": (
        Solid("ellipsoid", (0.040, 0.030, 0.030), (0, 0, 0.030), (0.96, 0.88, 0.20)),
        Solid("ellipsoid", (0.008, 0.006, 0.006), (0.038, 0, 0.030), (0.90, 0.80, 0.18)),
    ),
}


def mesh(shape: Solid) -> tuple[np.ndarray, np.ndarray]:
    """Its vertices (V x 3) and faces (F x 3), turned outwards."""
    vertices, faces = _box() if shape.kind == "box" else _ball()
    cos, sin = np.cos(shape.yaw_rad), np.sin(shape.yaw_rad)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    return ((vertices * shape.half_m) @ turn.T + shape.middle_m).astype(np.float32), faces


def _box() -> tuple[np.ndarray, np.ndarray]:
    """A cube of half side 1 whose six sides share no vertex, so that its edges stay sharp."""
    vertices, faces = [], []
    for axis in range(3):
        for side in (-1.0, 1.0):
            u, v = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
            middle, first = side * np.eye(3)[axis], len(vertices)
            vertices += [middle + a * u + b * v for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
            ring = [0, 1, 2, 3] if side > 0 else [3, 2, 1, 0]
            faces += [[first + ring[0], first + ring[1], first + ring[2]]]
            faces += [[first + ring[0], first + ring[2], first + ring[3]]]
    return np.array(vertices), np.array(faces, np.int32)


def _ball(rows: int = 12, columns: int = 20) -> tuple[np.ndarray, np.ndarray]:
    theta = np.linspace(0, np.pi, rows + 1)[:, None]
    phi = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    grid = np.stack(
        [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta) * np.ones_like(phi)], axis=-1
    )
    index = np.arange((rows + 1) * columns).reshape(rows + 1, columns)
    right = np.roll(index, -1, axis=1)
    upper, lower = (index[:-1], right[:-1]), (index[1:], right[1:])
    one = np.stack([upper[0], lower[0], lower[1]], axis=-1).reshape(-1, 3)
    two = np.stack([upper[0], lower[1], upper[1]], axis=-1).reshape(-1, 3)
    return grid.reshape(-1, 3), np.concatenate([one[columns:], two[:-columns]]).astype(np.int32)
