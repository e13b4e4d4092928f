"""What stands on the tables of the simulated world, and the rooms they stand in. Pure data; no thread of its own.

`OBJECTS` is the vocabulary, in a fixed order that trained checkpoints rely on: add at the end only. `source` is a path inside
the LIBERO-PRO assets. Small groceries are scaled up a little, as household sizes go, so that a person can tell them apart
from the first-person camera.
"""

from __future__ import annotations

from dataclasses import dataclass

Turn = tuple[float, float, float]
_UP: Turn = (90.0, 0.0, 0.0)  # models that are drawn with y pointing up
_FLAT: Turn = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Item:
    """One kind of household object, with its bounds after scaling, standing as it is placed.

    name: what people call it ("red mug"). grasp: how a hand takes it: "side" (round the body), "top" (pinched from above) or
    "rim" (by its near edge). grip_m: half the thickness between fingers and thumb.
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


def _hope(
    key: str, name: str, scale: float, bounds: tuple[float, float], grasp: str, grip_m: float, turn: Turn = _UP
) -> Item:
    return Item(key, name, f"stable_hope_objects/{key}/{key}.xml", scale, turn, *bounds, grasp, grip_m)


def _scan(key: str, name: str, scale: float, bounds: tuple[float, float], grasp: str, grip_m: float) -> Item:
    source = f"stable_scanned_objects/{key}/{key}.xml"
    return Item(key, name, source, scale, _FLAT, *bounds, grasp, grip_m)


def _turbo(
    key: str, name: str, scale: float, bounds: tuple[float, float], grasp: str, grip_m: float, turn: Turn = _FLAT
) -> Item:
    return Item(key, name, f"turbosquid_objects/{key}/{key}.xml", scale, turn, *bounds, grasp, grip_m)


OBJECTS: tuple[Item, ...] = (
    _hope("milk", "milk", 1.1, (0.044, 0.157), "side", 0.033),
    _hope("orange_juice", "orange juice", 1.1, (0.044, 0.158), "side", 0.033),
    _hope("ketchup", "ketchup bottle", 1.15, (0.042, 0.171), "side", 0.031),
    _hope("salad_dressing", "salad dressing", 1.15, (0.042, 0.169), "side", 0.031),
    _hope("alphabet_soup", "soup can", 1.2, (0.043, 0.101), "side", 0.041),
    _hope("tomato_sauce", "tomato can", 1.2, (0.043, 0.100), "side", 0.041),
    _hope("butter", "butter", 1.7, (0.074, 0.031), "top", 0.035, _FLAT),
    _hope("cream_cheese", "cream cheese", 1.6, (0.075, 0.031), "top", 0.035, _FLAT),
    _hope("chocolate_pudding", "chocolate pudding", 1.5, (0.073, 0.045), "top", 0.037, _FLAT),
    _hope("cookies", "cookie box", 1.5, (0.048, 0.126), "side", 0.025),
    _hope("macaroni_and_cheese", "macaroni box", 1.2, (0.054, 0.139), "side", 0.026),
    _hope("popcorn", "popcorn", 1.8, (0.068, 0.035), "top", 0.038, _FLAT),
    _turbo("red_coffee_mug", "red mug", 0.85, (0.060, 0.115), "side", 0.041),
    _turbo("white_yellow_mug", "yellow mug", 0.85, (0.065, 0.089), "side", 0.043),
    _turbo("porcelain_mug", "white mug", 0.85, (0.060, 0.098), "side", 0.042),
    _turbo("moka_pot", "moka pot", 1.0, (0.080, 0.154), "side", 0.038),
    _turbo("yellow_moka_pot", "yellow moka pot", 1.0, (0.080, 0.154), "side", 0.038),
    _turbo("wine_bottle", "wine bottle", 1.3, (0.030, 0.207), "side", 0.027),
    _turbo("white_bottle", "green bottle", 1.3, (0.030, 0.207), "side", 0.027),
    _turbo("black_book", "black book", 1.1, (0.098, 0.033), "rim", 0.018, (0, 90, 0)),
    _scan("akita_black_bowl", "black bowl", 1.2, (0.067, 0.064), "rim", 0.012),
    _scan("yellow_bowl", "yellow bowl", 1.2, (0.067, 0.064), "rim", 0.012),
    _scan("red_bowl", "white bowl", 1.4, (0.060, 0.049), "rim", 0.012),
    _scan("plate", "plate", 1.3, (0.089, 0.022), "rim", 0.012),
    _scan("red_ramekin", "red ramekin", 1.15, (0.051, 0.050), "rim", 0.012),
    _scan("chefmate_8_frypan", "frying pan", 0.75, (0.134, 0.041), "rim", 0.014),
    _scan("basket", "basket", 0.85, (0.090, 0.125), "rim", 0.014),
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
    "brown_ceramic_tile canvas_sky_blue cream-plaster dapper_gray_floor dark_blue_wall dark_floor_texture dark_gray_plaster "
    "dark_green_plaster_wall gray_ceramic_tile gray_floor gray_wall kona_gotham light_floor light_gray_plaster "
    "martin_novak_wood_table meeka-beige-plaster rustic_floor seamless_wood_planks_floor stucco_wall table_light_wood "
    "tile_grigia_caldera_porcelain_floor white_marble_floor yellow_linen_wall_texture"
)
SURFACES: dict[str, str] = {name: f"textures/{name}.png" for name in _TEXTURES.split()}
