"""What waits to be said: answers before remarks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from assistant.runtime.mailbox import Mailbox

NUM_LINES_QUEUED = 64
STALE_S = 3.0
"""What is remarked so late is no longer so."""


@dataclass(frozen=True)
class Sentence:
    """A sentence to say, and the moment of the stream it belongs to. since_s: when it was decided, monotonic."""

    text: str
    time_s: float
    is_answer: bool = False
    since_s: float = field(default_factory=time.monotonic, compare=False)

    @property
    def is_stale(self) -> bool:
        """A remark that has waited too long to be worth its while. What was asked for is waited for."""
        return not self.is_answer and time.monotonic() - self.since_s > STALE_S


class Lines(Mailbox[Sentence]):
    """A mailbox in which answers overtake remarks; when it is full, the oldest remark makes room before any answer."""

    def __init__(self) -> None:
        super().__init__(NUM_LINES_QUEUED, name="lines")

    def _add(self, item: Sentence) -> None:
        super()._add(item)
        if item.is_answer:
            self._items.pop()
            self._items.insert(sum(line.is_answer for line in self._items), item)

    def _make_room(self) -> None:
        oldest = next((place for place, line in enumerate(self._items) if not line.is_answer), 0)
        del self._items[oldest]
