"""Cuts a reply, while it is being written, into what can be said already: its first clause, then sentence by sentence.

Pure. A phrase is given as soon as the character behind its end is there, for only that tells an end from the middle of
a number.
"""

from __future__ import annotations

import re

FIRST_CHARS = 12
"""A first clause shorter than this is not worth a pause."""

LONG_CHARS = 160
"""A sentence that grows longer than this is cut at its clauses."""

_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)|[。！？]+|\n+")
_CLAUSE_END = re.compile(r"[,;:](?=\s)|\s[–—-](?=\s)")
_ABBREVIATIONS = frozenset(("mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "approx", "fig"))


class Phrases:
    """Of one reply. Use: `add` every piece of it, then `rest`."""

    def __init__(self) -> None:
        self._text, self._is_first = "", True

    def add(self, piece: str) -> list[str]:
        """The phrases that have become whole by it."""
        self._text += piece
        phrases = []
        while (end := self._end()) is not None:
            phrase, self._text = self._text[:end].strip(), self._text[end:]
            if phrase:
                phrases.append(phrase)
                self._is_first = False
        return phrases

    def rest(self) -> str:
        """What is left at the reply's end; "" if nothing is."""
        phrase, self._text = self._text.strip(), ""
        return phrase

    def _end(self) -> int | None:
        """Where the next phrase ends, if it does."""
        sentence = next((m.end() for m in _SENTENCE_END.finditer(self._text) if not self._is_inside(m)), None)
        if not self._is_first and (sentence or len(self._text)) <= LONG_CHARS:
            return sentence
        shortest = FIRST_CHARS if self._is_first else LONG_CHARS // 4
        clause = next((m.end() for m in _CLAUSE_END.finditer(self._text) if m.end() >= shortest), None)
        return min((end for end in (sentence, clause) if end is not None), default=None)

    def _is_inside(self, mark: re.Match[str]) -> bool:
        """Whether a full stop belongs to an abbreviation, an initial or the number of a list's line."""
        words = self._text[: mark.start()].split()
        if mark.group()[0] != "." or not words:
            return False
        word = words[-1].lower().strip("(\"'“‘")
        has_initials = all(len(part) == 1 and part.isalpha() for part in word.split(".")) and word not in ("i", "a")
        return word in _ABBREVIATIONS or has_initials or (word.isdecimal() and len(words) == 1)
