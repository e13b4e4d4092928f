"""What a transcript is worth: a ghost of noise or something said; and to whom it was said. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from assistant.ear.transcriber import Transcript

LEAST_LOGPROB = -1.0
MOST_NO_SPEECH = 0.6
SURE_LOGPROB = -0.4
"""A transcript as sure as that is one, whatever the model says of speech."""

GHOSTS = frozenset(
    (
        *("thank you", "thanks", "thank you very much", "thank you so much", "thanks for watching"),
        *("thank you for watching", "please subscribe", "like and subscribe", "subtitles by the amara org community"),
        *("you", "bye", "bye bye", "okay", "oh", "uh", "um", "hmm", "mm", "ah", "so", "the", "i", "and", "yeah"),
        *("music", "applause", "laughter", "silence"),
    )
)
"""What Whisper makes of silence and noise."""

ALIKE, ALIKE_ALONE, ALIKE_BEFORE = 0.8, 0.86, 0.75
"""So like the name what is heard must be, letter by letter (difflib's ratio, 0–1): behind the words that lead up to it,
or alone. So like must those words be."""

ECHOED, ECHOED_LETTERS, LEAST_RUN = 0.6, 0.8, 3
"""So many of a turn's words, as a share, make it an echo; or so many of its letters, in runs of at least so many: of
what the canceller leaves, other words are made ("you read" of "you reach for").
"""

MAX_WAKE_WORDS = 4


_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


def words_of(text: str) -> list[str]:
    """Letters and digits, in lower case, without marks."""
    return _WORD.findall(text.casefold().replace("’", "'"))


def is_ghost(transcript: Transcript) -> bool:
    """Whether nobody said it."""
    words = words_of(transcript.text)
    if not words or " ".join(words) in GHOSTS:
        return True
    if transcript.logprob < LEAST_LOGPROB:
        return True
    if transcript.no_speech > MOST_NO_SPEECH and transcript.logprob < SURE_LOGPROB:
        return True
    return len(words) >= 4 and len(set(words)) == 1  # a loop


def is_echo(text: str, said: Sequence[str]) -> bool:
    """Whether these are our own words, which sounded meanwhile: most of them, or of their letters, in their order."""
    words = words_of(text)
    own = [word for sentence in said for word in words_of(sentence)]
    if not (words and own):
        return False
    if _shared(words, own, 1) >= ECHOED * len(words):
        return True
    letters = "".join(words)
    return _shared(letters, "".join(own), LEAST_RUN) >= ECHOED_LETTERS * len(letters)


def _shared(heard: Sequence[str], own: Sequence[str], least: int) -> int:
    """How much of one sequence comes in the same order in another, in runs of at least so many."""
    blocks = SequenceMatcher(None, heard, own, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks if block.size >= least)


def addressed(text: str, wake_word: str) -> str | None:
    """What follows the wake word at the beginning of a turn, "" if nothing does; None if it was not said.

    It need not be spelled as it is written, nor be one word: "Hey, on looker". Its last word, the name, will do alone
    if it is very like: "Onlooker, what is this?", and something has to follow then: a turn of nothing but
    the name is what the transcriber, which is told the wake word, makes of many a short word.
    """
    *before, name = words_of(wake_word)
    spoken = list(_WORD.finditer(text))
    heard = [match.group().casefold() for match in spoken]
    best, best_end = 0.0, 0
    for end in range(1, min(MAX_WAKE_WORDS, len(spoken)) + 1):
        alone, led = _likeness(name, heard[:end]), _likeness(name, heard[len(before) : end])
        is_led = led >= ALIKE and _likeness("".join(before), heard[: len(before)]) >= ALIKE_BEFORE
        is_followed = end < len(spoken) or not before
        likeness = max(led if is_led else 0.0, alone if alone >= ALIKE_ALONE and is_followed else 0.0)
        if likeness > best:
            best, best_end = likeness, spoken[end - 1].end()
    return text[best_end:].lstrip(" ,.!?;:–—-") if best else None


def _likeness(wanted: str, heard: list[str]) -> float:
    return SequenceMatcher(None, wanted, "".join(heard), autojunk=False).ratio()
