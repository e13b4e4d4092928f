"""Guesses how a reply goes on, from what the stream has said before: commentary repeats itself.

A pass over a few guessed words costs hardly more than one over a single word, and says which of them are what the model
would have written; so nothing changes but the time, and the rounding of a pass that is longer (speculative decoding,
Leviathan et al. 2023, drafted by looking up n-grams instead of by a small model).
"""

from collections import OrderedDict
from collections.abc import Sequence

LONGEST_CONTEXT = 3
MAX_CONTEXTS = 4096
_START = -1


class Drafter:
    """What followed after each run of up to LONGEST_CONTEXT tokens, when it was last said. Bounded."""

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._following: OrderedDict[tuple[int, ...], list[int]] = OrderedDict()

    def note(self, reply_ids: Sequence[int]) -> None:
        """Remember a reply, with its end-of-sequence if it has one."""
        ids = [_START, *reply_ids]
        for stop in range(1, len(ids) if self._max_tokens else 0):
            for start in range(max(0, stop - LONGEST_CONTEXT), stop):
                context = tuple(ids[start:stop])
                self._following[context] = ids[stop : stop + self._max_tokens]
                self._following.move_to_end(context)
        while len(self._following) > MAX_CONTEXTS:
            self._following.popitem(last=False)

    def guess(self, written_ids: Sequence[int]) -> list[int]:
        """The next tokens of a reply that has begun so, at most `max_tokens`; none if it is new."""
        ids = [_START, *written_ids][-LONGEST_CONTEXT:]
        for start in range(len(ids)):
            following = self._following.get(tuple(ids[start:]))
            if following is not None:
                return following[: self._max_tokens]
        return []


def confirmed_ids(guessed: Sequence[int], winners: Sequence[int]) -> list[int]:
    """What the model writes: its likeliest token, and the ones after each guess that was right, up to a wrong one.

    winners: the likeliest tokens after what was given, and then after each guess.
    """
    token_ids = [winners[0]]
    for guess, winner in zip(guessed, winners[1:], strict=True):
        if guess != token_ids[-1]:
            break
        token_ids.append(winner)
    return token_ids
