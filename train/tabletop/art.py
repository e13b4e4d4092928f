"""Paints surfaces that no kit has: stone, veins, wood, cloth, tiles and sheer noise, in all colours. Pure and seeded.

A picture repeats without a seam, so that a surface may show it as often as it likes. Nothing here is as pale and as
grey as the marble of the held-out room.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ART_PX = 256


@dataclass(frozen=True)
class Art:
    """What to paint: a kind of ART_KINDS, and the seed of everything else about it. repeats: on a surface, each way."""

    kind: str
    seed: int
    repeats: int = 1


def paint(art: Art) -> np.ndarray:
    """The picture: ART_PX x ART_PX x 3 uint8 RGB, always the same for the same `art`."""
    rng = np.random.default_rng([art.seed, 23])
    pixels = _PAINTERS[art.kind](rng) + rng.normal(0, float(rng.uniform(0, 0.015)), (ART_PX, ART_PX, 1))
    return (np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def _colour(rng: np.random.Generator) -> np.ndarray:
    """Any colour, often a pale one, and nearly half the time a white, grey or beige: tables seldom shine in red."""
    value = float(rng.uniform(0.75, 1.0) if rng.random() < 0.35 else rng.uniform(0.12, 0.95))
    saturation = float(rng.uniform(0, 0.18) if rng.random() < 0.45 else rng.beta(1.2, 2.4))
    return np.array(colorsys.hsv_to_rgb(float(rng.random()), saturation, value))


def _near(rng: np.random.Generator, colour: np.ndarray, spread: float) -> np.ndarray:
    return np.clip(colour * (1 + rng.uniform(-spread, spread)) + rng.normal(0, spread / 5, 3), 0, 1)


def _mix(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    return a + (b - a) * np.clip(share, 0, 1)[..., None]


def _noise(rng: np.random.Generator, waves: float, slope: float, stretch: float = 1.0) -> np.ndarray:
    """Noise of deviation 1 with about `waves` blots across; finer detail fades with `slope`. stretch: of the blots."""
    y, x = np.fft.fftfreq(ART_PX)[:, None] * ART_PX, np.fft.rfftfreq(ART_PX)[None] * ART_PX
    radius = np.hypot(x * np.sqrt(stretch), y / np.sqrt(stretch))
    fade = (1 + (radius / waves) ** 2) ** (slope / 2)
    spectrum = np.fft.rfft2(rng.standard_normal((ART_PX, ART_PX), np.float32)) / fade.astype(np.float32)
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum.astype(np.complex64), (ART_PX, ART_PX))
    field = field / field.std()
    return field if rng.random() < 0.5 else field.T


def _ramp(rng: np.random.Generator, most: int) -> np.ndarray:
    """0..1 across the picture in a random direction, wrapping a whole number of times."""
    y, x = np.mgrid[:ART_PX, :ART_PX] / ART_PX
    a, b = int(rng.integers(0, most + 1)), int(rng.integers(-most, most + 1))
    return (a * x + (b or 1) * y) % 1.0


def _plain(rng: np.random.Generator) -> np.ndarray:
    return _colour(rng) * (1 + 0.02 * _noise(rng, 6, 2))[..., None]


def _stone(rng: np.random.Generator) -> np.ndarray:
    base = _colour(rng)
    clouds = _mix(base, _near(rng, base, 0.5), 0.5 + 0.3 * _noise(rng, float(rng.uniform(2, 12)), 2.6))
    return clouds * (1 + float(rng.uniform(0.02, 0.12)) * _noise(rng, 40, 2))[..., None]


def _veins(rng: np.random.Generator) -> np.ndarray:
    """Marble of deep or tinted colours, with thin veins lighter or darker than it."""
    saturation = float(rng.uniform(0.1, 0.7))
    base = np.array(colorsys.hsv_to_rgb(float(rng.random()), saturation, float(rng.uniform(0.1, 1.0))))
    vein = _colour(rng) if rng.random() < 0.5 else np.clip(base + (0.45 if base.mean() < 0.5 else -0.4), 0, 1)
    ground = _mix(base, _near(rng, base, 0.4), 0.5 + 0.3 * _noise(rng, 3, 3))
    for _ in range(int(rng.integers(1, 4))):
        waves, width = float(rng.uniform(1, 6)), float(rng.uniform(0.02, 0.3))
        ridge = np.exp(-np.abs(_noise(rng, waves, 3.2, float(rng.uniform(0.4, 2.5)))) / width)
        ground = _mix(ground, vein, ridge * float(rng.uniform(0.3, 0.9)))
    return ground


def _wood(rng: np.random.Generator) -> np.ndarray:
    hue = float(rng.uniform(0.03, 0.12)) if rng.random() < 0.75 else float(rng.random())
    base = np.array(colorsys.hsv_to_rgb(hue, float(rng.uniform(0.1, 0.75)), float(rng.uniform(0.2, 0.95))))
    rings = _ramp(rng, 2) * int(rng.integers(3, 14)) + float(rng.uniform(0.1, 0.8)) * _noise(rng, 3, 3.5, 6)
    grain = 0.5 + 0.5 * np.sin(2 * np.pi * rings) + 0.3 * _noise(rng, 30, 2, 30)
    wood = _mix(base, base * float(rng.uniform(0.45, 0.85)), grain)
    if rng.random() < 0.4:  # planks
        seams = (_ramp(rng, 1) * int(rng.integers(2, 7))) % 1.0
        wood = _mix(wood, base * 0.3, (seams < 0.03).astype(float))
    return wood


def _stripes(rng: np.random.Generator) -> np.ndarray:
    cloth, ramp = _colour(rng) * np.ones((ART_PX, ART_PX, 1)), _ramp(rng, 3)
    repeats = int(rng.integers(1, 7))
    for _ in range(int(rng.integers(1, 4))):
        edge = float(rng.uniform(0.1, 0.6))
        cloth = _mix(cloth, _colour(rng), ((ramp * repeats + float(rng.random())) % 1.0 < edge).astype(float))
    return cloth * _weave(rng)


def _check(rng: np.random.Generator) -> np.ndarray:
    """Two rows of stripes at right angles: tablecloths, and squares of two colours."""
    y, x = np.mgrid[:ART_PX, :ART_PX] / ART_PX
    a, b, share = int(rng.integers(1, 9)), int(rng.integers(0, 5)), float(rng.uniform(0.25, 0.6))
    warp, weft = ((a * x + b * y) % 1.0 < share).astype(float), ((b * x - a * y) % 1.0 < share).astype(float)
    both = np.abs(warp - weft) if rng.random() < 0.4 else (warp + weft) / 2
    return _mix(_colour(rng), _colour(rng), both) * _weave(rng)


def _weave(rng: np.random.Generator) -> np.ndarray:
    return (1 + float(rng.uniform(0, 0.08)) * _noise(rng, 60, 1))[..., None]


def _speckles(rng: np.random.Generator) -> np.ndarray:
    """Granite and terrazzo: chips of some colours in a ground."""
    ground, waves = _stone(rng), float(rng.uniform(8, 60))
    for _ in range(int(rng.integers(1, 5))):
        chips = np.clip((_noise(rng, waves, 4) - float(rng.uniform(0.9, 2.0))) * 8, 0, 1)
        ground = _mix(ground, _colour(rng), chips)
    return ground


def _tiles(rng: np.random.Generator) -> np.ndarray:
    rows, columns = (int(n) for n in rng.integers(2, 9, 2))
    y, x = np.mgrid[:ART_PX, :ART_PX] / ART_PX
    row, column = np.int64(y * rows), np.int64(x * columns)
    base, other = _colour(rng), _colour(rng)
    tints = base * (1 + rng.normal(0, 0.08, (rows, columns, 1)))
    if rng.random() < 0.3:
        tints = np.where(rng.random((rows, columns, 1)) < 0.5, tints, other)
    grout = (np.minimum((y * rows) % 1.0 / rows, (x * columns) % 1.0 / columns) < 0.008).astype(float)
    return _mix(tints[row, column] * (1 + 0.03 * _noise(rng, 20, 2))[..., None], _colour(rng), grout)


def _blots(rng: np.random.Generator) -> np.ndarray:
    """Noise in every channel by itself: like nothing on earth."""
    waves, slope = float(rng.uniform(1, 30)), float(rng.uniform(1.6, 4))
    field = np.stack([_noise(rng, waves, slope) for _ in range(3)], axis=-1)
    return _colour(rng) + float(rng.uniform(0.02, 0.15)) * field


_PAINTERS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "plain": _plain,
    "stone": _stone,
    "veins": _veins,
    "wood": _wood,
    "stripes": _stripes,
    "check": _check,
    "speckles": _speckles,
    "tiles": _tiles,
    "blots": _blots,
}
ART_KINDS = tuple(_PAINTERS)
