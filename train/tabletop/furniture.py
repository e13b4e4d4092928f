"""Plain shapes that stand round a table, as chairs, sofas and lamps do, and are never a hand. Pure and seeded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHAPES = ("box", "ellipsoid", "cylinder")
MAX_PIECES = 3
_TABLE_M = 0.48  # half of the smallest table, and a little: nothing stands nearer to its middle


@dataclass(frozen=True)
class Piece:
    """One piece: half sides in metres, its middle (world coordinates), its turn about the vertical, RGB in 0..1."""

    shape: str
    half_m: tuple[float, float, float]
    position_m: tuple[float, float, float]
    yaw_rad: float
    colour: tuple[float, float, float]


def choose_furniture(rng: np.random.Generator, likely_colours: np.ndarray) -> tuple[Piece, ...]:
    """None to three pieces beyond the table or to its left; half of them in one of `likely_colours` (N x 3)."""
    num_pieces = int(rng.choice(MAX_PIECES + 1, p=[0.35, 0.25, 0.25, 0.15]))
    return tuple(_choose_piece(rng, likely_colours) for _ in range(num_pieces))


def _choose_piece(rng: np.random.Generator, likely_colours: np.ndarray) -> Piece:
    half = rng.uniform([0.08, 0.08, 0.15], [0.30, 0.30, 0.45])
    away_m = _TABLE_M + float(np.hypot(half[0], half[1])) + float(rng.uniform(0, 0.3))
    is_beyond = rng.random() < 0.7
    x, y = (-away_m, rng.uniform(-0.7, 0.7)) if is_beyond else (rng.uniform(-0.6, 0.0), -away_m)
    top = float(rng.uniform(-0.25, 0.22))
    is_likely = rng.random() < 0.5
    colour = likely_colours[int(rng.integers(len(likely_colours)))] if is_likely else rng.uniform(0.05, 0.95, 3)
    colour = np.clip(colour * rng.uniform(0.5, 1.05), 0, 1)
    return Piece(
        str(rng.choice(SHAPES)),
        (float(half[0]), float(half[1]), float(half[2])),
        (float(x), float(y), top - float(half[2])),
        float(rng.uniform(-np.pi, np.pi)),
        (float(colour[0]), float(colour[1]), float(colour[2])),
    )
