"""How the sister world looks: four places, each with its own colours, patterns, light and eye. Pure and seeded.

None of the tabletop world's rooms, pictures or painters is used.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

PATTERN_PX = 128
LOOKS = ("counter", "desk", "picnic", "night")
_SKINS = ((0.95, 0.78, 0.66), (0.88, 0.64, 0.50), (0.70, 0.48, 0.36), (0.47, 0.31, 0.22), (0.33, 0.22, 0.17))
_WOOD = (0.80, 0.63, 0.42)

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class SisterLook:
    """Everything about a clip's picture that is not what happens in it. Colours are RGB in 0..1, lengths metres.

    table, wall, floor: pictures, PATTERN_PX² x 3 uint8. light_m: where the lamp hangs; it shines at the table.
    follows: share of the way that the eye goes with the hand. grain: deviation of the noise, 0–255. gains: of the
    channels. clutter: boxes about the table: half sides, middle, colour.
    """

    name: str
    table: np.ndarray
    wall: np.ndarray
    floor: np.ndarray
    wall_m: float
    light_m: Triple
    light: Triple
    ambient: float
    has_shadows: bool
    skin: Triple
    sleeve: Triple
    sleeve_radius_m: float
    eye_m: Triple
    target_m: Triple
    tilt_rad: float
    follows: float
    field_of_view_deg: float
    grain: float
    gains: Triple
    clutter: tuple[tuple[Triple, Triple, Triple], ...]


def choose_look(rng: np.random.Generator, number: int) -> SisterLook:
    """A random look of place `number`, counted round."""
    name = LOOKS[number % len(LOOKS)]
    hue, dim = float(rng.random()), 1.0
    if name == "counter":
        table = _speckled(rng, _hsv(hue, 0.08, 0.72), 0.10)
        wall, floor = _checked(rng, _hsv(hue + 0.5, 0.2, 0.85), _hsv(hue, 0.05, 0.95), 8), _plain(_hsv(hue, 0.2, 0.4))
        light_m, light, ambient, wall_m = (0.8, -0.6, 1.6), (0.75, 0.80, 0.86), 0.40, 0.42
    elif name == "desk":
        table = _woven(rng, _hsv(0.55 + 0.2 * hue, 0.45, 0.38))
        wall, floor = _speckled(rng, _hsv(hue, 0.3, 0.55), 0.03), _plain(_hsv(0.08, 0.4, 0.3))
        light_m, light, ambient, wall_m = (-0.5, 0.3, 0.75), (0.95, 0.80, 0.58), 0.25, 0.60
    elif name == "picnic":
        table = _checked(rng, _hsv(hue, 0.7, 0.75), _hsv(hue, 0.05, 0.95), 10)
        wall, floor = _speckled(rng, _hsv(0.33, 0.5, 0.45), 0.25), _speckled(rng, _hsv(0.30, 0.6, 0.4), 0.3)
        light_m, light, ambient, wall_m = (1.5, 1.0, 2.0), (1.0, 0.97, 0.90), 0.35, 2.5
    else:
        table = _slatted(rng, _hsv(0.06 + 0.04 * hue, 0.55, 0.5))
        wall, floor = _plain(_hsv(hue, 0.25, 0.35)), _plain(_hsv(hue, 0.2, 0.2))
        light_m, light, ambient, wall_m, dim = (0.2, -0.3, 1.1), (0.70, 0.62, 0.50), 0.14, 0.9, 0.8
    field_of_view_deg = float(rng.uniform(46, 70))
    height_m = float(rng.uniform(0.50, 0.82))
    # What is seen at the table is as wide whatever the lens: a narrow one stands further off.
    off_m = 0.42 / np.tan(np.radians(field_of_view_deg / 2))
    back_m = float(np.sqrt(max(off_m**2 - height_m**2, 0.09)))
    gloves = rng.random() < 0.15
    skin = _hsv(hue + 0.3, 0.6, 0.6) if gloves else _SKINS[int(rng.integers(len(_SKINS)))]
    clutter = []
    for _ in range(int(rng.integers(0, 5))):
        half = rng.uniform([0.02, 0.02, 0.03], [0.09, 0.06, 0.16])
        x, y = float(rng.uniform(-0.6, 0.6)), float(rng.uniform(0.36, 0.40))
        clutter.append(
            (_triple(half), (x, y, float(half[2])), _hsv(float(rng.random()), 0.5, float(rng.uniform(0.2, 0.9))))
        )
    return SisterLook(
        name=name,
        table=table,
        wall=wall,
        floor=floor,
        wall_m=wall_m,
        light_m=_triple(np.array(light_m) + rng.normal(0, 0.15, 3)),
        light=_triple(np.clip(np.array(light) * rng.uniform(0.85, 1.1), 0, 1)),
        ambient=ambient,
        has_shadows=True,
        skin=_triple(np.array(skin) * rng.uniform(0.92, 1.05)),
        sleeve=_hsv(float(rng.random()), 0.5, float(rng.uniform(0.15, 0.9)))
        if rng.random() < 0.7
        else _triple(np.array(skin)),
        sleeve_radius_m=float(rng.uniform(0.026, 0.038)),
        eye_m=(float(rng.uniform(-0.12, 0.12)), 0.05 - back_m, height_m),
        target_m=_triple(rng.uniform([-0.04, 0.0, 0.02], [0.04, 0.08, 0.06])),
        tilt_rad=float(np.radians(rng.normal(0, 4))),
        follows=float(rng.uniform(0.0, 0.3)),
        field_of_view_deg=field_of_view_deg,
        grain=float(rng.uniform(1, 4)) / dim,
        gains=_triple(dim * rng.uniform(0.85, 1.12, 3)),
        clutter=tuple(clutter),
    )


def wood_or(skin: Triple, *, is_jointed: bool) -> Triple:
    """The colour of a hand: the lay figure's is half the time of wood, by the clip's skin."""
    return _WOOD if is_jointed and sum(skin) > 1.6 else skin


def through_sensor(pixels: np.ndarray, look: SisterLook, rng: np.random.Generator) -> np.ndarray:
    """What a camera makes of a picture, S x S x 3 uint8: gains, darker corners, noise."""
    side = pixels.shape[0]
    along = np.linspace(-1, 1, side, dtype=np.float32)
    fade = 1 - 0.10 * (along[:, None] ** 2 + along[None] ** 2)
    seen = pixels.astype(np.float32) * np.array(look.gains, np.float32) * fade[..., None]
    seen += rng.standard_normal(pixels.shape, np.float32) * np.float32(look.grain)
    return np.clip(seen, 0, 255).astype(np.uint8)


def _hsv(hue: float, saturation: float, value: float) -> Triple:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return red, green, blue


def _triple(values: np.ndarray) -> Triple:
    clipped = np.asarray(values, float)
    return float(clipped[0]), float(clipped[1]), float(clipped[2])


def _to_picture(values: np.ndarray) -> np.ndarray:
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def _plain(colour: Triple) -> np.ndarray:
    return _to_picture(np.broadcast_to(np.array(colour), (PATTERN_PX, PATTERN_PX, 3)))


def _speckled(rng: np.random.Generator, colour: Triple, amount: float) -> np.ndarray:
    fine = rng.normal(0, amount, (PATTERN_PX, PATTERN_PX, 1))
    coarse = np.repeat(np.repeat(rng.normal(0, amount, (32, 32, 1)), 4, 0), 4, 1)
    return _to_picture(np.array(colour) + (fine + coarse) / 2)


def _checked(rng: np.random.Generator, one: Triple, other: Triple, count: int) -> np.ndarray:
    cells = np.arange(PATTERN_PX) * count // PATTERN_PX
    is_one = ((cells[:, None] + cells[None]) % 2)[..., None]
    return _to_picture(
        np.where(is_one, np.array(one), np.array(other)) + rng.normal(0, 0.02, (PATTERN_PX, PATTERN_PX, 1))
    )


def _woven(rng: np.random.Generator, colour: Triple) -> np.ndarray:
    threads = np.sin(np.arange(PATTERN_PX) * np.pi / 2)
    cloth = 0.05 * (threads[:, None] + np.roll(threads, 1)[None])[..., None]
    return _to_picture(np.array(colour) + cloth + rng.normal(0, 0.03, (PATTERN_PX, PATTERN_PX, 1)))


def _slatted(rng: np.random.Generator, colour: Triple) -> np.ndarray:
    shades = np.repeat(rng.normal(0, 0.09, 8), PATTERN_PX // 8)[:, None, None]
    grain = np.cumsum(rng.normal(0, 0.012, (PATTERN_PX, PATTERN_PX, 1)), axis=0) * 0.5
    gaps = np.where(np.arange(PATTERN_PX) % (PATTERN_PX // 8) == 0, -0.25, 0.0)[:, None, None]
    return _to_picture(np.array(colour) + shades + grain + gaps)
