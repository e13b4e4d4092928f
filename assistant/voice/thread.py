"""The voice that the configuration wants, and its thread, which opens it again where it has failed."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from assistant.config.keys import VoiceSection
from assistant.errors import WorkerFailed
from assistant.runtime.health import Part
from assistant.runtime.states import State
from assistant.runtime.threads import STOP_TIMEOUT_S, make_thread, stuck_message
from assistant.sound.card import Card
from assistant.voice.lines import Lines, Sentence
from assistant.voice.speaker import Voice
from model.errors import OnlookerError

NUM_REMEMBERED = 8
HOLD_S = 25.0
FADES_S = 0.8
"""So long what was handed to the sound card may sound on, in the room too."""

LOUDER, SOFTEST = 1.6, 0.1
"""What a step louder makes of the samples, and how soft it may become; loudest is what the configuration says."""

FIRST_DELAY_S, LAST_DELAY_S = 5.0, 300.0
"""Until a voice that nobody hears (no sound device, engines that fail) is opened again."""

OpenVoice = Callable[[VoiceSection, threading.Event, Card | None], Voice | None]
"""None for silence. What the voice says ends when the event is set. The card is the one that it shares."""

log = logging.getLogger("onlooker.voice")


class VoiceThread:
    """One thread uses `start`, `swap`, `mend` and `close`; any may `say`, `cut`, and look at `part`.

    num_unsaid: remarks that came too late to be said.
    """

    def __init__(self, open_voice: OpenVoice):
        self.card: Card | None = None  # of the voices that are opened from now on
        self._said = deque[_Said](maxlen=NUM_REMEMBERED)
        self._quiet_until_s = 0.0
        self._gain = 1.0
        self.num_unsaid = 0
        self._open_voice = open_voice
        self._section: VoiceSection | None = None
        self._speaker: _Speaker | None = None
        self._left: list[_Speaker] = []  # which end by themselves
        self._lock = threading.Lock()

    def part(self) -> Part:
        """For `status`: "off", "starting", "idle", "speaking", or "failed" where nobody hears it."""
        return self._speaker.part() if self._speaker else Part(State.OFF)

    def say(self, line: Sentence) -> None:
        """Never waits; a voice that lags loses its oldest lines, and one that is to be quiet all remarks."""
        speaker = self._speaker
        if speaker is not None and (line.is_answer or not self.is_quiet):
            speaker.put(line)

    def quiet(self, seconds: float) -> None:
        """Say nothing but answers from now on, for so long."""
        self._quiet_until_s = time.monotonic() + seconds

    def turn(self, *, up: bool) -> bool:
        """A step louder or softer, until the program ends; False if it is as loud, or as soft, as it may be."""
        before = self._gain
        self._gain = min(1.0, max(SOFTEST, before * LOUDER if up else before / LOUDER))
        return self._gain != before

    @property
    def is_quiet(self) -> bool:
        """Whether remarks are not said now."""
        return time.monotonic() < self._quiet_until_s

    def said_between(self, start_s: float, end_s: float) -> list[str]:
        """What was sounding at some time between the two (monotonic), of the latest NUM_REMEMBERED sentences."""
        return [said.text for said in list(self._said) if said.start_s < end_s and start_s < said.end_s + FADES_S]

    def cut(self) -> list[str]:
        """Silence, at once: what is being said is broken off, and what waits is forgotten. The next line is said.

        Gives what was not said, or not to its end.
        """
        with self._lock:
            speaker, section = self._speaker, self._section
            if speaker is None or section is None:
                return []
            unsaid, is_leaving = speaker.cut()
            if is_leaving:
                self._left = [other for other in [*self._left, speaker] if other.is_alive]
                self._speaker = self._make(section)
            return unsaid

    def hold(self) -> None:
        """Pause: what is being said is broken off, and said again from its beginning after `release`."""
        speaker = self._speaker
        if speaker is not None:
            speaker.hold()

    def release(self) -> None:
        """Go on after `hold`."""
        speaker = self._speaker
        if speaker is not None:
            speaker.release()

    def mend(self) -> str:
        """Start the thread again if a fault of ours ended it; gives what had ended it, "" if nothing had."""
        failure = self._speaker.failure if self._speaker else ""
        if failure and self._section is not None:
            self.start(self._section)
        return failure

    def start(self, section: VoiceSection) -> None:
        """A sound device is opened by the voice's thread, for it may hang. Raises OutputError for a bad file."""
        speaker = self._make(section)
        with self._lock:
            self._section, self._speaker = section, speaker

    def _make(self, section: VoiceSection) -> _Speaker:
        hush, card = threading.Event(), self.card

        def open_again() -> Voice | None:
            return self._open_voice(section, hush, card)

        is_device = section.output == "auto"  # a file would be begun anew, and lose what was said into it
        voice = None if is_device else open_again()
        return _Speaker(
            voice, hush, open_again if is_device else None, self._said, self._note_unsaid, lambda: self._gain
        )

    def _note_unsaid(self) -> None:
        self.num_unsaid += 1

    def swap(self, section: VoiceSection) -> None:
        """Another voice. Raises OutputError, with the old one as it was; WorkerFailed if that does not end."""
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
        with self._lock:
            speaker, self._speaker = self._speaker, None
            left, self._left = self._left, []
        speakers = [*left, speaker] if speaker else left
        return [name for each in speakers for name in each.close()]


@dataclass
class _Said:
    """A sentence, and when it sounded, monotonic."""

    text: str
    start_s: float
    end_s: float = math.inf


class _Speaker:
    """One voice and the thread that owns it, and opens it if it may. said: where what is said is noted. gain: of the
    samples.
    """

    def __init__(
        self,
        voice: Voice | None,
        hush: threading.Event,
        open_again: Callable[[], Voice | None] | None,
        said: deque[_Said],
        note_unsaid: Callable[[], object],
        gain: Callable[[], float],
    ):
        self._said, self._note_unsaid, self._gain = said, note_unsaid, gain
        self._lines = Lines()
        self._cut_at_s = 0.0  # a line that was decided before the latest cut is not said
        self._held_until_s = 0.0  # monotonic; 0 while it is not
        self._num_holds = 0
        self._again: Sentence | None = None  # what was broken off by the latest hold
        self._voice, self._hush, self._open_again = voice, hush, open_again
        self._is_open = open_again is None
        self._saying: Sentence | None = None
        self.failure = ""  # what ended the thread, if anything has
        self._spoke_at_s: float | None = None
        self._delay_s, self._opened_s = FIRST_DELAY_S, time.monotonic()
        self._thread = make_thread("voice", self._run)
        self._thread.start()

    def part(self) -> Part:
        voice = self._voice
        if self.failure:
            return Part(State.FAILED, self.failure)
        if voice is None:
            return Part(State.OFF if self._is_open else State.STARTING)
        state = State.SPEAKING if self._saying else State.IDLE if voice.is_heard else State.FAILED
        return Part(state, voice.where, self._spoke_at_s)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def is_replaceable(self) -> bool:
        """Whether another one may go on in its place: a file would be begun anew."""
        return self._open_again is not None

    def put(self, line: Sentence) -> None:
        """Have it said. Any thread."""
        self._lines.put(line)

    def cut(self) -> tuple[list[str], bool]:
        """Forget all lines, and give their words; and whether one is being said, so that another speaker must go on:
        this one breaks off and ends.
        """
        self._cut_at_s = time.monotonic()
        self._held_until_s = 0.0
        broken_off = self._saying or self._again
        unsaid = [line.text for line in [broken_off, *self._lines.clear()] if line is not None]
        if not (self._saying and self.is_replaceable):
            return unsaid, False
        self.leave()
        if self._voice is not None:
            self._voice.hush()
        return unsaid, True

    def hold(self) -> None:
        """Break off what is being said, for HOLD_S at most. Any thread."""
        self._num_holds += 1
        self._held_until_s = time.monotonic() + HOLD_S
        if self._saying and self._voice is not None:
            self._voice.hush()

    def release(self) -> None:
        """Say it again, and go on. Any thread."""
        self._held_until_s = 0.0

    def leave(self) -> None:
        """Break off, and end, without anybody waiting for it."""
        self._hush.set()
        self._lines.close()

    def close(self) -> list[str]:
        self.leave()
        self._thread.join(STOP_TIMEOUT_S)
        return [self._thread.name] if self._thread.is_alive() else []

    def _run(self) -> None:
        try:
            self._speak()
        except Exception as error:
            log.exception("the voice's thread ended")
            self.failure = f"its thread ended: {type(error).__name__}: {error}"

    def _speak(self) -> None:
        if not self._is_open:
            self._open()
        while self._voice is not None and not (self._hush.is_set() or self._lines.is_drained):
            if self._is_held:
                self._hush.wait(0.02)
                continue
            line, self._again = self._again or self._lines.take(timeout_s=0.2), None
            if line is None:
                continue
            if line.is_stale and self.is_replaceable:  # into a file all is said
                self._note_unsaid()
                continue
            if not self._voice.is_heard:
                self._mend()
            if self._voice.is_heard:
                self._say(self._voice, line)
        if self._voice is not None:
            self._voice.close(0.0)

    @property
    def _is_held(self) -> bool:
        return time.monotonic() < self._held_until_s

    def _say(self, voice: Voice, line: Sentence) -> None:
        self._saying = line  # before the look at the cuts: a cut looks at it after it was counted
        try:
            if line.since_s > self._cut_at_s:
                said = _Said(line.text, time.monotonic())
                self._said.append(said)
                num_holds = self._num_holds
                try:
                    voice.say(
                        line, lambda: num_holds == self._num_holds and line.since_s > self._cut_at_s, self._gain()
                    )
                finally:
                    said.end_s = self._spoke_at_s = time.monotonic()
                    self._again = line if num_holds != self._num_holds else None
        except Exception:  # a fault of ours costs a sentence, not the voice
            log.exception("a sentence was not said")
        self._saying = None
        if voice.is_heard:
            self._delay_s = FIRST_DELAY_S

    def _mend(self) -> None:
        """Open it again, if that was not tried just now."""
        if self._open_again is None or time.monotonic() < self._opened_s + self._delay_s:
            return
        self._delay_s = min(2 * self._delay_s, LAST_DELAY_S)
        if self._voice is not None:
            self._voice.close(0.0)
        self._open()

    def _open(self) -> None:
        assert self._open_again is not None
        try:
            self._voice = self._open_again() or self._voice
        except OnlookerError as error:
            log.warning("the voice cannot be opened: %s", error)
        self._is_open, self._opened_s = True, time.monotonic()
