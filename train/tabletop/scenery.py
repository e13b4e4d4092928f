"""How a clip looks: room, surfaces, light, skin, sleeve, and the path of the viewer's head. Pure and seeded.

Four rooms are for training and validation; `HELD_OUT_ROOM` is only ever in the test split, and its table top
and floor are in no training clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TRAIN_ROOMS = ("kitchen", "living_room", "study", "dining")
HELD_OUT_ROOM = "coffee_table"
OWN_SURFACE = "own"  # the picture that the room came with

_TABLES = (
    "martin_novak_wood_table",
    "table_light_wood",
    "seamless_wood_planks_floor",
    "dark_floor_texture",
    "dapper_gray_floor",
    "rustic_floor",
    "light_floor",
    "gray_wall",
    "dark_gray_plaster",
    "dark_green_plaster_wall",
    "brown_ceramic_tile",
    "kona_gotham",
    "cream-plaster",
    "yellow_linen_wall_texture",
)
_WALLS = (
    "light_gray_plaster",
    "meeka-beige-plaster",
    "stucco_wall",
    "dark_green_plaster_wall",
    "yellow_linen_wall_texture",
    "cream-plaster",
    "gray_wall",
    "canvas_sky_blue",
)
_FLOORS = (
    "tile_grigia_caldera_porcelain_floor",
    "gray_ceramic_tile",
    "gray_floor",
    "rustic_floor",
    "dapper_gray_floor",
    "dark_floor_texture",
    "seamless_wood_planks_floor",
)
TABLE_SURFACES = (OWN_SURFACE, *_TABLES)
WALL_SURFACES = (OWN_SURFACE, *_WALLS)
FLOOR_SURFACES = (OWN_SURFACE, *_FLOORS)
FIELD_OF_VIEW_DEG = 52.0

_SKINS = (
    (0.96, 0.80, 0.70),
    (0.93, 0.72, 0.60),
    (0.85, 0.62, 0.48),
    (0.72, 0.50, 0.37),
    (0.55, 0.37, 0.27),
    (0.40, 0.27, 0.20),
)


@dataclass(frozen=True)
class Wave:
    """A slow sum of two sines: amplitude times them, in the unit of what it moves."""

    amplitude: float
    rates_hz: tuple[float, float]
    phases_rad: tuple[float, float]

    def at(self, time_s: float) -> float:
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

    def eye(self) -> np.ndarray:
        """The eye's place in metres."""
        return self.look_at_m - self.distance_m * self.forward()

    def forward(self) -> np.ndarray:
        """The unit vector of the gaze."""
        azimuth, elevation = np.radians([self.azimuth_deg, self.elevation_deg])
        return np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])

    def project(self, point: np.ndarray) -> tuple[float, float, float]:
        """A world point in picture coordinates: u and v in 0..1 from the top left corner, and its depth in metres."""
        forward = self.forward()
        right = np.cross(forward, [0, 0, 1])
        right /= np.linalg.norm(right)
        up = np.cross(right, forward)
        ray = point - self.eye()
        depth = float(ray @ forward)
        half = np.tan(np.radians(FIELD_OF_VIEW_DEG / 2)) * max(depth, 1e-6)
        return 0.5 + 0.5 * float(ray @ right) / half, 0.5 - 0.5 * float(ray @ up) / half, depth


@dataclass(frozen=True)
class Head:
    """A head that looks at a table and is never quite still."""

    look_at_m: tuple[float, float, float]
    distance_m: float
    azimuth_deg: float
    elevation_deg: float
    waves: tuple[Wave, ...]  # look-at x, y, z in metres; distance in metres; azimuth and elevation in degrees

    def at(self, time_s: float) -> View:
        dx, dy, dz, distance, azimuth, elevation = (wave.at(time_s) for wave in self.waves)
        return View(
            np.array(self.look_at_m) + np.array([dx, dy, dz]),
            self.distance_m + distance,
            self.azimuth_deg + azimuth,
            self.elevation_deg + elevation,
        )


@dataclass(frozen=True)
class Look:
    """Everything about a clip's picture that is not what happens in it. Colours are RGB in 0..1."""

    room: str
    table: str
    wall: str
    floor: str
    table_tint: tuple[float, float, float]
    light_direction: tuple[float, float, float]
    light_colour: tuple[float, float, float]
    ambient: float
    skin: tuple[float, float, float]
    sleeve: tuple[float, float, float]
    head: Head


def choose_look(split: str, rng: np.random.Generator) -> Look:
    """A random look for a clip of a split."""
    own = split == "test"
    room = HELD_OUT_ROOM if own else str(rng.choice(TRAIN_ROOMS))
    table = OWN_SURFACE if own or rng.random() < 0.2 else str(rng.choice(_TABLES))
    wall = OWN_SURFACE if own or rng.random() < 0.3 else str(rng.choice(_WALLS))
    floor = OWN_SURFACE if own or rng.random() < 0.3 else str(rng.choice(_FLOORS))
    tint = 1.0 if own else float(rng.uniform(0.72, 1.0))
    tints = np.clip(tint * (1 + (0 if own else rng.uniform(-0.06, 0.06, 3))) * np.ones(3), 0, 1)
    warmth, strength = float(rng.uniform(-0.08, 0.08)), float(rng.uniform(0.55, 0.85))
    colour = np.clip(strength * np.array([1 + warmth, 1.0, 1 - warmth]), 0, 1)
    slant = rng.uniform(-0.7, 0.7, 2)
    skin = np.array(_SKINS[int(rng.integers(len(_SKINS)))]) * rng.uniform(0.93, 1.04)
    sleeve = skin if rng.random() < 0.25 else rng.uniform(0.05, 0.9, 3)
    return Look(
        room=room,
        table=table,
        wall=wall,
        floor=floor,
        table_tint=_triple(tints),
        light_direction=(float(slant[0]), float(slant[1]), -1.0),
        light_colour=_triple(colour),
        ambient=float(rng.uniform(0.36, 0.54)),
        skin=_triple(np.clip(skin, 0, 1)),
        sleeve=_triple(sleeve),
        head=_choose_head(rng),
    )


def _choose_head(rng: np.random.Generator) -> Head:
    def wave(amplitude: float) -> Wave:
        rates, phases = rng.uniform(0.03, 0.16, 2), rng.uniform(0, 2 * np.pi, 2)
        return Wave(
            amplitude * float(rng.uniform(0.3, 1.0)),
            (float(rates[0]), float(rates[1] * 2)),
            (float(phases[0]), float(phases[1])),
        )

    return Head(
        look_at_m=(float(rng.uniform(-0.07, -0.03)), float(rng.uniform(-0.02, 0.02)), float(rng.uniform(0.02, 0.05))),
        distance_m=float(rng.uniform(0.66, 0.76)),
        azimuth_deg=180.0 + float(rng.uniform(-14, 14)),
        elevation_deg=float(rng.uniform(-55, -42)),
        waves=(wave(0.022), wave(0.03), wave(0.008), wave(0.03), wave(4.0), wave(2.5)),
    )


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
