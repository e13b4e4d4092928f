"""The voice that the configuration wants, and its thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

from assistant.config import VoiceSection
from assistant.errors import WorkerFailed
from assistant.mailbox import Mailbox
from assistant.speech.voice import Line, Voice, run_voice
from assistant.threads import STOP_TIMEOUT_S, stuck_message
from model.errors import OnlookerError

NUM_LINES_QUEUED = 16

OpenVoice = Callable[[VoiceSection, threading.Event], Voice | None]
"""None for silence. What the voice says ends when the event is set."""


class VoiceThread:
    """One thread uses `start`, `swap` and `close`; any may `say`."""

    def __init__(self, open_voice: OpenVoice):
        self._open_voice = open_voice
        self._section: VoiceSection | None = None
        self._lines = Mailbox[Line](NUM_LINES_QUEUED, name="lines")
        self._hush = threading.Event()
        self._voice: Voice | None = None
        self._thread: threading.Thread | None = None

    @property
    def where(self) -> str | None:
        """Where the speech goes; None without a voice."""
        return self._voice.where if self._voice else None

    def say(self, line: Line) -> None:
        """Never waits; a voice that lags loses its oldest lines."""
        self._lines.put(line)

    def start(self, section: VoiceSection) -> None:
        """Raises OnlookerError where this voice cannot be had."""
        lines, hush = Mailbox[Line](NUM_LINES_QUEUED, name="lines"), threading.Event()
        voice = self._open_voice(section, hush)
        self._section, self._lines, self._hush, self._voice = section, lines, hush, voice
        if voice is not None:
            self._thread = threading.Thread(
                target=lambda: run_voice(lines, voice, hush), name="onlooker-voice", daemon=True
            )
            self._thread.start()

    def swap(self, section: VoiceSection) -> None:
        """Another voice. Raises OnlookerError, with the old one as it was; WorkerFailed if that does not end."""
        stuck = self.close()
        if stuck:
            raise WorkerFailed(stuck_message(stuck))
        try:
            self.start(section)
        except OnlookerError:
            if self._section is not None:
                self.start(self._section)
            raise

    def close(self) -> list[str]:
        """Break off what is being said; gives the thread's name if it hangs."""
        voice, thread, self._voice, self._thread = self._voice, self._thread, None, None
        self._hush.set()
        self._lines.close()
        if voice is None or thread is None:
            return []
        thread.join(STOP_TIMEOUT_S)
        if thread.is_alive():
            return [thread.name]
        voice.close(0.0)
        return []
