"""Whether what was seen last is still what is there now, and since when it is not. Pure; owned by the main thread."""

from __future__ import annotations

from datetime import datetime

from assistant.capture.worker import STILL

BLIND = {
    "paused": "the camera has been paused since {since}",
    "lost": "the camera has been lost since {since}",
    "opening": "the camera has been closed since {since}",
    "waiting": "nobody has sent a picture since {since}",
}
NEVER = {
    "paused": "the camera is paused",
    "lost": "the camera cannot be opened",
    "opening": "the camera is being opened",
    "waiting": "nobody has sent a picture",
}
STILL_WORDS = {
    STILL["black"]: "the picture has been black since {since}",
    STILL["frozen"]: "the picture has not changed at all since {since}",
}


class Sight:
    """Use: `note_capture` for each state of the capture, `note_frame` for each frame decided; ask `why_blind`."""

    def __init__(self) -> None:
        self._words = NEVER["opening"]
        self._is_blind, self._has_seen = True, False
        self._since_unix_s = 0.0
        self._ends_with_a_frame = False

    def note_capture(self, state: str, detail: str, at_unix_s: float) -> None:
        """state, detail: of Status("capture"). at_unix_s: wall clock."""
        words = STILL_WORDS.get(detail) if state == "ready" else (BLIND if self._has_seen else NEVER).get(state)
        if words is None:  # ready: what is in front of the camera is known with the next frame
            self._ends_with_a_frame = True
            return
        if not self._is_blind:
            self._since_unix_s = at_unix_s
        self._is_blind, self._ends_with_a_frame, self._words = True, False, words

    def note_frame(self) -> None:
        """One was decided."""
        self._has_seen = True
        if self._ends_with_a_frame:
            self._is_blind = False

    def why_blind(self, now: datetime) -> str:
        """A sentence that answers a question about what is there now; "" while that is seen. now: local time."""
        if not self._is_blind:
            return ""
        since = datetime.fromtimestamp(self._since_unix_s)
        day = "" if since.date() == now.date() else f"{since:%A} "
        words = self._words.format(since=f"{day}{since:%H:%M}")
        ending = ", so I cannot see what is there now." if self._has_seen else ", and I have not seen anything yet."
        return words[0].upper() + words[1:] + ending
