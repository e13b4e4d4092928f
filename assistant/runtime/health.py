"""What `status` says of the daemon's parts: their states, and how long ago each did its work."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from assistant.runtime.states import State

STALE_S = 5.0
"""A part that has brought nothing for so long, while it should, is called stale."""


@dataclass
class Part:
    """worked_at_s: when it last did its work, monotonic; None: not yet."""

    state: State = State.STARTING
    detail: str = ""
    worked_at_s: float | None = None


class Health:
    """The parts by their names. The main thread writes; any may read."""

    def __init__(self, *names: str):
        self._parts = {name: Part() for name in names}

    def __getitem__(self, name: str) -> Part:
        """The part of that name; one that was not heard of before is new."""
        return self._parts.setdefault(name, Part())

    def __setitem__(self, name: str, part: Part) -> None:
        self._parts[name] = part

    def facts(self, frame_s: float) -> dict[str, dict[str, Any]]:
        """For JSON, by part: "state" ("stale" where it should have worked since), "detail", and "age_s" of its work.

        frame_s: seconds from frame to frame.
        """
        has_frames = self._parts["capture"].state == State.READY
        stale_s = stale_after_s(frame_s) if has_frames else math.inf
        now_s = time.monotonic()
        return {name: _facts(part, now_s, stale_s) for name, part in list(self._parts.items())}


def stale_after_s(frame_s: float) -> float:
    """After so many seconds a part that has brought nothing is stale. frame_s: seconds from frame to frame."""
    return max(STALE_S, 3 * frame_s)


def _facts(part: Part, now_s: float, stale_s: float) -> dict[str, Any]:
    age_s = None if part.worked_at_s is None else round(now_s - part.worked_at_s, 1)
    is_stale = part.state == State.READY and (age_s is None or age_s > stale_s)
    return {"state": State.STALE if is_stale else part.state, "detail": part.detail, "age_s": age_s}
