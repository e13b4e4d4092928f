"""Whether what was seen last is still what is there now, and since when it is not. Pure; owned by the main thread."""

from __future__ import annotations

import math
from datetime import datetime

from assistant.capture.stillness import AFTER_S
from assistant.capture.worker import STILL
from assistant.runtime.states import State

BLIND = {
    State.PAUSED: "the camera has been paused since {since}",
    State.LOST: "the camera has been lost since {since}",
    State.OPENING: "the camera has been closed since {since}",
    State.WAITING: "nobody has sent a picture since {since}",
}
NEVER = {
    State.PAUSED: "the camera is paused",
    State.LOST: "the camera cannot be opened",
    State.OPENING: "the camera is being opened",
    State.WAITING: "nobody has sent a picture",
}
IDLE = "no picture has come since {since}"
STILL_WORDS = {
    STILL["black"]: "the picture has been black since {since}",
    STILL["frozen"]: "the picture has not changed at all since {since}",
}


class Sight:
    """Use: `note_capture` for each state of the capture, `note_frame` for each frame decided; ask `why_blind`."""

    def __init__(self) -> None:
        self._words = NEVER[State.OPENING]
        self._is_blind, self._has_seen, self._is_still = True, False, False
        self._since_unix_s = 0.0
        self._ends_with_a_frame = False
        self._fresh_from_s = -math.inf  # what was taken earlier is of before

    def note_capture(self, state: State, detail: str, at_unix_s: float, at_s: float) -> None:
        """state, detail: of Status("capture"). at_unix_s: wall clock; at_s: the same moment, monotonic."""
        is_still = state == State.READY and detail in STILL_WORDS
        words = STILL_WORDS[detail] if is_still else (BLIND if self._has_seen else NEVER).get(state)
        if words is None:  # ready: what is in front of the camera is known with the next frame
            self._ends_with_a_frame = True
            if self._is_still:
                self._fresh_from_s = at_s
            return
        if not self._is_blind:
            self._since_unix_s = at_unix_s - (AFTER_S if is_still else 0.0)
        self._is_blind, self._ends_with_a_frame, self._words = True, False, words
        self._is_still, self._fresh_from_s = is_still, at_s

    def note_frame(self, captured_s: float) -> None:
        """One was decided, which was taken then (monotonic): it may have waited for longer than what is there now."""
        self._has_seen = True
        if self._ends_with_a_frame and captured_s >= self._fresh_from_s:
            self._is_blind = self._is_still = False

    def why_blind(self, now: datetime, idle_s: float = 0.0) -> str:
        """A sentence that answers a question about what is there now; "" while that is seen.

        now: local time. idle_s: no picture has come for so long, though the camera is open; 0 where that is as usual.
        """
        if not (self._is_blind or idle_s):
            return ""
        since = datetime.fromtimestamp(self._since_unix_s if self._is_blind else now.timestamp() - idle_s)
        words = self._words if self._is_blind else IDLE
        day = "" if since.date() == now.date() else f"{since:%A} "
        words = words.format(since=f"{day}{since:%H:%M}")
        ending = ", so I cannot see what is there now." if self._has_seen else ", and I have not seen anything yet."
        return words[0].upper() + words[1:] + ending
