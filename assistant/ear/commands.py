"""Spoken commands: what is to be done, not answered. Pure. Only a whole turn is one: "stop" is, "did it stop?" not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from assistant.ear.words import words_of

Do = Literal["stop", "quiet", "speak", "repeat", "louder", "softer", "pause", "resume", "list", "forget"]

QUIET_S = 600.0
"""Where it is not said for how long."""

MOST_QUIET_S = 86400.0
POLITE = frozenset(("please", "now", "okay", "ok", "just", "can", "could", "would", "will", "you", "thanks", "thank"))

_FOR = r"(?: for (?P<time>.+))?"
_SOMEWHAT = r"(?:(?:a (?:little|bit)|much) )?"
_PATTERNS: tuple[tuple[Do, str], ...] = (
    ("quiet", rf"(?:be|stay|keep) (?:quiet|silent){_FOR}"),
    ("quiet", rf"(?:no|stop) (?:more )?remarks{_FOR}"),
    ("quiet", rf"do not disturb(?: me)?{_FOR}"),
    ("quiet", r"(?:quiet|silence|hush) for (?P<time>.+)"),
    (
        "stop",
        r"stop(?: (?:it|that|talking|speaking))?|quiet|silence|hush|shut up|enough|that's enough|never mind|cancel",
    ),
    ("speak", r"(?:speak|talk)(?: to me)? again|(?:you )?(?:can|may) (?:speak|talk)(?: again)?|unmute"),
    ("repeat", r"repeat(?: (?:it|that))?(?: again)?|say (?:(?:it|that) )?again|pardon|come again"),
    ("repeat", r"what did you (?:just )?say|i (?:did not|didn't) (?:hear|understand|catch) (?:you|that|it)"),
    ("louder", rf"{_SOMEWHAT}louder|(?:speak|talk|be) (?:louder|up)|(?:turn|volume) (?:it )?up|turn up the volume"),
    ("softer", rf"{_SOMEWHAT}(?:softer|quieter)|(?:speak|talk|be) (?:softer|quieter|more (?:softly|quietly))"),
    ("softer", r"not so loud|(?:turn|volume) (?:it )?down|turn down the volume"),
    ("list", r"what (?:do you|are you) watch(?:ing)?(?: out)? for|list (?:my )?(?:reminders|requests)"),
    ("forget", r"(?:cancel|forget|delete|clear) (?:all )?(?:the |my )?(?:reminders?|requests?)(?: all)?"),
    ("pause", r"pause|stop (?:watching|looking)|close (?:your eyes|the camera)"),
    ("pause", r"(?:do not|don't) (?:look|watch)(?: at this)?"),
    ("resume", r"resume|(?:start|go on) (?:watching|looking)(?: again)?|(?:watch|look) again"),
    ("resume", r"open (?:your eyes|the camera)(?: again)?"),
)
_UNITS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
_SMALL = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_NUMBERS: dict[str, float] = dict(zip(_SMALL, range(13), strict=True)) | dict(
    zip(("a few", "a couple of", "a", "an", "half", "fifteen", "twenty", "thirty", "forty", "fifty", "sixty", "ninety"),
        (5, 2, 1, 1, 0.5, 15, 20, 30, 40, 50, 60, 90), strict=True)
)  # fmt: skip


@dataclass(frozen=True)
class Command:
    """seconds: for how long to be quiet."""

    do: Do
    seconds: float = 0.0


def command_in(text: str) -> Command | None:
    """The command that a turn is; None if it is none."""
    words = words_of(text)
    polite = [word for word in words if word not in POLITE]
    for said in dict.fromkeys((" ".join(words), " ".join(polite))):
        for do, pattern in _PATTERNS:
            found = re.fullmatch(pattern, said)
            if found is None:
                continue
            if do != "quiet":
                return Command(do)
            time = found["time"]
            seconds = QUIET_S if time is None else _seconds(time)
            if seconds:
                return Command(do, min(seconds, MOST_QUIET_S))
    return None


def spoken_time(seconds: float) -> str:
    """90 → "90 seconds"; 600 → "10 minutes"; 3600 → "an hour"."""
    for unit, length in (("hour", 3600.0), ("minute", 60.0), ("second", 1.0)):
        count = seconds / length
        if count >= 1 and count == int(count) and (count <= 90 or unit == "hour"):
            return f"{'an' if unit == 'hour' else 'a'} {unit}" if count == 1 else f"{int(count)} {unit}s"
    return f"{seconds:.0f} seconds"


def _seconds(time: str) -> float | None:
    """ "ten minutes", "half an hour", "an hour and a half" → seconds; None if it is no time."""
    half = "half" in time.split()
    count = r"(?:(?P<count>a few|a couple of|[\w-]+) )?"
    found = re.fullmatch(rf"(?:the next )?{count}(?:an? )?(?P<unit>second|minute|hour)s?(?: and a half)?", time)
    if time in ("a while", "a bit", "a moment", "now"):
        return QUIET_S
    if found is None:
        return None
    word = found["count"] or "a"
    number = float(word) if word.isdecimal() else _NUMBERS.get(word)
    if number is None:
        return None
    if half and word != "half":
        number += 0.5
    return number * _UNITS[found["unit"]]
