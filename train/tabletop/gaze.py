"""The viewer's head: where it looks from, where to, how it sways, and where points of the world come to lie in its
picture. Pure and seeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

FIELD_OF_VIEW_DEG = 52.0


@dataclass(frozen=True)
class Wave:
    """A slow sum of two sines: amplitude times them, in the unit of what it moves."""

    amplitude: float
    rates_hz: tuple[float, float]
    phases_rad: tuple[float, float]

    def at(self, time_s: float) -> float:
        """Its value at a time in seconds."""
        a, b = (
            np.sin(2 * np.pi * rate * time_s + phase)
            for rate, phase in zip(self.rates_hz, self.phases_rad, strict=True)
        )
        return self.amplitude * float(0.7 * a + 0.3 * b)


@dataclass(frozen=True)
class View:
    """Where the head is at one time: the point looked at, and the eye's place round it."""

    look_at_m: np.ndarray
    distance_m: float
    azimuth_deg: float
    elevation_deg: float
    field_of_view_deg: float = FIELD_OF_VIEW_DEG
    roll_deg: float = 0.0

    @cached_property
    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit vectors of the gaze, of the picture's right and of its top."""
        azimuth, elevation = np.radians([self.azimuth_deg, self.elevation_deg])
        forward = np.array(
            [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        )
        level = np.cross(forward, [0, 0, 1])
        level /= np.linalg.norm(level)
        plumb, roll = np.cross(level, forward), np.radians(self.roll_deg)
        return forward, level * np.cos(roll) + plumb * np.sin(roll), plumb * np.cos(roll) - level * np.sin(roll)

    @cached_property
    def eye(self) -> np.ndarray:
        """The eye's place in metres."""
        return self.look_at_m - self.distance_m * self.axes[0]

    def project(self, point: np.ndarray) -> tuple[float, float, float]:
        """A world point in picture coordinates: u and v in 0..1 from the top left corner, and its depth in metres."""
        forward, right, up = self.axes
        ray = point - self.eye
        depth = float(ray @ forward)
        half = self.half_width(depth)
        return 0.5 + 0.5 * float(ray @ right) / half, 0.5 - 0.5 * float(ray @ up) / half, depth

    def half_width(self, depth_m: float) -> float:
        """Half of what the picture shows across at a depth, in metres."""
        return float(np.tan(np.radians(self.field_of_view_deg / 2))) * max(depth_m, 1e-6)


@dataclass(frozen=True)
class Head:
    """A head that looks at a table and is never quite still."""

    look_at_m: tuple[float, float, float]
    distance_m: float
    azimuth_deg: float
    elevation_deg: float
    waves: tuple[Wave, ...]  # look-at x, y, z in metres; distance in metres; azimuth and elevation in degrees
    field_of_view_deg: float = FIELD_OF_VIEW_DEG
    roll_deg: float = 0.0

    def at(self, time_s: float) -> View:
        """Where the eye is and looks at a time in seconds."""
        dx, dy, dz, distance, azimuth, elevation = (wave.at(time_s) for wave in self.waves)
        return View(
            np.array(self.look_at_m) + np.array([dx, dy, dz]),
            self.distance_m + distance,
            self.azimuth_deg + azimuth,
            self.elevation_deg + elevation,
            self.field_of_view_deg,
            self.roll_deg,
        )


def choose_head(rng: np.random.Generator, *, is_varied: bool = False) -> Head:
    """A random head. is_varied: with eyes of a wider or narrower view, and over a wider range of places."""

    def wave(amplitude: float) -> Wave:
        return _wave(rng, amplitude)

    if is_varied:
        field_of_view_deg = float(rng.uniform(46, 60))
        return Head(
            look_at_m=_triple(rng.uniform([-0.09, -0.04, 0.01], [-0.01, 0.04, 0.06])),
            distance_m=float(rng.uniform(0.64, 0.78)) * _distance_factor(field_of_view_deg),
            azimuth_deg=180.0 + float(rng.uniform(-18, 18)),
            elevation_deg=float(rng.uniform(-59, -39)),
            waves=(wave(0.022), wave(0.03), wave(0.008), wave(0.03), wave(4.0), wave(2.5)),
            field_of_view_deg=field_of_view_deg,
        )
    return Head(
        look_at_m=(float(rng.uniform(-0.07, -0.03)), float(rng.uniform(-0.02, 0.02)), float(rng.uniform(0.02, 0.05))),
        distance_m=float(rng.uniform(0.66, 0.76)),
        azimuth_deg=180.0 + float(rng.uniform(-14, 14)),
        elevation_deg=float(rng.uniform(-55, -42)),
        waves=(wave(0.022), wave(0.03), wave(0.008), wave(0.03), wave(4.0), wave(2.5)),
    )


def choose_free_head(rng: np.random.Generator) -> Head:
    """A random head of the wide world: tilted, from far more sides, with all kinds of lenses, some of them walking."""
    field_of_view_deg = float(rng.uniform(42, 78))
    unrest = float(rng.choice([0.5, 1.0, 2.0]))
    amplitudes = (0.022, 0.03, 0.012, 0.03, 4.0, 2.5)
    return Head(
        look_at_m=_triple(rng.uniform([-0.11, -0.06, 0.00], [0.02, 0.06, 0.07])),
        distance_m=float(rng.uniform(0.60, 0.84)) * _distance_factor(field_of_view_deg),
        azimuth_deg=180.0 + float(rng.uniform(-38, 38)),
        elevation_deg=float(rng.uniform(-72, -33)),
        waves=tuple(_wave(rng, unrest * amplitude) for amplitude in amplitudes),
        field_of_view_deg=field_of_view_deg,
        roll_deg=float(rng.normal(0, 5)),
    )


def _distance_factor(field_of_view_deg: float) -> float:
    """By how much the usual distance is multiplied, so that about as much of the table is seen."""
    reach = np.tan(np.radians(FIELD_OF_VIEW_DEG / 2)) / np.tan(np.radians(field_of_view_deg / 2))
    return float(1 + 0.7 * (reach - 1))


def _wave(rng: np.random.Generator, amplitude: float) -> Wave:
    rates, phases = rng.uniform(0.03, 0.16, 2), rng.uniform(0, 2 * np.pi, 2)
    return Wave(
        amplitude * float(rng.uniform(0.3, 1.0)),
        (float(rates[0]), float(rates[1] * 2)),
        (float(phases[0]), float(phases[1])),
    )


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
