"""Finds the lines of a journal that a question about the past is about, few and short enough for a prompt.

Two ways lead to a line: its words, each counted by how rare it is among all lines, with its other forms and near
synonyms as one word (the index stems: "cutting" finds "cut"); and its time, where the question names one, be it by the
clock or by another event ("after I put the kettle on"). English.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections import defaultdict
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path

from assistant.journal.file import JournalError, reading
from assistant.journal.reading import Entry, match_any, select, words_of
from assistant.journal.times import When, read_time

MAX_HITS = 4000
"""A word's most recent lines that are looked at; older ones are not remembered if it is that frequent."""
MAX_IN_SPAN = 2000
WEAK_SHARE = 0.5
"""Lines that score less than this share of the best one are left out."""
NEAR = timedelta(minutes=30)
AGAIN_S = 120.0
_RECOLLECTION = re.compile(r"(?:At|Yesterday|[A-Z][a-z]+day \d+ [A-Z][a-z]+|\d{4}-\d\d-\d\d) \d\d:\d\d, ")
"""How `memory.told` begins."""

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_SAME = tuple(
    frozenset(words.split())
    for words in (
        "take took taken grab get got pick fetch",
        "put place leave left set lay laid",
        "drink drank drunk sip",
        "eat ate eaten bite",
        "see saw seen look",
        "go went gone",
        "make made",
        "cut chop slice",
        "cook fry boil bake roast stir",
        "close shut",
        "turn switch",
        "buy bought",
        "bring brought",
        "write wrote written",
        "talk speak spoke spoken",
        "give gave given",
        "find found",
        "break broke broken",
        "throw threw thrown",
        "hold held",
        "feed fed",
        "wash rinse clean",
        "ring rang rung",
        "sit sat",
        "stand stood",
        "come came",
        "stove hob cooker",
        "fridge refrigerator",
        "phone smartphone mobile",
        "cup mug",
        "sofa couch",
        "tap faucet",
        "pill pills tablet tablets medicine medication",
        "tv television",
        "laptop computer notebook",
        "bin trash rubbish garbage",
        "pan skillet",
    )
)
_SAME_AS = {word: words for words in _SAME for word in words}

_WITHOUT_MEANING = """
    a about again all already am an and any anybody anyone anything are around as at be been before being but by can
    could d did do does doing done down during early earlier else ever exactly far few first finally for from had has
    have having he her here him his how i if in into is it its just kind last lately later latest ll long m many me
    memory might mine more most much my myself need never no not now of often ok okay on one ones onto or our out over
    please re recall remember remind s said say she should show so some somebody someone something still t tell than
    that the their them then there these they thing things think this those time times to told too try until up us
    use used usually ve very was we were what when where whether which while who whose why will with without would yes
    yet you your happen happened happening activity today late know
"""
_EMPTY = frozenset(_WITHOUT_MEANING.split())
_CLAUSE = re.compile(r"^(?P<head>.*\w.*?)\b(?P<relation>before|after|while|when|since|until)\b(?P<event>.*\w.*)$")
_MEAL = re.compile(r"\b(?:breakfast|lunch|lunchtime|dinner|supper)\b")
_ASKS_FOR_QUESTIONS = re.compile(r"\b(?:ask|asks|asked|asking|questions?)\b")
_ASKS_FOR_FIRST = re.compile(r"\b(?:first|earliest)\b|\bwhen (?:did|have) (?:i|we) (?:start|begin|begun)\b")
_ASKS_FOR_LATEST_THING = re.compile(r"\b(?:(?:last|latest) (?:thing|things|activity|remark)|repeat|say again)\b")


def recall_entries(
    path: Path,
    question: str,
    now_unix_s: float,
    *,
    max_lines: int,
    max_chars: int,
    before_unix_s: float | None = None,
) -> list[Entry]:
    """The entries behind `recall`, the most fitting first."""
    now = datetime.fromtimestamp(now_unix_s)
    before_unix_s = now_unix_s if before_unix_s is None else before_unix_s
    try:
        with reading(path) as db:
            ranked = _Memory(db, question, now, before_unix_s).ranked(max_lines)
    except JournalError:
        return []
    chosen: list[Entry] = []
    num_chars = 0
    for entry in ranked:
        length = len(line_of(entry, now)) + 1
        if len(chosen) < max_lines and num_chars + length <= max_chars:
            num_chars += length
            chosen.append(entry)
    return chosen


class _Memory:
    """One question put to the journal."""

    def __init__(self, db: sqlite3.Connection, question: str, now: datetime, before_unix_s: float):
        self._db = db
        self._now = now
        self._before_unix_s = before_unix_s
        self._is_first = bool(_ASKS_FOR_FIRST.search(question.lower()))
        self._is_latest = bool(_ASKS_FOR_LATEST_THING.search(question.lower()))
        self._kinds = ("remark", "answer", "note")
        if _ASKS_FOR_QUESTIONS.search(question.lower()):
            self._kinds = ("query", "answer")
        self._when = read_time(question, now)
        self._words = self._when.rest if self._when else question.lower()
        if _MEAL.search(question.lower()) and not _groups(self._words):
            self._words += " eat drink"  # what was had for lunch
        (self._num_lines,) = db.execute("SELECT count(*) FROM entries").fetchone()

    def ranked(self, max_lines: int) -> list[Entry]:
        """Lines that fit, the most fitting first: those with the words, then those of the time."""
        self._find_event()
        found, is_whole = self._hits(self._words, self._when)
        hits = _distinct(found)
        if is_whole or (self._when is None and not (self._is_latest and not hits)):
            return hits
        known = {entry.id for entry in hits}
        return hits + [entry for entry in self._of_the_time(max_lines - len(hits)) if entry.id not in known]

    def _find_event(self) -> None:
        """Turn "… after I took the salt" into the time after the line that says so."""
        clause = _CLAUSE.match(self._words)
        if clause is None:
            return
        events, _ = self._hits(clause["event"], self._when)
        if not events:
            return
        at = datetime.fromtimestamp(events[0].at_unix_s)
        start, end = {
            "before": (at - NEAR, at + timedelta(seconds=1)),
            "until": (at - NEAR, at + timedelta(seconds=1)),
            "after": (at, at + NEAR),
            "since": (at, self._now),
        }.get(clause["relation"], (at - NEAR / 6, at + NEAR / 6))
        self._when = When(start, end, at, clause["head"])
        self._words = clause["head"]

    def _hits(self, text: str, when: When | None) -> tuple[list[Entry], bool]:
        """Lines that share rare words with the text, best first; of equals the latest, or the first if asked for.

        And whether they answer a question that is about something: one has all of its words, two or more.
        """
        groups = _groups(text)
        scores: dict[int, float] = defaultdict(float)
        num_words: dict[int, int] = defaultdict(int)
        for group in groups:
            rows = self._db.execute(
                "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rowid DESC LIMIT ?", (match_any(group), MAX_HITS)
            ).fetchall()
            for (number,) in rows:
                scores[number] += math.log(1 + self._num_lines / len(rows))
                num_words[number] += 1
        found = self._select(when, ids=scores)
        enough = WEAK_SHARE * max((scores[entry.id] for entry in found), default=0.0)
        sign = 1 if self._is_first else -1
        ranked = sorted(
            (entry for entry in found if scores[entry.id] >= enough),
            key=lambda entry: (-round(scores[entry.id], 3), sign * entry.at_unix_s),
        )
        return ranked, len(groups) > 1 and any(num_words[entry.id] == len(groups) for entry in ranked)

    def _of_the_time(self, limit: int) -> list[Entry]:
        """At most `limit` lines of the time that is meant: nearest to its moment, or spread evenly over it."""
        if limit <= 0:
            return []
        found = _distinct(self._select(self._when, ids=None))
        if self._is_latest or self._is_first:
            return found[:limit] if self._is_first else found[::-1][:limit]
        if self._when and self._when.focus:
            focus_unix_s = self._when.focus.timestamp()
            return sorted(found, key=lambda entry: abs(entry.at_unix_s - focus_unix_s))[:limit]
        step = max(1.0, (len(found) - 1) / max(1, limit - 1))
        return [found[round(k * step)] for k in range(min(limit, len(found)))]

    def _select(self, when: When | None, ids: Collection[int] | None) -> list[Entry]:
        until_unix_s = self._before_unix_s if when is None else min(self._before_unix_s, when.end.timestamp())
        found = select(
            self._db,
            since_unix_s=None if when is None else when.start.timestamp(),
            until_unix_s=until_unix_s,
            kinds=self._kinds,
            ids=ids,
            limit=MAX_IN_SPAN,
            newest_first=True,
        )
        return found[::-1]


def _groups(text: str) -> list[frozenset[str]]:
    """The words of a text that mean something, each with those that mean the same."""
    words = [word for word in words_of(text.lower()) if word not in _EMPTY]
    return list(dict.fromkeys(_SAME_AS.get(word, frozenset({word})) for word in words))


def _distinct(found: list[Entry]) -> list[Entry]:
    """Without lines that say the same again within two minutes, and without earlier recollections."""
    kept: list[Entry] = []
    found = [entry for entry in found if not (entry.kind == "answer" and _RECOLLECTION.match(entry.text))]
    said: dict[str, list[float]] = defaultdict(list)
    for entry in found:
        if all(abs(entry.at_unix_s - at_unix_s) > AGAIN_S for at_unix_s in said[entry.text]):
            said[entry.text].append(entry.at_unix_s)
            kept.append(entry)
    return kept


def line_of(entry: Entry, now: datetime) -> str:
    """An entry as it is told: its day, unless that is today, its time, and its text."""
    at = datetime.fromtimestamp(entry.at_unix_s)
    days = (now.date() - at.date()).days
    day = f"{_WEEKDAYS[at.weekday()]} {at.day} {_MONTHS[at.month - 1]} "
    if days in (0, 1):
        day = "yesterday " if days else ""
    elif abs(days) > 300:
        day = f"{at:%Y-%m-%d} "
    text = " ".join(entry.text.split())
    said = {"query": f'you asked: "{text}"', "answer": f'answered: "{text}"'}.get(entry.kind, text)
    return f"{day}{at:%H:%M} {said}"
