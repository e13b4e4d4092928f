"""The threads of the sound card, the voice, the ear and the journal: started, given another configuration, and started
again should one die.
"""

from __future__ import annotations

import contextlib
import logging
import time

from assistant.config.keys import Config, PrivacySection
from assistant.daemon.hearing import Hearing
from assistant.daemon.parts import Parts
from assistant.ear.listening import Ear
from assistant.journal.thread import JournalThread
from assistant.runtime.health import Part
from assistant.runtime.states import State
from assistant.sound.card import Card
from assistant.sound.card_child import CardPlan
from assistant.voice.thread import OpenVoice, VoiceThread
from model.errors import OnlookerError

MEND_EVERY_S = 5.0

log = logging.getLogger("onlooker.service")


class Keeping:
    """Main thread. voice: any thread may `say` and `cut`. journal: None keeps none; any thread may `keep`. ear: None
    while nobody is to listen; any thread may `attend`. hearing: gets what the ear hears, from before `start` on.
    """

    def __init__(self, open_voice: OpenVoice, journal: JournalThread | None, parts: Parts):
        self.voice, self.journal, self._parts = VoiceThread(open_voice), journal, parts
        self.ear: Ear | None = None
        self.hearing: Hearing | None = None
        self._card: Card | None = None
        self._mended_s = 0.0

    def start(self, config: Config) -> None:
        """Raises what a voice or a journal that cannot be opened raises."""
        self._start_card(config)
        self.voice.start(config.voice)
        self._start_ear(config)
        self._start_journal(config.privacy)

    def apply(self, old: Config, new: Config) -> None:
        """Go over to another configuration. After an OnlookerError both are as they were."""
        self._apply_sound(old, new)
        if new.privacy == old.privacy:
            return
        try:
            self._start_journal(new.privacy)
        except OnlookerError:
            with contextlib.suppress(OnlookerError):
                self._start_journal(old.privacy)
            with contextlib.suppress(OnlookerError):
                self._apply_sound(new, old)
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
        self._note("voice", self.voice.part())
        self._note("ear", self.ear.part() if self.ear else Part(State.OFF))

    def close(self) -> list[str]:
        """End all; gives the names of threads that hang."""
        stuck = self._close_ear() + self.voice.close() + (self._card.close() if self._card else [])
        if self.journal is not None:
            self.journal.close()
        return stuck

    def _note(self, name: str, now: Part) -> None:
        before, self._parts[name] = self._parts[name], now
        if before.state != now.state and State.FAILED in (before.state, now.state):
            self._parts.tell(name, now.state, now.detail)

    def _apply_sound(self, old: Config, new: Config) -> None:
        if _card_plan(new) == _card_plan(old) and new.ear == old.ear:
            if new.voice != old.voice:
                self.voice.swap(new.voice)
            return
        self._close_ear()
        self._start_card(new)
        try:
            self.voice.swap(new.voice)
        except OnlookerError:
            self._start_card(old)
            with contextlib.suppress(OnlookerError):
                self.voice.swap(old.voice)
            self._start_ear(old)
            raise
        self._start_ear(new)

    def _start_card(self, config: Config) -> None:
        """The one that voice and ear share; the voice's own thread has the old one until it is swapped."""
        old, plan = self._card, _card_plan(config)
        self._card = None if plan is None else Card(plan)
        self.voice.card = self._card
        if self._card is not None:
            self._card.start()
        if old is not None:
            self._warn_of(old.close())

    def _start_ear(self, config: Config) -> None:
        if config.ear.mode != "off" and self._card is not None and self.hearing is not None:
            self.ear = Ear(config.ear, self._card, self.hearing)
            self.ear.start()

    def _close_ear(self) -> list[str]:
        ear, self.ear = self.ear, None
        return ear.close() if ear else []

    def _warn_of(self, stuck: list[str]) -> None:
        for name in stuck:
            log.warning("%s hangs, and is left behind", name)

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


def _card_plan(config: Config) -> CardPlan | None:
    """What of the sound card the configuration needs; None for nothing."""
    speaks = config.voice.enabled and config.voice.engine != "none" and config.voice.output == "auto"
    listens = config.ear.mode != "off"
    if not (speaks or listens):
        return None
    return CardPlan(output="" if speaks else None, microphone=config.ear.microphone_name if listens else None)
