"""What stands on the tables of the simulated world, and the rooms they stand in. Pure data; no thread of its
own.

`OBJECTS` is the vocabulary, in a fixed order that fixed splits rely on: add at the end only. `source` is a path inside
the LIBERO-PRO assets, or "" for what is made of plain shapes. Small groceries are scaled up a little, as household
sizes go, so that a person can tell them apart from the first-person camera.
"""

from __future__ import annotations

from dataclasses import dataclass

from train.tabletop.shapes import SHAPES, Solid

Turn = tuple[float, float, float]
_UP: Turn = (90.0, 0.0, 0.0)  # models that are drawn with y pointing up
_FLAT: Turn = (0.0, 0.0, 0.0)
_ANY_YAW = (-3.14159, 3.14159)
_HANDLE_YAW = (0.15, 1.2)  # the handle points to the viewer's right hand


@dataclass(frozen=True)
class Item:
    """One kind of household object, with its bounds after scaling, standing as it is placed.

    name: what people call it ("red mug"). grasp: how a hand takes it: "side" (round the body), "edge" (pinched
    at its near edge) or "handle" (by a handle along its own x axis, that always points to the viewer's right).
    grip_m: half the thickness between fingers and thumb. half_m: half of a box's sides; None for what is round.
    role: what else can be done with it: "vessel" can be poured from, "dish" poured into and stacked on, "container"
    have things put in, "food" be put in; "" nothing. shapes: what it is made of where there is no source.
    """

    key: str
    name: str
    source: str
    scale: float
    turn_deg: Turn
    radius_m: float
    height_m: float
    grasp: str
    grip_m: float
    half_m: tuple[float, float] | None = None
    role: str = ""
    shapes: tuple[Solid, ...] = ()

    @property
    def yaws_rad(self) -> tuple[float, float]:
        """The turns about the vertical that it may stand in."""
        return _HANDLE_YAW if self.grasp == "handle" else _ANY_YAW


Bounds = tuple[float, float]


def _grocery(
    key: str, name: str, scale: float, bounds: Bounds, grip_m: float, half_m: Bounds | None = None, *, turn: Turn = _UP
) -> Item:
    """What stands upright is taken round its body and can be poured from; a box that lies flat, by its edge."""
    source = f"stable_hope_objects/{key}/{key}.xml"
    if half_m is None:
        return Item(key, name, source, scale, turn, *bounds, "side", grip_m, None, "vessel")
    return Item(key, name, source, scale, _FLAT, *bounds, "edge", grip_m, half_m, "food")


def _dish(
    key: str, name: str, scale: float, bounds: Bounds, taken: str, half_m: Bounds | None = None, *, role: str = "dish"
) -> Item:
    source = f"stable_scanned_objects/{key}/{key}.xml"
    return Item(key, name, source, scale, _FLAT, *bounds, taken, 0.012, half_m, role)


def _vessel(key: str, name: str, scale: float, bounds: Bounds, grip_m: float, *, role: str = "vessel") -> Item:
    source = f"turbosquid_objects/{key}/{key}.xml"
    return Item(key, name, source, scale, _FLAT, *bounds, "side", grip_m, None, role)


def _plain(
    key: str, name: str, bounds: Bounds, taken: str, grip_m: float, half_m: Bounds | None = None, role: str = ""
) -> Item:
    return Item(key, name, "", 1.0, _FLAT, *bounds, taken, grip_m, half_m, role, SHAPES[key])


OBJECTS: tuple[Item, ...] = (
    _grocery("milk", "milk", 1.1, (0.044, 0.157), 0.033),
    _grocery("orange_juice", "orange juice", 1.1, (0.044, 0.158), 0.033),
    _grocery("ketchup", "ketchup bottle", 1.15, (0.042, 0.171), 0.031),
    _grocery("salad_dressing", "salad dressing", 1.15, (0.042, 0.169), 0.031),
    _grocery("alphabet_soup", "soup can", 1.2, (0.043, 0.101), 0.041),
    _grocery("tomato_sauce", "tomato can", 1.2, (0.043, 0.100), 0.041),
    _grocery("butter", "butter", 1.7, (0.074, 0.031), 0.018, (0.065, 0.034)),
    _grocery("cream_cheese", "cream cheese", 1.6, (0.075, 0.031), 0.018, (0.066, 0.034)),
    _grocery("chocolate_pudding", "chocolate pudding", 1.5, (0.073, 0.045), 0.018, (0.062, 0.037)),
    _grocery("cookies", "cookie box", 1.7, (0.055, 0.143), 0.025),
    _grocery("macaroni_and_cheese", "macaroni box", 1.2, (0.054, 0.139), 0.026),
    _grocery("popcorn", "popcorn", 1.8, (0.068, 0.035), 0.018, (0.057, 0.038)),
    _vessel("red_coffee_mug", "red mug", 0.85, (0.060, 0.115), 0.041, role="dish"),
    _vessel("white_yellow_mug", "yellow mug", 0.85, (0.065, 0.089), 0.043, role="dish"),
    _vessel("porcelain_mug", "white mug", 0.85, (0.060, 0.098), 0.042, role="dish"),
    _vessel("moka_pot", "silver moka pot", 1.0, (0.080, 0.154), 0.038),
    _vessel("yellow_moka_pot", "yellow moka pot", 1.0, (0.080, 0.154), 0.038),
    _vessel("wine_bottle", "wine bottle", 1.3, (0.030, 0.207), 0.027),
    _vessel("white_bottle", "green bottle", 1.3, (0.030, 0.207), 0.027),
    Item(
        "black_book",
        "black book",
        "turbosquid_objects/black_book/black_book.xml",
        1.1,
        (0.0, 90.0, 0.0),
        0.098,
        0.033,
        "edge",
        0.018,
        (0.076, 0.062),
    ),
    _dish("akita_black_bowl", "grey bowl", 1.2, (0.067, 0.064), "edge"),
    _dish("yellow_bowl", "yellow bowl", 1.2, (0.067, 0.064), "edge"),
    _dish("red_bowl", "white bowl", 1.4, (0.060, 0.049), "edge"),
    _dish("plate", "plate", 1.3, (0.089, 0.022), "edge"),
    _dish("red_ramekin", "red ramekin", 1.15, (0.051, 0.050), "edge"),
    _dish("chefmate_8_frypan", "frying pan", 0.75, (0.134, 0.041), "handle", role=""),
    _dish("basket", "basket", 0.85, (0.090, 0.125), "edge", (0.073, 0.069), role="container"),
    _grocery("bbq_sauce", "barbecue sauce", 1.45, (0.037, 0.166), 0.026, turn=_FLAT),
    _dish("glazed_rim_porcelain_ramekin", "white ramekin", 1.15, (0.051, 0.050), "edge"),
    _dish("black_bowl", "patterned bowl", 1.2, (0.067, 0.064), "edge"),
    _dish("red_basket", "pink basket", 0.85, (0.090, 0.125), "edge", (0.073, 0.069), role="container"),
    Item(
        "red_yellow_book",
        "red book",
        "turbosquid_objects/red_yellow_book/red_yellow_book.xml",
        1.1,
        (0.0, 90.0, 0.0),
        0.088,
        0.030,
        "edge",
        0.016,
        (0.068, 0.056),
    ),
    Item(
        "wooden_tray",
        "wooden crate",
        "turbosquid_objects/wooden_tray/wooden_tray.xml",
        0.72,
        _FLAT,
        0.122,
        0.059,
        "edge",
        0.012,
        (0.107, 0.059),
        "container",
    ),
    Item(
        "bowl_drainer",
        "white bin",
        "turbosquid_objects/bowl_drainer/bowl_drainer.xml",
        0.75,
        _FLAT,
        0.116,
        0.102,
        "edge",
        0.012,
        (0.077, 0.087),
        "container",
    ),
    Item(
        "desk_caddy",
        "desk organizer",
        "turbosquid_objects/desk_caddy/desk_caddy.xml",
        0.45,
        _FLAT,
        0.105,
        0.076,
        "edge",
        0.014,
        (0.035, 0.099),
    ),
    _vessel("white_porcelain_mug", "flowered mug", 0.85, (0.060, 0.098), 0.042, role="dish"),
    _grocery("red_orange_juice", "grapefruit juice", 1.1, (0.044, 0.158), 0.033),
    _grocery("yellow_cookies", "cracker box", 1.7, (0.055, 0.143), 0.025),
    _grocery("green_ketchup", "relish bottle", 1.15, (0.042, 0.171), 0.031),
    _plain("apple", "apple", (0.041, 0.080), "side", 0.038, role="food"),
    _plain("orange", "orange", (0.040, 0.078), "side", 0.038, role="food"),
    _plain("banana", "banana", (0.090, 0.036), "edge", 0.017, (0.085, 0.034), "food"),
    _plain("sponge", "sponge", (0.066, 0.036), "edge", 0.018, (0.056, 0.035), "food"),
    _plain("cutting_board", "cutting board", (0.130, 0.016), "edge", 0.010, (0.112, 0.070)),
    _plain("phone", "phone", (0.082, 0.011), "edge", 0.010, (0.073, 0.036)),
    _plain("screwdriver", "screwdriver", (0.105, 0.030), "edge", 0.014, (0.100, 0.015)),
    # Never in a clip of the splits that are trained on (HELD_OUT_NAMES).
    _grocery("yellow_milk", "oat milk", 1.1, (0.044, 0.157), 0.033),
    _dish("red_akita_black_bowl", "red bowl", 1.2, (0.067, 0.064), "edge"),
    _plain("lemon", "lemon", (0.042, 0.060), "side", 0.030, role="food"),
    _dish("yellow_plate", "yellow plate", 1.3, (0.089, 0.022), "edge"),
)
HELD_OUT_NAMES = ("oat milk", "red bowl", "lemon", "yellow plate")
KNOWN_ITEMS: tuple[int, ...] = tuple(i for i, item in enumerate(OBJECTS) if item.name not in HELD_OUT_NAMES)
HELD_OUT_ITEMS: tuple[int, ...] = tuple(i for i, item in enumerate(OBJECTS) if item.name in HELD_OUT_NAMES)


@dataclass(frozen=True)
class Fixture:
    """What stands on a table, stays there, and has one part that moves.

    kind: "drawer" slides out, "door" swings open, "knob" and "lever" turn. joint: the moving one in the source.
    travel: of that part from closed or off (0) to open or on (1): metres towards the viewer for a drawer, else radians
    about the vertical through hinge_m. size_m: depth, width,
    height. radius_m: of the disc that it and its moving part take up, whose middle lies `ahead_m` before its own.
    handle_m: where the hand takes the closed part, in the fixture's own frame (x towards the viewer, y to the viewer's
    right, z up). inside_m: where the base of a thing that is put in or on stands, once it is open. holds_m: the largest
    radius and height of what fits; None: nothing does. colour: in the place of the source's pictures.
    """

    key: str
    name: str
    source: str
    scale: float
    turn_deg: Turn
    kind: str
    joint: str
    travel: float
    size_m: tuple[float, float, float]
    radius_m: float
    ahead_m: float
    handle_m: tuple[float, float, float]
    hinge_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    inside_m: tuple[float, float, float] | None = None
    holds_m: Bounds | None = None
    colour: tuple[float, float, float] | None = None

    @property
    def is_openable(self) -> bool:
        """Whether it is opened and closed, rather than turned on and off."""
        return self.kind in ("drawer", "door")


def _cabinet(key: str, name: str) -> Fixture:
    return Fixture(
        key=key,
        name=name,
        source=f"articulated_objects/{key}.xml",
        scale=0.75,
        turn_deg=(0.0, 0.0, 90.0),
        kind="drawer",
        joint="top_level",
        travel=0.105,
        size_m=(0.167, 0.193, 0.163),
        radius_m=0.140,
        ahead_m=0.045,
        handle_m=(0.078, 0.0, 0.134),
        hinge_m=(0.0, 0.0, 0.0),
        inside_m=(0.112, 0.0, 0.115),
        holds_m=(0.080, 0.047),
    )


FIXTURES: tuple[Fixture, ...] = (
    _cabinet("white_cabinet", "white drawer"),
    _cabinet("wooden_cabinet", "dark drawer"),
    Fixture(
        key="microwave",
        name="microwave",
        source="articulated_objects/microwave.xml",
        scale=0.75,
        turn_deg=(0.0, 0.0, 90.0),
        kind="door",
        joint="microjoint",
        travel=-1.75,
        size_m=(0.190, 0.258, 0.140),
        radius_m=0.170,
        ahead_m=0.060,
        handle_m=(0.110, 0.049, 0.072),
        hinge_m=(0.066, -0.129, 0.0),
        inside_m=(-0.005, -0.030, 0.019),
        holds_m=(0.061, 0.116),
    ),
    Fixture(
        key="short_fridge",
        name="fridge",
        source="articulated_objects/short_fridge.xml",
        scale=0.85,
        turn_deg=(0.0, 0.0, 90.0),
        kind="door",
        joint="fridge_door_joint_0",
        travel=1.9,
        size_m=(0.198, 0.171, 0.219),
        radius_m=0.165,
        ahead_m=0.060,
        handle_m=(0.104, -0.075, 0.120),
        hinge_m=(0.086, 0.072, 0.0),
        inside_m=(0.010, 0.0, 0.072),
        holds_m=(0.062, 0.060),
    ),
    Fixture(
        key="flat_stove",
        name="stove",
        source="articulated_objects/flat_stove.xml",
        scale=0.80,
        turn_deg=(0.0, 0.0, 90.0),
        kind="knob",
        joint="button",
        travel=1.6,
        size_m=(0.152, 0.230, 0.060),
        radius_m=0.130,
        ahead_m=0.0,
        handle_m=(0.0, -0.078, 0.050),
        hinge_m=(0.0, -0.078, 0.0),
        inside_m=(0.0, 0.044, 0.036),
        holds_m=(0.082, 0.175),
    ),
    Fixture(
        key="basin_faucet",
        name="tap",
        source="articulated_objects/basin_faucet.xml",
        scale=1.35,
        turn_deg=(0.0, 0.0, 180.0),
        kind="lever",
        joint="hinge",
        travel=1.1,
        size_m=(0.153, 0.058, 0.147),
        radius_m=0.105,
        ahead_m=0.035,
        handle_m=(0.030, 0.0, 0.142),
        hinge_m=(-0.048, 0.0, 0.0),
        colour=(0.80, 0.82, 0.85),
    ),
)
STOVE = next(index for index, fixture in enumerate(FIXTURES) if fixture.kind == "knob")
TAP = next(index for index, fixture in enumerate(FIXTURES) if fixture.kind == "lever")
FIRST_FIXTURE = 100
"""Fixtures are numbered from here on where objects and fixtures are told apart by number alone."""

VOCABULARY: tuple[str, ...] = tuple(item.name for item in OBJECTS) + tuple(fixture.name for fixture in FIXTURES)
"""What can be named: objects, then fixtures."""


def name_of(thing: int) -> str:
    """What people call an object, or a fixture (numbered from FIRST_FIXTURE on)."""
    return OBJECTS[thing].name if thing < FIRST_FIXTURE else FIXTURES[thing - FIRST_FIXTURE].name


def word_of(thing: int) -> int:
    """Its index in VOCABULARY; −1 for nothing."""
    return thing if thing < FIRST_FIXTURE else len(OBJECTS) + thing - FIRST_FIXTURE


ROOM_SOURCES: dict[str, str] = {
    "kitchen": "scenes/libero_kitchen_tabletop_base_style.xml",
    "living_room": "scenes/libero_living_room_tabletop_base_style.xml",
    "study": "scenes/libero_study_base_style.xml",
    "dining": "scenes/libero_tabletop_base_style.xml",
    "coffee_table": "scenes/libero_coffee_table_blue_style.xml",
}

_TEXTURES = (
    "brown_ceramic_tile",
    "canvas_sky_blue",
    "cream-plaster",
    "dapper_gray_floor",
    "dark_blue_wall",
    "dark_floor_texture",
    "dark_gray_plaster",
    "dark_green_plaster_wall",
    "gray_ceramic_tile",
    "gray_floor",
    "gray_wall",
    "kona_gotham",
    "light_floor",
    "light_gray_plaster",
    "martin_novak_wood_table",
    "meeka-beige-plaster",
    "rustic_floor",
    "seamless_wood_planks_floor",
    "stucco_wall",
    "table_light_wood",
    "tile_grigia_caldera_porcelain_floor",
    "white_marble_floor",
    "yellow_linen_wall_texture",
)
SURFACES: dict[str, str] = {name: f"textures/{name}.png" for name in _TEXTURES}
