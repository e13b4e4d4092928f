"""The ear's thread: hears who speaks, until they have said it, has it written down, and passes on what was asked.

card.heard ─► voice activity ─► turns ─► speech to text ─► is it a ghost? to us? ─► asked
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from assistant.config.keys import EarSection
from assistant.ear.activity import VoiceActivity
from assistant.ear.commands import command_in
from assistant.ear.transcriber import Transcriber, Transcript
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

DRAFT_S = 0.25
"""After so much quiet what was said so far is written down: if nothing follows, no time is lost."""

INTERRUPTS_S = 0.15
"""So much speech lets our own voice pause; less may be a cough."""

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


class Audience(Protocol):
    """Who is told of what is heard. All in the ear's thread, but `begun` also in that of `attend`."""

    def heard(self, heard: Heard) -> object:
        """Something was said to us."""
        ...

    def unheard(self, why: str) -> object:
        """Nothing was, of what `attend` waited for."""
        ...

    def begun(self) -> object:
        """Somebody speaks to us for certain: what our own voice says is not wanted any more."""
        ...

    def interrupted(self) -> object:
        """Somebody speaks while our own voice does, perhaps to us: it is to pause until `begun` or `resumed`."""
        ...

    def resumed(self) -> object:
        """It was nothing."""
        ...

    def said(self, start_s: float, end_s: float) -> list[str]:
        """What our own voice said between two monotonic seconds."""
        ...

    @property
    def is_waiting(self) -> bool:
        """Whether whoever `attend` is for still waits."""
        ...


@dataclass(frozen=True)
class _Draft:
    """What is being written down while it is not yet certain that it was all. spoken_s: of it, in speech."""

    number: int
    spoken_s: float


class Ear:
    """Use: `start`, `close`, by one thread; `attend` and `part` by any."""

    def __init__(
        self,
        section: EarSection,
        sound: Sound,
        audience: Audience,
        activity: Callable[[], VoiceActivity] = VoiceActivity,
    ):
        self._section, self._sound, self._audience = section, sound, audience
        self._make_activity = activity
        wake_word = section.wake_word.title() if section.mode == "wake-word" else None
        self._stop, self._attends, self._has_to_forget = threading.Event(), threading.Event(), threading.Event()
        self._transcriber = Transcriber(section.model, wake_word, self._stop)
        self._turns = Turns()
        self._draft: _Draft | None = None
        self._has_interrupted = False
        self._wanted_until_s = self._follow_up_until_s = 0.0
        self._failure, self._is_ready, self._zeros_s = "", False, 0.0
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
        """Somebody is about to speak to us: what they say is a question, without a wake word. Where nobody can listen
        `unheard` is told at once.
        """
        if self._failure or not self._is_ready:
            self._audience.unheard(self._failure or "the ear is not ready yet")
            return
        self._has_to_forget.set()
        self._wanted_until_s = time.monotonic() + PATIENCE_S
        self._attends.set()
        self._sound.listen(is_on=True)
        self._audience.begun()

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
        self._leave("the ear was closed")
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
                self._is_ready = False
                self._transcriber.close()

    def _fail(self, why: str) -> None:
        self._failure = why
        if self._stop.is_set():
            return
        log.warning("ear: %s", why)
        self._forget()
        self._leave(why)
        self._stop.wait(AGAIN_S)

    def _listen(self) -> None:
        activity = self._make_activity()
        self._transcriber.start()
        self._is_ready = True
        while not self._stop.is_set():
            piece = self._sound.heard.take(timeout_s=0.1)
            self._lose_patience()
            if self._has_to_forget.is_set():
                self._has_to_forget.clear()
                self._sound.heard.clear()
                self._forget()
                activity.forget()
                continue
            if piece is None or not (self.is_always_open or self._attends.is_set()):
                continue  # what was heard before the microphone was closed is nobody's
            frame = np.frombuffer(piece, np.int16)
            self._zeros_s = self._zeros_s + FRAME_S if not frame.any() else 0.0
            turn = self._turns.add(frame, activity.probability(frame))
            if turn is not None:
                activity.forget()
                self._understand(turn)
            elif self._turns.is_speaking:
                self._follow()
            else:
                self._draft = None
                self._resume()

    def _follow(self) -> None:
        """Somebody is speaking: write down what may be all of it, and let our own voice pause."""
        turns = self._turns
        if (
            turns.quiet_s >= DRAFT_S
            and self._transcriber.is_idle
            and (self._draft is None or self._draft.spoken_s != turns.spoken_s)
        ):
            self._draft = _Draft(self._transcriber.begin(turns.so_far()), turns.spoken_s)
        is_meant = self._section.mode == "open" or self._attends.is_set()
        if is_meant and not self._has_interrupted and turns.spoken_s >= INTERRUPTS_S:
            now_s = time.monotonic()
            if self._audience.said(now_s - FRAME_S, now_s):
                self._has_interrupted = True
                self._audience.interrupted()

    def _lose_patience(self) -> None:
        """Tell who wanted to be listened to that nothing comes."""
        if not self._attends.is_set():
            return
        if not self._audience.is_waiting:
            self._end_attention()
            return
        left_s, why_deaf = self._wanted_until_s - time.monotonic(), self._sound.failure or self._sound.deaf
        if why_deaf and left_s < PATIENCE_S - OPENING_S:
            self._leave(why_deaf)
        elif left_s < 0 and not self._turns.is_speaking:
            self._leave("nothing was said")

    def _understand(self, turn: SpokenTurn) -> None:
        ended_s = time.monotonic() - len(self._sound.heard) * FRAME_S  # it was heard then
        if not self.is_always_open:
            self._sound.listen(is_on=False)  # nobody meant what is said while this is written down
        text = self._question_in(self._transcript_of(turn), ended_s - len(turn.pcm) / HEARD_HZ, ended_s)
        if text is None:
            self._resume()
            if self._attends.is_set():
                self._has_to_forget.set()
                self._sound.listen(is_on=True)
            return
        self._has_interrupted, self._heard_at_s = False, ended_s
        was_wanted = self._attends.is_set()
        self._audience.begun()
        if text:
            self._end_attention()
            self._audience.heard(Heard(text, was_wanted))

    def _transcript_of(self, turn: SpokenTurn) -> Transcript:
        draft, self._draft = self._draft, None
        if draft is not None and draft.spoken_s == turn.spoken_s:  # nothing was said since
            with contextlib.suppress(HearingError):
                return self._transcriber.wait(draft.number)
        return self._transcriber.transcribe(turn.pcm)

    def _question_in(self, transcript: Transcript, began_s: float, ended_s: float) -> str | None:
        """What is asked; "" if that is still to come; None for what was not said, or not to us."""
        text = transcript.text.strip()
        is_own = command_in(text) is None and is_echo(text, self._audience.said(began_s, ended_s))
        if is_ghost(transcript) or is_own:
            self.num_ghosts += 1
            return None
        is_awaited = self._attends.is_set() or began_s < self._follow_up_until_s
        rest = text if self._section.mode != "wake-word" or is_awaited else addressed(text, self._section.wake_word)
        self._follow_up_until_s = ended_s + FOLLOW_UP_S if rest == "" else 0.0
        return rest

    def _forget(self) -> None:
        """What comes next does not follow what came last."""
        self._turns.forget()
        self._draft = None
        self._resume()

    def _resume(self) -> None:
        if self._has_interrupted:
            self._has_interrupted = False
            self._audience.resumed()

    def _leave(self, why: str) -> None:
        if self._attends.is_set():
            self._end_attention()
            self._audience.unheard(why)

    def _end_attention(self) -> None:
        self._attends.clear()
        if not self.is_always_open:
            self._sound.listen(is_on=False)
            self._forget()
