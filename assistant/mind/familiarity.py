"""Whether what is seen looks like the world that the model was trained in. Pure; owned by the mind's thread."""

from __future__ import annotations

from collections import deque

AVERAGED_S = 10.0
"""Over so much of the stream, or all of it so far: single frames are often odd."""

BACK = 0.25
"""So far below the limit what was strange has to come to be familiar again."""

UNFAMILIAR = "This does not look like the world I was trained in, so I cannot tell."
WARNING = (
    "this does not look like the world that the model was trained in: it keeps silent; `onlooker setup` proposes a "
    'larger model where there is room for one, stream.unfamiliar = "speak" lets this one speak'
)


class Familiarity:
    """Use: `note` for every frame in order. limit: of `model.world.OwnWorld`; None: everything is familiar."""

    def __init__(self, limit: float | None, fps: float):
        self._limit = limit
        self._latest = deque[float](maxlen=max(1, round(AVERAGED_S * fps)))
        self.is_strange = False

    def note(self, strangeness: float | None) -> bool:
        """A frame's; whether what is seen is strange now."""
        if self._limit is None or strangeness is None:
            return False
        self._latest.append(strangeness)
        mean = sum(self._latest) / len(self._latest)
        self.is_strange = mean > self._limit - (BACK if self.is_strange else 0.0)
        return self.is_strange
