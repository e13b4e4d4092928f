"""Says finished replies, one after another; falls back from engine to engine, and to silence."""

from __future__ import annotations

import threading
from collections.abc import Callable

from assistant.errors import SpeechError
from assistant.runtime.mailbox import Mailbox
from assistant.sound.player import Player
from assistant.sound.speech import Speech
from assistant.voice.engines import NoSound, SpeechEngine
from assistant.voice.lines import Sentence
from assistant.voice.spoken import spoken


class Voice:
    """Engines in the order they are tried, and a player. One thread uses it; `where` may be read by any.

    warn: gets one message when another engine than the first has to speak, or when none can.
    """

    def __init__(self, engines: list[SpeechEngine], player: Player, warn: Callable[[str], object]):
        self._engines = list(engines)
        self._player: Player | None = player
        self._warn = warn
        self._failures: list[str] = []
        self.num_spoken = 0

    @property
    def where(self) -> str:
        """Where the speech went, for the user."""
        if self._failures and not (self._engines and self._player):
            return f"none ({self._failures[-1]})" if not self.num_spoken else f"broken off: {self._failures[-1]}"
        assert self._player is not None
        return self._player.where

    @property
    def is_heard(self) -> bool:
        """Whether anybody hears what is said now."""
        return bool(self._engines) and self._player is not None and self._player.is_heard

    def say(self, line: Sentence, may_sound: Callable[[], bool] = lambda: True, gain: float = 1.0) -> None:
        """Say it, or do nothing if no engine or player works any more. Never raises SpeechError. may_sound: asked when
        it is about to be heard. gain: of the samples, up to 1.
        """
        if self._player is None:
            return
        speech = self._synthesise(spoken(line.text))
        if speech is None or not len(speech.pcm) or not may_sound():  # hushed, or there is nothing to pronounce
            return
        try:
            self._player.play(Speech((speech.pcm * gain).astype(speech.pcm.dtype), speech.sample_rate_hz), line.time_s)
            self.num_spoken += 1
        except SpeechError as error:
            self._give_up(error)

    def hush(self) -> None:
        """Break off what sounds, at once. Any thread."""
        player = self._player
        if player is not None:
            player.hush()

    def close(self, end_s: float | None) -> None:
        """Finish the output, which may be heard until then, and end the engines; the stream was end_s seconds long.
        None: nothing came of it.
        """
        if self._player is not None:
            try:
                self._player.close(end_s)
            except SpeechError as error:
                self._give_up(error)
        for engine in self._engines:
            engine.close()

    def _synthesise(self, text: str) -> Speech | None:
        had_failed, num_silent = len(self._failures), 0
        while num_silent < len(self._engines):
            engine = self._engines[num_silent]
            try:
                speech = engine.synthesise(text)
            except NoSound:  # either it does not work, or there is nothing to pronounce: another one knows
                num_silent += 1
                continue
            except SpeechError as error:
                self._drop(engine, str(error))
                continue
            if len(speech.pcm):
                for silent in self._engines[:num_silent]:
                    self._drop(silent, f"{silent.name} gave no sound")
            self._tell(had_failed)
            return speech
        self._tell(had_failed)
        return None

    def _drop(self, engine: SpeechEngine, why: str) -> None:
        engine.close()
        self._engines.remove(engine)
        self._failures.append(why)

    def _tell(self, had_failed: int) -> None:
        """One warning of what has failed since."""
        if len(self._failures) > had_failed:
            what = f"{self._engines[0].name} speaks instead" if self._engines else "going on in silence"
            self._warn(f"voice: {'; '.join(self._failures)}; {what}")

    def _give_up(self, error: SpeechError) -> None:
        self._failures.append(str(error))
        self._player = None
        self._warn(f"voice: {error}; going on in silence")


def run_voice(lines: Mailbox[Sentence], voice: Voice, stop: threading.Event) -> None:
    """Say every line until `lines` is drained or `stop` is set. The caller closes the voice."""
    while not (stop.is_set() or lines.is_drained):
        line = lines.take(timeout_s=0.2)
        if line is not None:
            voice.say(line)
