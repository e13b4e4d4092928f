"""Somebody who asks and keeps the answer, for tests to look at."""

import threading
from dataclasses import dataclass, field
from typing import Any


@dataclass
class KeepingAsker:
    """An `Asker` that keeps what it is told. failure: code, message and remedy of an error."""

    text: str = ""
    facts: Any = None
    failure: str = ""
    is_cancelled: bool = False
    is_over: threading.Event = field(default_factory=threading.Event)

    def words(self, text: str) -> bool:
        self.text += text
        return True

    def done(self, facts: Any = None) -> bool:
        self.facts = facts
        self.is_over.set()
        return True

    def error(self, code: str, message: str, remedy: str = "", exit_code: int = 1) -> bool:
        self.failure = f"{code}: {message}; {remedy}"
        self.is_over.set()
        return True
