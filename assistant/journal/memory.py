"""Questions about what the model does not see any more, and the lines of the journal that answer them."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from assistant.journal.reading import Entry
from assistant.journal.recall import line_of, recall_entries
from assistant.journal.times import read_time

MAX_LINES, MAX_CHARS = 6, 450  # more would be tiring to hear, and take too much of a prompt

_PAST = re.compile(
    r"\b(?:did|was|were|had|earlier|ago|yesterday|remember|recall|already|(?:have|has) (?:i|we|you|it|he|she|they)"
    r"|(?:last|first) (?:time|thing)|so far|what time|when|where|who)\b",
    re.IGNORECASE,
)


def recollect(path: Path, question: str, now_unix_s: float, seen_since_unix_s: float) -> list[Entry]:
    """The lines that a question about the past asks for, in order of time; empty if it is about what is still seen.

    seen_since_unix_s: when the oldest of what the model still sees was. Never raises for what a question holds.
    """
    when = read_time(question, datetime.fromtimestamp(now_unix_s))
    if when is None and not _PAST.search(question):
        return []
    found = recall_entries(path, question, now_unix_s, max_lines=MAX_LINES, max_chars=MAX_CHARS)
    if not found:
        return []
    newest_of_best = found[0].at_unix_s
    is_seen = all(entry.at_unix_s >= seen_since_unix_s for entry in found)
    if is_seen or (when is None and newest_of_best >= seen_since_unix_s):
        return []
    return sorted(found, key=lambda entry: (entry.at_unix_s, entry.id))


def notes_of(found: list[Entry], now_unix_s: float) -> tuple[str, ...]:
    """The lines for a prompt: "07:15 You pick up the salt."."""
    now = datetime.fromtimestamp(now_unix_s)
    return tuple(line_of(entry, now) for entry in found)


def told(found: list[Entry], now_unix_s: float) -> str:
    """The same to be read out, for a model that has not learnt to read notes."""
    now = datetime.fromtimestamp(now_unix_s)
    sentences = []
    for entry in found:
        at, _, text = re.sub(r"^(\D*\d\d:\d\d) ", r"\1\n", line_of(entry, now)).partition("\n")
        text = re.sub(r"^(You|The|A|An)\b", lambda word: word[0].lower(), text)
        sentences.append(f"{at[:1].upper() + at[1:] if not at[:1].isdigit() else f'At {at}'}, {text}")
    return " ".join(sentences)
