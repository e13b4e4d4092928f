"""The questions that are open: asked, and not yet answered or given up."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field

from assistant.mind.live import MAX_QUESTIONS
from assistant.runtime.asker import Asker

MAX_CHARS = 4000
TOO_MANY = ("too many questions wait already", "ask again in a moment")


@dataclass(frozen=True)
class OpenQuestion:
    """number: of the query that the mind gets. cancelled: tells the mind that nobody waits any more."""

    number: int
    asker: Asker
    cancelled: threading.Event = field(default_factory=threading.Event)


def one_line(text: str) -> str:
    """A question as it may be kept, shown and put to a model: no line breaks, no control characters, single spaces."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


class Questions:
    """Any thread."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: dict[int, OpenQuestion] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._open)

    def open(self, asker: Asker) -> OpenQuestion | None:
        """A new one; None, and the asker is told, if MAX_QUESTIONS are open."""
        with self._lock:
            if len(self._open) < MAX_QUESTIONS:
                question = OpenQuestion(next(self._numbers), asker)
                self._open[question.number] = question
                return question
        asker.error("busy", *TOO_MANY, 3)
        return None

    def __contains__(self, number: int) -> bool:
        return self.get(number) is not None

    def get(self, number: int) -> OpenQuestion | None:
        """The open one of this number."""
        with self._lock:
            return self._open.get(number)

    def close(self, number: int) -> None:
        """It is open no more."""
        with self._lock:
            self._open.pop(number, None)

    def refuse(self, question: OpenQuestion, message: str, remedy: str) -> None:
        """Close it: it cannot be answered just now."""
        self.close(question.number)
        question.asker.error("busy", message, remedy, 3)

    def give_up_cancelled(self) -> None:
        """End those that nobody waits for any more."""
        with self._lock:
            unwanted = [number for number, question in self._open.items() if question.asker.is_cancelled]
            for number in unwanted:
                self._open.pop(number).cancelled.set()

    def fail(self, why: str) -> None:
        """Close all, with an error."""
        with self._lock:
            unanswered, self._open = self._open, {}
        for question in unanswered.values():
            question.asker.error("failed", f"the question was not answered: {why}", "ask again")
