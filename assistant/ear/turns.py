"""From frames of sound to what one person said in one go. Pure; no clock but the frames themselves."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from assistant.sound.card_child import FRAME, HEARD_HZ

FRAME_S = FRAME / HEARD_HZ


@dataclass(frozen=True)
class TurnSettings:
    """speech: probability from which a frame is taken for speech; quiet: below which it no longer is. begin_s: so much
    speech begins a turn. end_s: so much quiet ends it. before_s: kept from before its beginning. least_s: speech in it,
    or it is a noise. most_s: it is ended then, whoever speaks on.
    """

    speech: float = 0.5
    quiet: float = 0.35
    begin_s: float = 0.1
    end_s: float = 0.7
    before_s: float = 0.4
    least_s: float = 0.25
    most_s: float = 20.0


@dataclass(frozen=True, eq=False)
class SpokenTurn:
    """What one person said. pcm: int16 at HEARD_HZ. spoken_s: of it, in speech."""

    pcm: np.ndarray
    spoken_s: float


class Turns:
    """Use: `add` every frame with the probability that somebody speaks in it, in order."""

    def __init__(self, settings: TurnSettings | None = None):
        self._settings = settings = settings or TurnSettings()
        self._before: deque[np.ndarray] = deque(maxlen=max(1, round(settings.before_s / FRAME_S)))
        self.forget()

    def forget(self) -> None:
        """What comes next does not follow what came last."""
        self._before.clear()
        self._frames: list[np.ndarray] = []
        self._num_speech = self._num_quiet = 0
        self._has_begun = self._is_speech = False

    @property
    def is_speaking(self) -> bool:
        """Whether a turn has begun, and not ended."""
        return self._has_begun

    @property
    def spoken_s(self) -> float:
        """Of the turn so far, in speech."""
        return self._num_speech * FRAME_S

    @property
    def quiet_s(self) -> float:
        """For how long nothing has been said in the turn."""
        return self._num_quiet * FRAME_S

    def so_far(self) -> np.ndarray:
        """The turn's samples, so far."""
        return np.concatenate([*self._before, *self._frames])

    def add(self, frame: np.ndarray, probability: float) -> SpokenTurn | None:
        """The turn that ends with this frame, if one does."""
        settings = self._settings
        self._is_speech = probability >= (settings.quiet if self._is_speech else settings.speech)
        if not self._frames and not self._is_speech:
            self._before.append(frame)
            return None
        self._frames.append(frame)
        self._num_speech += self._is_speech
        self._num_quiet = 0 if self._is_speech else self._num_quiet + 1
        self._has_begun = self._has_begun or self._num_speech * FRAME_S >= settings.begin_s
        quiet_s, length_s = self._num_quiet * FRAME_S, len(self._frames) * FRAME_S
        if not self._has_begun and quiet_s > settings.before_s:  # a click
            self._give_up()
            return None
        return self._end() if quiet_s >= settings.end_s or length_s >= settings.most_s else None

    def _end(self) -> SpokenTurn | None:
        pcm, spoken_s = [*self._before, *self._frames], self._num_speech * FRAME_S
        is_turn = self._has_begun and spoken_s >= self._settings.least_s
        self.forget()
        return SpokenTurn(np.concatenate(pcm), spoken_s) if is_turn else None

    def _give_up(self) -> None:
        kept = self._frames
        self.forget()
        self._before.extend(kept)
