"""The daemon's parts as their states change: kept for `status`, logged, and told to whoever listens."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from assistant.runtime.health import Health
from assistant.runtime.states import State

Publish = Callable[[str, Mapping[str, Any]], None]
"""Tells subscribers (kind, facts); any thread, never waits."""

log = logging.getLogger("onlooker.service")


class Parts(Health):
    """The main thread changes them; any may read."""

    def __init__(self, publish: Publish, *names: str):
        super().__init__(*names)
        self._publish = publish

    def tell(self, part: str, state: State, detail: str = "") -> None:
        """A part is in this state now; "warning" is only told, and changes none."""
        if state != State.WARNING:
            self[part].state, self[part].detail = state, detail
        level = logging.WARNING if state in (State.WARNING, State.LOST, State.FAILED) else logging.INFO
        log.log(level, "%s: %s %s", part, state, detail)
        self._publish("status", {"part": part, "state": state, "detail": detail})
