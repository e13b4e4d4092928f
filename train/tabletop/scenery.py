"""How a clip looks: room, surfaces, light, skin, sleeve, and the path of the viewer's head. Pure and seeded.

Four rooms are for training; `HELD_OUT_ROOM` is only ever in the benchmark's own group of clips, and its table top
and floor are in no other clip. The other clips are meant to be odder than any real table: about half of
their surfaces are painted (`art.py`), no two alike, odd shapes stand round the table (`furniture.py`), often in the
colours of skin, under all kinds of light and through all kinds of eyes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from train.tabletop.art import ART_KINDS, Art
from train.tabletop.furniture import Piece, choose_furniture
from train.tabletop.gaze import Head, choose_free_head, choose_head
from train.tabletop.hand import NUM_HANDS
from train.tabletop.motion import SLEEVE_RADIUS_M

TRAIN_ROOMS = ("kitchen", "living_room", "study", "dining")
HELD_OUT_ROOM = "coffee_table"
_SQUARE_TABLE_ROOMS = ("kitchen", "dining")
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

_GLOVES = (
    (0.95, 0.80, 0.20),
    (0.25, 0.45, 0.75),
    (0.92, 0.92, 0.90),
    (0.12, 0.12, 0.13),
    (0.90, 0.50, 0.60),
    (0.35, 0.65, 0.40),
)
GLOVED_SHARE = 0.12
ODD_HAND_SHARE = 0.2
"""Of the wide world's hands: of any colour there is."""
_SKINS = (
    (0.96, 0.80, 0.70),
    (0.93, 0.72, 0.60),
    (0.85, 0.62, 0.48),
    (0.72, 0.50, 0.37),
    (0.55, 0.37, 0.27),
    (0.40, 0.27, 0.20),
)


Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """Everything about a clip's picture that is not what happens in it. Colours are RGB in 0..1.

    table, wall, floor: the name of a picture in the kit, OWN_SURFACE, or what to paint. skin: of the hands, or their
    gloves. quarter_turns: of the room
    about its square table. hand: number of the hand in the kit, 0 for our own. gloss: of the hand, 0–1.
    lamp_m: where a second light hangs, if there is one, of the colour lamp_colour.
    """

    room: str
    table: str | Art
    wall: str | Art
    floor: str | Art
    table_tint: Colour
    light_direction: tuple[float, float, float]
    light_colour: Colour
    ambient: float
    skin: Colour
    sleeve: Colour
    head: Head
    quarter_turns: int = 0
    furniture: tuple[Piece, ...] = ()
    hand: int = 0
    sleeve_radius_m: float = SLEEVE_RADIUS_M
    gloss: float = 0.08
    has_shadows: bool = False
    lamp_m: tuple[float, float, float] | None = None
    lamp_colour: Colour = (0.0, 0.0, 0.0)


def choose_look(rng: np.random.Generator, *, is_held_out: bool = False, is_odd: bool = False) -> Look:
    """A random look. is_held_out: of the room that nothing is trained in. is_odd: the table is painted for certain."""
    if is_held_out:
        return _held_out_look(rng)
    room = str(rng.choice(TRAIN_ROOMS))
    table_tint = rng.uniform(0.6, 1.0) * (1 + rng.uniform(-0.12, 0.12, 3))
    warmth, strength = float(rng.uniform(-0.16, 0.16)), float(rng.uniform(0.40, 0.95))
    slant = rng.uniform(-1.0, 1.0, 2)
    skin, sleeve = _choose_arm(rng)
    return Look(
        room=room,
        table=_choose_surface(rng, _TABLES, own_share=0.1, painted_share=1.0 if is_odd else 0.6),
        wall=_choose_surface(rng, _WALLS, own_share=0.15, painted_share=0.4),
        floor=_choose_surface(rng, _FLOORS, own_share=0.15, painted_share=0.4),
        table_tint=_triple(np.clip(table_tint, 0, 1)),
        light_direction=(float(slant[0]), float(slant[1]), -1.0),
        light_colour=_triple(np.clip(strength * np.array([1 + warmth, 1.0, 1 - warmth]), 0, 1)),
        ambient=float(rng.uniform(0.28, 0.60)),
        skin=skin,
        sleeve=sleeve,
        head=choose_head(rng, is_varied=True),
        quarter_turns=int(rng.integers(4)) if room in _SQUARE_TABLE_ROOMS else 0,
        furniture=choose_furniture(rng, np.array(_SKINS)),
    )


def widen(look: Look, rng: np.random.Generator) -> Look:
    """The same room with another hand, arm, eye and light, as the wide world has them."""
    dim = float(rng.uniform(0.45, 0.8)) if rng.random() < 0.25 else 1.0
    lamp = rng.uniform([-0.7, -0.9, 0.5], [0.9, 0.9, 1.6]) if rng.random() < 0.5 else None
    slant = rng.uniform(-0.9, 0.9, 2)
    colour = np.clip(np.array(look.light_colour) * dim * (1 + rng.uniform(-0.12, 0.12, 3)), 0, 1)
    widened = replace(
        look,
        head=choose_free_head(rng),
        light_direction=(float(slant[0]), float(slant[1]), -1.0),
        light_colour=_triple(colour),
        ambient=float(rng.uniform(0.14, 0.60)) * dim,
        hand=int(rng.integers(NUM_HANDS)),
        sleeve_radius_m=float(rng.uniform(0.024, 0.050)),
        gloss=float(rng.uniform(0.0, 0.3)),
        has_shadows=bool(rng.random() < 0.7),
        lamp_m=None if lamp is None else _triple(lamp),
        lamp_colour=_triple(np.clip(rng.uniform(0.2, 0.7) * (1 + rng.uniform(-0.3, 0.3, 3)), 0, 1)),
    )
    is_odd = rng.random() < ODD_HAND_SHARE
    return replace(widened, skin=_triple(rng.uniform(0.05, 0.95, 3))) if is_odd else widened


def _choose_surface(
    rng: np.random.Generator, pictures: tuple[str, ...], *, own_share: float, painted_share: float
) -> str | Art:
    draw = float(rng.random())
    if draw < painted_share:
        return Art(str(rng.choice(ART_KINDS)), int(rng.integers(2**31)), int(rng.integers(1, 4)))
    return OWN_SURFACE if draw < painted_share + own_share else str(rng.choice(pictures))


def _held_out_look(rng: np.random.Generator) -> Look:
    warmth, strength = float(rng.uniform(-0.08, 0.08)), float(rng.uniform(0.55, 0.85))
    colour = np.clip(strength * np.array([1 + warmth, 1.0, 1 - warmth]), 0, 1)
    slant = rng.uniform(-0.7, 0.7, 2)
    skin, sleeve = _choose_arm(rng)
    return Look(
        room=HELD_OUT_ROOM,
        table=OWN_SURFACE,
        wall=OWN_SURFACE,
        floor=OWN_SURFACE,
        table_tint=(1.0, 1.0, 1.0),
        light_direction=(float(slant[0]), float(slant[1]), -1.0),
        light_colour=_triple(colour),
        ambient=float(rng.uniform(0.36, 0.54)),
        skin=skin,
        sleeve=sleeve,
        head=choose_head(rng),
    )


def _choose_arm(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """The colours of hand and sleeve; one in four arms is bare, one in eight hands is gloved."""
    skin = np.array(_SKINS[int(rng.integers(len(_SKINS)))]) * rng.uniform(0.93, 1.04)
    sleeve = skin if rng.random() < 0.25 else rng.uniform(0.05, 0.9, 3)
    if rng.random() < GLOVED_SHARE:
        skin = np.array(_GLOVES[int(rng.integers(len(_GLOVES)))]) * rng.uniform(0.85, 1.05)
    return _triple(np.clip(skin, 0, 1)), _triple(sleeve)


def _triple(values: np.ndarray) -> Colour:
    return float(values[0]), float(values[1]), float(values[2])
