"""The ear's thread: hears who speaks, until they have said it, has it written down, and passes on what was asked.

card.heard ─► voice activity ─► turns ─► speech to text ─► is it a ghost? to us? ─► asked
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from assistant.config.keys import EarSection
from assistant.ear.activity import VoiceActivity
from assistant.ear.transcriber import Transcriber
from assistant.ear.turns import FRAME_S, SpokenTurn, Turns
from assistant.ear.words import addressed, is_echo, is_ghost
from assistant.errors import HearingError
from assistant.runtime.health import Part
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.states import State
from assistant.runtime.threads import STOP_TIMEOUT_S, make_thread
from assistant.sound.card_child import HEARD_HZ

OPENING_S = 2.0
"""So long a microphone may take to be opened for somebody who wants to be listened to."""

PATIENCE_S = 8.0
"""So long somebody who wants to be listened to may wait before they speak."""

FOLLOW_UP_S = 6.0
"""So long after the wake word alone the question may come."""

ZEROS_S = 5.0
"""A microphone that gives nothing but zeros for so long is muted."""

AGAIN_S = 30.0

log = logging.getLogger("onlooker.ear")


class Sound(Protocol):
    """What the ear needs of the sound card (`assistant.sound.card.Card`)."""

    heard: Mailbox[bytes]
    microphone_name: str
    deaf: str

    @property
    def failure(self) -> str: ...

    @property
    def is_listening(self) -> bool: ...

    def listen(self, *, is_on: bool) -> None: ...


@dataclass(frozen=True)
class Heard:
    """What somebody said to us. was_wanted: they had said that they would speak (`Ear.attend`)."""

    text: str
    was_wanted: bool


class Ear:
    """Use: `start`, `close`, by one thread; `attend` and `part` by any.

    heard: gets what is asked. unheard: is told that nothing was, of what `attend` waited for. begun: somebody speaks to
    us, so that our own voice is to be silent. said: what our own voice said between two monotonic seconds.
    """

    def __init__(
        self,
        section: EarSection,
        sound: Sound,
        *,
        heard: Callable[[Heard], object],
        unheard: Callable[[str], object],
        begun: Callable[[], object],
        said: Callable[[float, float], list[str]] = lambda *_: [],
        activity: Callable[[], VoiceActivity] = VoiceActivity,
    ):
        self._section, self._sound = section, sound
        self._heard, self._unheard, self._begun = heard, unheard, begun
        self._said, self._make_activity = said, activity
        wake_word = section.wake_word.title() if section.mode == "wake-word" else None
        self._transcriber = Transcriber(section.model, wake_word)
        self._turns = Turns()
        self._stop, self._attends = threading.Event(), threading.Event()
        self._wanted_until_s = self._follow_up_until_s = 0.0
        self._failure, self._zeros_s = "", 0.0
        self.num_ghosts = 0
        self._heard_at_s: float | None = None
        self._thread = make_thread("ear", self._run)

    @property
    def is_always_open(self) -> bool:
        """Whether the microphone is open all the time."""
        return self._section.mode in ("open", "wake-word")

    def part(self) -> Part:
        """For `status`: how it hears, and what with."""
        if self._failure:
            return Part(State.FAILED, self._failure, self._heard_at_s)
        why_deaf = self._sound.failure or self._sound.deaf
        if (self.is_always_open or self._attends.is_set()) and why_deaf:
            return Part(State.FAILED, why_deaf, self._heard_at_s)
        if self._zeros_s >= ZEROS_S:
            return Part(State.FAILED, f'"{self._sound.microphone_name}" gives nothing but zeros: is it muted?')
        if not self._sound.is_listening:
            return Part(State.STARTING if self.is_always_open else State.IDLE, self._section.mode, self._heard_at_s)
        return Part(State.ON, f'{self._section.mode}, through "{self._sound.microphone_name}"', self._heard_at_s)

    def attend(self) -> None:
        """Somebody is about to speak to us: what they say is a question, without a wake word."""
        self._wanted_until_s = time.monotonic() + PATIENCE_S
        self._attends.set()
        self._sound.listen(is_on=True)
        self._begun()

    def start(self) -> None:
        """Once."""
        self._sound.listen(is_on=self.is_always_open)
        self._thread.start()

    def close(self) -> list[str]:
        """End it, and close the microphone; gives the thread's name if it hangs."""
        self._stop.set()
        self._sound.listen(is_on=False)
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT_S)
        return [self._thread.name] if self._thread.is_alive() else []

    # ---- its own thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._failure = ""
                self._listen()
            except HearingError as error:
                self._fail(str(error))
            except Exception as error:
                log.exception("the ear's thread met a fault")
                self._fail(f"{type(error).__name__}: {error}")
            finally:
                self._transcriber.close()

    def _fail(self, why: str) -> None:
        self._failure = why
        log.warning("ear: %s", why)
        self._leave(why)
        self._stop.wait(AGAIN_S)

    def _listen(self) -> None:
        activity = self._make_activity()
        self._transcriber.start()
        while not self._stop.is_set():
            piece = self._sound.heard.take(timeout_s=0.1)
            self._lose_patience()
            if piece is None:
                continue
            frame = np.frombuffer(piece, np.int16)
            self._zeros_s = self._zeros_s + FRAME_S if not frame.any() else 0.0
            turn = self._turns.add(frame, activity.probability(frame))
            if turn is not None:
                activity.forget()
                self._understand(turn)

    def _lose_patience(self) -> None:
        """Tell who wanted to be listened to that nothing comes."""
        if not self._attends.is_set():
            return
        left_s, why_deaf = self._wanted_until_s - time.monotonic(), self._sound.failure or self._sound.deaf
        if why_deaf and left_s < PATIENCE_S - OPENING_S:
            self._leave(why_deaf)
        elif left_s < 0 and not self._turns.is_speaking:
            self._leave("nothing was said")

    def _understand(self, turn: SpokenTurn) -> None:
        ended_s = time.monotonic()
        transcript = self._transcriber.transcribe(turn.pcm)
        was_wanted, now_s = self._attends.is_set(), time.monotonic()
        text = transcript.text.strip()
        if is_ghost(transcript) or is_echo(text, self._said(ended_s - len(turn.pcm) / HEARD_HZ, ended_s)):
            self.num_ghosts += 1
            return
        if not was_wanted and self._section.mode == "wake-word" and now_s > self._follow_up_until_s:
            rest = addressed(text, self._section.wake_word)
            if rest is None:
                return
            if not rest:  # the question follows
                self._follow_up_until_s = now_s + FOLLOW_UP_S
                self._begun()
                return
            text = rest
        self._follow_up_until_s = 0.0
        self._heard_at_s = now_s
        self._end_attention()
        self._begun()
        self._heard(Heard(text, was_wanted))

    def _leave(self, why: str) -> None:
        if self._attends.is_set():
            self._end_attention()
            self._unheard(why)

    def _end_attention(self) -> None:
        self._attends.clear()
        if not self.is_always_open:
            self._sound.listen(is_on=False)
            self._turns.forget()
