"""What stands on the tables of the simulated world, and the rooms they stand in. Pure data; no thread of its
own.

`OBJECTS` is the vocabulary, in a fixed order that trained checkpoints rely on: add at the end only. `source`
is a path inside the LIBERO-PRO assets. Small groceries are scaled up a little, as household sizes go, so that
a person can tell them apart from the first-person camera.
"""

from __future__ import annotations

from dataclasses import dataclass

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

    @property
    def yaws_rad(self) -> tuple[float, float]:
        """The turns about the vertical that it may stand in."""
        return _HANDLE_YAW if self.grasp == "handle" else _ANY_YAW


Bounds = tuple[float, float]


def _grocery(key: str, name: str, scale: float, bounds: Bounds, grip_m: float, half_m: Bounds | None = None) -> Item:
    """What stands upright is taken round its body; a box that lies flat, by its edge."""
    source = f"stable_hope_objects/{key}/{key}.xml"
    turn, taken = (_UP, "side") if half_m is None else (_FLAT, "edge")
    return Item(key, name, source, scale, turn, *bounds, taken, grip_m, half_m)


def _dish(key: str, name: str, scale: float, bounds: Bounds, taken: str, half_m: Bounds | None = None) -> Item:
    source = f"stable_scanned_objects/{key}/{key}.xml"
    return Item(key, name, source, scale, _FLAT, *bounds, taken, 0.012, half_m)


def _vessel(key: str, name: str, scale: float, bounds: Bounds, grip_m: float) -> Item:
    return Item(key, name, f"turbosquid_objects/{key}/{key}.xml", scale, _FLAT, *bounds, "side", grip_m)


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
    _vessel("red_coffee_mug", "red mug", 0.85, (0.060, 0.115), 0.041),
    _vessel("white_yellow_mug", "yellow mug", 0.85, (0.065, 0.089), 0.043),
    _vessel("porcelain_mug", "white mug", 0.85, (0.060, 0.098), 0.042),
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
    _dish("chefmate_8_frypan", "frying pan", 0.75, (0.134, 0.041), "handle"),
    _dish("basket", "basket", 0.85, (0.090, 0.125), "edge", (0.073, 0.069)),
)
VOCABULARY: tuple[str, ...] = tuple(item.name for item in OBJECTS)


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
