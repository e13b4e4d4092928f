"""Standing requests: "tell me when I open the fridge". Kept until they are told, cancelled or too old.

A remark tells a request if all that the request names is in it: the words that carry meaning, by their stems. So it is
as good as the model's remarks, for any model.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from assistant.runtime.small_files import write_small

MOST = 20
MAX_CHARS = 200
LASTS_S = 86400.0
"""So long a request stands, where it is not said for how long."""

_ASKED = re.compile(
    r"(?:(?:please|can you|could you|will you|would you)\s+)*"
    r"(?:tell me|let me know|remind me|warn me|say(?: so| something)?|alert me|notify me|watch(?: out)?(?: for)?)\s+"
    r"(?P<when>when|whenever|if|as soon as|every time|each time)\s+(?P<what>.+?)(?:\s+please)?[\s.!?]*",
    re.IGNORECASE,
)
_NOT_TO_COME = re.compile(
    r"(?<!is )(?<!are )(?<!gets )\b(?!need)\w{2,}ed\b|\b(?:did|was|were|had|last|next|will|ago|went|took|made)\b",
    re.IGNORECASE,
)
_STATE = re.compile(r"\b(?:is|are|do|does|have|has|can|should)\b", re.IGNORECASE)
_REPEATS = ("whenever", "every time", "each time")
_EMPTY = frozenset(
    re.findall(
        r"\w+",
        """when whenever if once i you we he she it they me my your our his her its their the a an this that these
        those is are was were be been being am has have had do does did will would can could to of in into on onto at by
        for from with up out off over and or so then there here again now just some any somebody someone something
        anybody anyone""",
    )
)
_IRREGULAR = {
    "took": "take", "taken": "take", "putting": "put", "got": "get", "gotten": "get", "getting": "get",
    "cutting": "cut", "left": "leave", "came": "come", "coming": "come", "went": "go", "goes": "go", "gone": "go",
    "held": "hold", "knives": "knife", "cup": "mug", "cups": "mug", "refrigerator": "fridge", "grab": "pick",
    "grabbed": "pick", "grabs": "pick", "lift": "pick", "lifted": "pick", "shut": "close",
}  # fmt: skip
"""Forms that no ending tells, and words that mean the same to the narrator of a kitchen."""


@dataclass(frozen=True)
class Standing:
    """One request. until_unix_s: it stands no longer. repeats: it is told each time, not once."""

    id: int
    text: str
    until_unix_s: float
    repeats: bool = False


def standing_in(text: str) -> tuple[str, bool] | None:
    """What is to be told, and whether each time, if the words ask for that; else None."""
    found = _ASKED.fullmatch(text.strip())
    if found is None or not stems(found["what"]):
        return None
    is_if, what = found["when"].casefold() == "if", found["what"]
    if _NOT_TO_COME.search(what) or (is_if and _STATE.search(what)):
        return None  # a question about what is, was or will be elsewhere
    return found["what"], found["when"].casefold() in _REPEATS


def stems(text: str) -> frozenset[str]:
    """The words that carry meaning, without their endings."""
    words = re.findall(r"[^\W_]+", re.sub(r"[’']\w+", " ", text.casefold()))
    return frozenset(_stem(word) for word in words if word not in _EMPTY)


def to_you(text: str) -> str:
    """As it is said back: "I open my fridge" → "you open your fridge"."""
    for own, yours in ((r"\bI'm\b|\bI am\b", "you are"), (r"\bI\b|\bme\b", "you"), (r"\bmy\b", "your")):
        text = re.sub(own, yours, text, flags=re.IGNORECASE)
    return text.rstrip(" .,!?")


def _stem(word: str) -> str:
    word = _IRREGULAR.get(word, word)
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word.removesuffix(ending)
            is_doubled = len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls"  # "cutting", not "calling"
            word = _IRREGULAR.get(word, word[:-1] if is_doubled else word)
            break
    return word.removesuffix("e") if len(word) > 3 else word


def _checked(item: Standing) -> Standing:
    """Raises ValueError for one that nobody wrote here."""
    is_sound = type(item.id) is int and isinstance(item.text, str) and isinstance(item.until_unix_s, int | float)
    if not is_sound or type(item.repeats) is not bool:
        raise ValueError(f"no request: {item}")
    return item


class Watchlist:
    """The requests that stand. Any thread. path: kept there if `keeps` allows it; None: not."""

    def __init__(self, path: Path | None = None, keeps: Callable[[], bool] = lambda: True) -> None:
        self._path, self._keeps, self._lock = path, keeps, threading.Lock()
        self._standing: list[Standing] = []
        self._number = 0
        self.trouble = ""
        if path is None or not path.exists():
            return
        try:
            self._standing = [_checked(Standing(**item)) for item in json.loads(path.read_text(encoding="utf-8"))][
                :MOST
            ]
            self._number = max((item.id for item in self._standing), default=0)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            self.trouble = f"{path}: cannot be read ({error}); what was to be told is forgotten"

    def add(self, text: str, *, repeats: bool = False, lasts_s: float = LASTS_S) -> Standing:
        """Raises ValueError for one too many, or one without any word that carries meaning."""
        text = " ".join(text.split())[:MAX_CHARS]
        if not stems(text):
            raise ValueError("it does not say what to watch for")
        with self._lock:
            self._drop_old()
            if len(self._standing) >= MOST:
                raise ValueError(f"{MOST} requests stand already; cancel one first")
            self._number += 1
            added = Standing(self._number, text, time.time() + lasts_s, repeats)
            self._standing.append(added)
            self._save()
        return added

    def list(self) -> list[Standing]:
        with self._lock:
            self._drop_old()
            return list(self._standing)

    def cancel(self, number: int | None) -> int:
        """One of them, or all for None; gives how many that were."""
        with self._lock:
            kept = [] if number is None else [item for item in self._standing if item.id != number]
            count, self._standing = len(self._standing) - len(kept), kept
            self._save()
        return count

    @property
    def is_empty(self) -> bool:
        return not self._standing

    def told_by(self, remark: str) -> Standing | None:
        """The request that this remark tells; it stands no longer then, unless it repeats."""
        if self.is_empty:
            return None
        said = stems(remark)
        with self._lock:
            self._drop_old()
            told = next((item for item in self._standing if stems(item.text) <= said), None)
            if told is not None and not told.repeats:
                self._standing.remove(told)
                self._save()
        return told

    def _drop_old(self) -> None:
        now_s = time.time()
        self._standing = [item for item in self._standing if item.until_unix_s > now_s]

    def _save(self) -> None:
        if self._path is None or not self._keeps():
            return
        try:
            write_small(self._path, json.dumps([asdict(item) for item in self._standing]))
        except OSError as error:
            self.trouble = f"{self._path}: cannot be written ({error.strerror}); a restart will not know of it"
