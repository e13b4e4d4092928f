"""Text as it is said: what engines would spell out, swallow or read letter by letter, in words. Pure."""

from __future__ import annotations

import re
import unicodedata

_UNITS = {
    "°C": "degrees Celsius", "°F": "degrees Fahrenheit", "°": "degrees", "%": "percent",
    "km/h": "kilometers an hour", "m/s": "meters a second", "mph": "miles an hour",
    "km": "kilometers", "cm": "centimeters", "mm": "millimeters", "m": "meters", "ft": "feet",
    "kg": "kilograms", "mg": "milligrams", "g": "grams", "lb": "pounds", "lbs": "pounds", "oz": "ounces",
    "ml": "milliliters", "mL": "milliliters", "cl": "centiliters", "dl": "deciliters", "l": "liters", "L": "liters",
    "tbsp": "tablespoons", "tsp": "teaspoons", "ms": "milliseconds", "sec": "seconds",
    "min": "minutes", "h": "hours", "hrs": "hours", "W": "watts", "kW": "kilowatts", "V": "volts", "Hz": "hertz",
    "GB": "gigabytes", "MB": "megabytes",
}  # fmt: skip
_NAMES = sorted(_UNITS, key=len, reverse=True)
_QUANTITY = re.compile(rf"(?<![\w.])(\d+(?:[.,]\d+)?)\s?({'|'.join(map(re.escape, _NAMES))})(?![\w°])")
_UNCHANGED_AT_ONE = {"percent", "hertz"}
_SINGULAR = {"feet": "foot", "degrees Celsius": "degree Celsius"}
_SINGULAR |= {"degrees Fahrenheit": "degree Fahrenheit", "kilometers an hour": "kilometer an hour"}
_SINGULAR |= {"meters a second": "meter a second", "miles an hour": "mile an hour"}

_WORDS = (
    (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),  # a link's or picture's words
    (re.compile(r"\b(?:https?://|www\.)\S+?(?=[.,;:!?)]*(?:\s|$))"), "a link"),
    (re.compile(r"(?m)^\s*(?:#{1,6}|[-*•])\s+"), ""),
    (re.compile(r"(?<!\w)[*_`~]{1,3}(?=\w)|(?<=[\w.!?])[*_`~]{1,3}(?!\w)"), ""),
    (re.compile(r"(?<![\d.-])(\d{1,3})\s?[–-]\s?(\d{1,3})(?![\d-])"), r"\1 to \2"),
    (re.compile(r"\be\.g\.,?"), "for example"),
    (re.compile(r"\bi\.e\.,?"), "that is"),
    (re.compile(r"\bvs\."), "versus"),
    (re.compile(r"\betc\."), "and so on"),
    (re.compile(r"\bapprox\."), "about"),
    (re.compile(r"\s&\s"), " and "),
    (re.compile(r"(?<=\w)\s?\+\s?(?=\w)"), " plus "),
    (re.compile(r"\s?×\s?"), " times "),
    (re.compile(r"\s=\s"), " equals "),
    (re.compile(r"(?<=\d)½"), " and a half"),
    (re.compile(r"½"), "half"),
    (re.compile(r"¼"), "a quarter"),
    (re.compile(r"¾"), "three quarters"),
    (re.compile(r"~(?=\d)"), "about "),
)


def spoken(text: str) -> str:
    """The text with units, symbols, links, emphasis and emoji in words, or gone."""
    for pattern, words in _WORDS:
        text = pattern.sub(words, text)
    text = _QUANTITY.sub(_quantity, text)
    text = "".join(" " if unicodedata.category(char) in ("So", "Sk", "Cf", "Cs", "Co", "Cn") else char for char in text)
    return " ".join(text.split())


def _quantity(found: re.Match[str]) -> str:
    number, unit = found[1], _UNITS[found[2]]
    if number == "1" and unit not in _UNCHANGED_AT_ONE:
        unit = _SINGULAR.get(unit, unit.removesuffix("s"))
    return f"{number} {unit}"
