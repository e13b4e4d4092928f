"""Puts what happens into words, and reads the words back. Pure; runs in the caller's thread."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from train.tabletop.record import Manner

_USUAL = Manner()
_PLAIN: dict[str, tuple[str, ...]] = {
    "reach": ("You reach for the {}.", "You are reaching for the {}.", "Your hand goes to the {}."),
    "pick up": ("You pick up the {}.", "You take the {}.", "You lift the {}."),
    "put down": ("You put down the {}.", "You set down the {}.", "You let go of the {}."),
    "move": ("You move the {}.", "You slide the {} along the table.", "You push the {} aside."),
    "open": ("You open the {}.", "You have opened the {}.", "You pull the {} open."),
    "close": ("You close the {}.", "You have closed the {}.", "You shut the {}."),
    "turn on": ("You turn on the {}.", "You switch on the {}.", "You have turned the {} on."),
    "turn off": ("You turn off the {}.", "You switch off the {}.", "You have turned the {} off."),
    "pour": (
        "You pour from the {} into the {}.",
        "You are pouring from the {} into the {}.",
        "You tip the {} over the {}.",
    ),
    "put on": ("You put the {} on the {}.", "You set the {} on the {}.", "You place the {} on top of the {}."),
    "put in": ("You put the {} in the {}.", "You drop the {} into the {}.", "You place the {} inside the {}."),
}
_COACHING: dict[str, tuple[str, ...]] = {
    "reach": ("That's it, go for the {}.",),
    "pick up": ("Good, you have the {}.",),
    "put down": ("Well done, the {} is down.",),
    "move": ("Nice, the {} has moved.",),
    "open": ("Great, the {} is open.",),
    "close": ("Right, the {} is closed.",),
    "turn on": ("Careful now, the {} is on.",),
    "turn off": ("Perfect, the {} is off.",),
    "pour": ("Slowly, pour from the {} into the {}.",),
    "put on": ("Steady, the {} is on the {}.",),
    "put in": ("Tidy, the {} is in the {}.",),
}
STYLES = {"plain": _PLAIN, "coaching": _COACHING}
VERBS = tuple(_PLAIN)
NUM_VOICES = 3
WITH_TARGET = ("pour", "put on", "put in")

_WISHES = {
    "reach": "reach for the {}",
    "pick up": "pick up the {}",
    "put down": "put down the {}",
    "move": "move the {}",
    "open": "open the {}",
    "close": "close the {}",
    "turn on": "turn on the {}",
    "turn off": "turn off the {}",
    "pour": "pour from the {} into the {}",
    "put on": "put the {} on the {}",
    "put in": "put the {} in the {}",
}
NUMBERS = "no one two three four five six seven eight nine ten".split()  # noqa: SIM905


def remark(verb: str, name: str, target: str | None = None, manner: Manner = _USUAL) -> str:
    """The second-person line for an event: remark("reach", "red mug") is "You reach for the red mug."."""
    phrases = STYLES[manner.style][verb]
    return _fill(phrases[manner.voice % len(phrases)], name, target)


def wish(verb: str, name: str, target: str | None = None) -> str:
    """The same as something to do, without a capital or a full stop: "reach for the red mug"."""
    return _fill(_WISHES[verb], name, target)


def read_remark(text: str) -> tuple[str, str, str | None] | None:
    """Verb, thing and target that a remark of any style and voice speaks of; None for words of another form."""
    for pattern, verb in _patterns():
        found = pattern.fullmatch(text.strip())
        if found:
            return verb, found[1], found[2] if verb in WITH_TARGET else None
    return None


def listing(names: Sequence[str]) -> str:
    """["milk", "plate", "red mug"] as "the milk, the plate and the red mug"."""
    the = [f"the {name}" for name in names]
    return the[0] if len(the) == 1 else ", ".join(the[:-1]) + " and " + the[-1]


def _fill(phrase: str, name: str, target: str | None) -> str:
    return phrase.format(name, target) if phrase.count("{}") == 2 else phrase.format(name)


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """One pattern a phrase; those with more words of their own come first, for they say more."""
    phrases = [(phrase, verb) for style in STYLES.values() for verb, found in style.items() for phrase in found]
    phrases.sort(key=lambda pair: -len(pair[0]))
    return tuple((re.compile("(.+?)".join(map(re.escape, phrase.split("{}")))), verb) for phrase, verb in phrases)
