"""Opens the voice that the configuration names."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assistant.config.keys import VoiceSection
    from assistant.sound.card import Card
    from assistant.voice.speaker import Voice


def open_voice(
    section: VoiceSection,
    automatic: Path | None,
    stop: threading.Event,
    warn: Callable[[str], object],
    *,
    is_file: bool = False,
    lossless: bool = False,
    card: Card | None = None,
) -> Voice | None:
    """The voice that the configuration names, or None. automatic: the WAV file for where there is no sound device;
    None: nothing is heard there, and nothing written. card: the sound card, where others use it, too.
    """
    if not section.enabled or section.engine == "none":
        return None
    from assistant.sound.player import open_player
    from assistant.voice.engines import open_engines
    from assistant.voice.speaker import Voice

    player = open_player(section.output, automatic, stop, is_file=is_file, lossless=lossless, card=card)
    return Voice(open_engines(section.engine, section.rate_wpm, section.volume, stop), player, warn)
