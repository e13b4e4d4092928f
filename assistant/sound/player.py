"""Where speech is heard: the sound device, or a WAV file where there is none. Used by the voice thread only."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol

from assistant.errors import OutputError, SpeechError
from assistant.runtime.folders import absolute
from assistant.sound.card import Card, CardPlayer
from assistant.sound.card_child import CardPlan
from assistant.sound.speech import Speech
from assistant.sound.wav import WavPlayer
from model.outputs import check


class Player(Protocol):
    """A place for speech. where: its name for the user. is_heard: whether anybody hears it, then or later."""

    where: str
    is_heard: bool

    def play(self, speech: Speech, time_s: float) -> None:
        """Let it be heard; time_s: the moment of the stream it belongs to. Raises SpeechError."""
        ...

    def hush(self) -> None:
        """Break off what sounds, at once. Any thread."""
        ...

    def close(self, end_s: float | None) -> None:
        """The stream ended at end_s. None: nothing came of it, and an old file stays. Raises SpeechError."""
        ...


class NoPlayer:
    """Speech is not heard, and not kept. where: why."""

    is_heard = False

    def __init__(self, reason: str):
        self.where = f"not heard ({reason})"

    def play(self, speech: Speech, time_s: float) -> None:
        pass

    def hush(self) -> None:
        pass

    def close(self, end_s: float | None) -> None:
        pass


def open_player(
    output: str,
    automatic: Path | None,
    stop: threading.Event,
    *,
    is_file: bool,
    lossless: bool,
    card: Card | None = None,
) -> Player:
    """The player that `voice.output` means.

    output: "auto" or a .wav path. automatic: the file that "auto" falls back to, or None. is_file: the source has an
    end. lossless: faster than real time, so nothing can be played. card: that others use, too; None: one of its own.
    Raises OutputError if a file cannot be written.
    """
    if output != "auto":
        check(absolute(output), "voice.output", {})
        return WavPlayer(absolute(output), is_timeline=is_file)
    if lossless and automatic:
        return _fall_back(automatic, "faster than real time", is_timeline=is_file)
    try:
        return _open_card(stop) if card is None else CardPlayer(card, stop)
    except SpeechError as error:
        return NoPlayer(str(error)) if automatic is None else _fall_back(automatic, str(error), is_timeline=is_file)


def _open_card(stop: threading.Event) -> CardPlayer:
    card = Card(CardPlan())
    card.start()
    return CardPlayer(card, stop, is_own=True)


def _fall_back(path: Path, reason: str, *, is_timeline: bool) -> Player:
    """A file that nobody asked for; where it cannot be written, that is no reason to end a run."""
    try:
        check(path, "the speech's file", {})
    except OutputError as error:
        return NoPlayer(f"{reason}; {error}")
    return WavPlayer(path, is_timeline=is_timeline, reason=reason)
