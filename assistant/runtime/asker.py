"""Whoever has asked for something and waits for the answer: a client of the control socket, a voice, a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Asker(Protocol):
    """Told by any thread, and never waited for. Each method gives False where nobody waits any more."""

    @property
    def is_cancelled(self) -> bool:
        """Whether the answer is not wanted any more; then work on it may stop."""
        ...

    def words(self, text: str) -> bool:
        """The next piece of an answer that comes word by word."""
        ...

    def done(self, facts: Mapping[str, Any] | None = None) -> bool:
        """The end: it is done, and these are the facts."""
        ...

    def error(self, code: str, message: str, remedy: str = "", exit_code: int = 1) -> bool:
        """The end: it cannot be done. exit_code: what a command ends with because of it."""
        ...
