"""The voice's and the journal's threads: started, given another configuration, and started again should one die."""

from __future__ import annotations

import contextlib
import logging
import time

from assistant.config.keys import Config, PrivacySection
from assistant.daemon.parts import Parts
from assistant.journal.thread import JournalThread
from assistant.runtime.health import Part
from assistant.runtime.states import State
from assistant.voice.thread import OpenVoice, VoiceThread
from model.errors import OnlookerError

MEND_EVERY_S = 5.0

log = logging.getLogger("onlooker.service")


class Keeping:
    """Main thread. voice: any thread may `say` and `cut`. journal: None keeps none; any thread may `keep`."""

    def __init__(self, open_voice: OpenVoice, journal: JournalThread | None, parts: Parts):
        self.voice, self.journal, self._parts = VoiceThread(open_voice), journal, parts
        self._mended_s = 0.0

    def start(self, config: Config) -> None:
        """Raises what a voice or a journal that cannot be opened raises."""
        self.voice.start(config.voice)
        self._start_journal(config.privacy)

    def apply(self, old: Config, new: Config) -> None:
        """Go over to another configuration. After an OnlookerError both are as they were."""
        if new.voice != old.voice:
            self.voice.swap(new.voice)
        if new.privacy == old.privacy:
            return
        try:
            self._start_journal(new.privacy)
        except OnlookerError:
            with contextlib.suppress(OnlookerError):
                self._start_journal(old.privacy)
            if new.voice != old.voice:
                self.voice.swap(old.voice)
            raise

    def look_after(self, privacy: PrivacySection) -> None:
        """Start again what has died; tell whether the voice is heard."""
        now_s = time.monotonic()
        if now_s - self._mended_s >= MEND_EVERY_S:
            self._mended_s = now_s
            with contextlib.suppress(OnlookerError):  # it is tried again
                if self.voice.mend():
                    log.error("the voice's thread had died; it was started again")
            self._mend_journal(privacy)
        before, now = self._parts["voice"], self.voice.part()
        self._parts["voice"] = now
        if before.state != now.state and State.FAILED in (before.state, now.state):
            self._parts.tell("voice", now.state, now.detail)

    def close(self) -> list[str]:
        """End both; gives the names of threads that hang."""
        stuck = self.voice.close()
        if self.journal is not None:
            self.journal.close()
        return stuck

    def _mend_journal(self, privacy: PrivacySection) -> None:
        journal = self.journal
        if journal is None or not privacy.journal or (journal.is_on and not journal.has_died):
            return
        told = self._parts["journal"].detail
        try:
            self._start_journal(privacy)
        except OnlookerError as error:
            if str(error) == told:  # once for as long as it lasts
                self._parts["journal"] = Part(State.FAILED, told)
            else:
                self._parts.tell("journal", State.FAILED, str(error))
        else:
            self._parts.tell("journal", State.ON, "its thread had died; it was started again")

    def _start_journal(self, privacy: PrivacySection) -> None:
        try:
            if self.journal is not None:
                self.journal.apply(privacy)
        finally:
            self._parts["journal"] = Part(State.ON if self.journal and self.journal.is_on else State.OFF)
