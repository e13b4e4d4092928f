"""The sound card, as the other threads see it: what is to be played goes in, what is heard comes out.

A thread of its own starts the child that owns the card (`assistant.sound.card_child`), and another one when that dies,
hangs, or loses a device.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from assistant.errors import SpeechError
from assistant.runtime.children import Child
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.threads import STOP_TIMEOUT_S, make_thread
from assistant.sound.card_child import CardPlan, card_main
from assistant.sound.speech import Speech
from model.errors import OnlookerError

BLOCK_S = 0.1
START_TIMEOUT_S, OPEN_TIMEOUT_S = 20.0, 4.0
"""Of the child, which takes long on a busy machine; and of the card, which hangs with a sound server that comes up."""

HANG_S = 3.0
"""A child that neither takes a block of BLOCK_S nor brings what is heard for so long hangs."""

FIRST_DELAY_S, LAST_DELAY_S = 0.5, 4.0
"""Until a card that failed is opened again."""

NUM_HEARD_QUEUED = 256
"""Pieces of 32 ms: eight seconds."""

TICK_S = 0.02

log = logging.getLogger("onlooker.sound")


class Card:
    """Use: `start`; `play`, `hush`, `drain`; take from `heard`; `close`. Any thread, but `start` and `close` by one.

    heard: pieces of FRAME int16 samples at HEARD_HZ as bytes, while it is listened to. deaf: why nothing is heard,
    though it is to be; "" while all is well.
    """

    def __init__(self, plan: CardPlan):
        self.plan = plan
        self.heard = Mailbox[bytes](NUM_HEARD_QUEUED, name="heard")
        self.output_name = self.microphone_name = self.deaf = ""
        self._why_no_output = ""
        self._listens = False
        self._blocks = Mailbox[tuple[int, int, bytes]](1, name="blocks")
        self._num_hushes = 0  # a block from before the latest one is not played
        self._failure = ""
        self._delay_s = FIRST_DELAY_S
        self._stop, self._wake = threading.Event(), threading.Event()
        self._opened, self._drained, self._drain_wanted = threading.Event(), threading.Event(), threading.Event()
        self._thread = make_thread("sound", self._run)

    @property
    def failure(self) -> str:
        """Why it is not open; "" while it is, or is being opened."""
        return self._failure

    @property
    def is_open(self) -> bool:
        """Whether its child has it; it may have no output, or no microphone."""
        return self._opened.is_set()

    @property
    def is_listening(self) -> bool:
        """Whether the microphone is open."""
        return self.is_open and bool(self.microphone_name)

    def listen(self, *, is_on: bool) -> None:
        """Open or close the microphone, soon. It stays so when the card has to be opened again."""
        self._listens = is_on
        self._wake.set()

    def start(self) -> None:
        """Open it, in its own thread."""
        self._thread.start()

    def close(self) -> list[str]:
        """Give the card back; gives the thread's name if it hangs."""
        self._stop.set()
        self._wake.set()
        self.heard.close()
        self._blocks.close()
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT_S)
        return [self._thread.name] if self._thread.is_alive() else []

    def wait_until_open(self, stop: threading.Event) -> None:
        """Raises SpeechError if it cannot be opened. Returns when `stop` is set, too."""
        self._failure = ""  # of before
        self._wake.set()
        until_s = time.monotonic() + START_TIMEOUT_S + OPEN_TIMEOUT_S + HANG_S
        while not (self._opened.wait(TICK_S) or stop.is_set() or self._stop.is_set()):
            if self._failure or time.monotonic() > until_s:
                raise SpeechError(self._failure or "the sound card is not opened in time")
        if self._why_no_output:
            raise SpeechError(self._why_no_output)

    def play(self, speech: Speech, hush: threading.Event) -> None:
        """Hand a sentence over, block by block; it breaks off when `hush` is set, or `hush` is called.

        Raises SpeechError if the card is lost.
        """
        block, num_hushes = int(BLOCK_S * speech.sample_rate_hz), self._num_hushes
        for start in range(0, len(speech.pcm), block):
            item = num_hushes, speech.sample_rate_hz, speech.pcm[start : start + block].tobytes()
            while not self._blocks.put_wait(item, timeout_s=BLOCK_S):
                if hush.is_set() or num_hushes != self._num_hushes or self._blocks.is_closed:
                    break
                if not self.is_open:
                    raise SpeechError(f"the sound card was lost: {self._failure or 'it is being opened again'}")
            if hush.is_set():
                self.hush()
            if num_hushes != self._num_hushes or self._blocks.is_closed:
                return

    def hush(self) -> None:
        """Silence, at once: what is being played is broken off."""
        self._num_hushes += 1
        self._blocks.clear()

    def drain(self, timeout_s: float) -> bool:
        """Wait until all that was handed over has been heard; whether it has."""
        if not self.is_open:
            return False
        self._drained.clear()
        self._drain_wanted.set()
        return self._drained.wait(timeout_s)

    # ---- its own thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            began_s, self._failure = time.monotonic(), ""
            failure = self._serve()
            self._opened.clear()
            if failure:
                log.warning("sound: %s", failure)
            self._failure = failure
            self.microphone_name = ""
            if failure:
                lasted = time.monotonic() - began_s > OPEN_TIMEOUT_S
                self._delay_s = FIRST_DELAY_S if lasted else min(2 * self._delay_s, LAST_DELAY_S)
            self._wake.clear()
            if failure and not self._listens and not self._stop.is_set():
                self._wake.wait()  # for somebody who wants it
            self._stop.wait(self._delay_s if failure else 0.0)

    def _serve(self) -> str:
        """One child's life; gives what ended it, "" for the card's own end."""
        try:
            child = Child(card_main, self.plan, name="onlooker-sound")
        except OnlookerError as error:
            return str(error)
        try:
            return self._talk(child)
        except SpeechError as error:
            return str(error)
        except EOFError:
            return f"the sound process died: {child.how_it_died()}"
        finally:
            child.send(None)
            child.end(grace_s=0.2)

    def _talk(self, child: Child) -> str:
        self._note(self._receive(child, START_TIMEOUT_S))
        self._note(self._receive(child, OPEN_TIMEOUT_S))
        num_hushes, is_untaken, listens = self._num_hushes, False, False
        deaf_since_s, quiet_since_s = None, time.monotonic()  # quiet: it is to say something, and does not
        while not self._stop.is_set():
            message, now_s = child.receive(timeout_s=TICK_S), time.monotonic()
            if message is not None or not (is_untaken or (listens and deaf_since_s is None)):
                quiet_since_s = now_s
            elif now_s - quiet_since_s > HANG_S:
                raise SpeechError(f"the sound card does not answer within {HANG_S:g} s")
            if message is not None:
                is_untaken = is_untaken and message[0] != "taken"
                deaf_since_s = now_s if message[0] == "deaf" else None if message[0] == "listening" else deaf_since_s
                self._note(message)
            if listens != self._listens:
                listens, deaf_since_s, quiet_since_s = self._listens, None, now_s
                child.send(("listen", listens))
            is_idle = self._blocks.is_empty and not is_untaken
            if listens and is_idle and deaf_since_s is not None and now_s - deaf_since_s > self._delay_s:
                self._delay_s = min(2 * self._delay_s, LAST_DELAY_S)
                return ""  # a new child finds a microphone that came since
            if num_hushes != self._num_hushes:
                num_hushes = self._num_hushes
                child.send(("hush",))
            if self._drain_wanted.is_set() and is_idle:
                self._drain_wanted.clear()
                child.send(("drain",))
            block = None if is_untaken else self._blocks.take(timeout_s=0)
            if block is not None and block[0] == num_hushes:
                child.send(("play", *block[1:]))
                is_untaken = True
        return ""

    def _receive(self, child: Child, timeout_s: float) -> tuple[Any, ...]:
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s and not self._stop.is_set():
            message = child.receive(timeout_s=0.1)
            if message is not None:
                return message
        raise SpeechError("" if self._stop.is_set() else f"the sound card does not answer within {timeout_s:g} s")

    def _note(self, message: tuple[Any, ...]) -> None:
        match message:
            case ("opened", output, why_none):
                self.output_name, self._why_no_output = output, why_none
                self._opened.set()
            case ("listening", name):
                self.microphone_name, self.deaf = name, ""
                self._delay_s = FIRST_DELAY_S
            case ("deaf", why):
                self.microphone_name, self.deaf = "", why
            case ("heard", pcm):
                self.heard.put(pcm)
            case ("drained",):
                self._drained.set()
            case ("failed", why):
                raise SpeechError(why)
            case _:
                pass


class CardPlayer:
    """The player of one voice on a card. stop: breaks off. is_own: the card is closed with it."""

    is_heard = True

    def __init__(self, card: Card, stop: threading.Event, *, is_own: bool = False):
        """Raises SpeechError where there is no card that works."""
        self._card, self._stop, self._is_own = card, stop, is_own
        try:
            card.wait_until_open(stop)
        except SpeechError:
            if is_own:
                card.close()
            raise
        self.where = f'played on "{card.output_name}"'

    def play(self, speech: Speech, time_s: float) -> None:
        self._card.play(speech, self._stop)

    def hush(self) -> None:
        """Silence, at once. Any thread."""
        self._card.hush()

    def close(self, end_s: float | None) -> None:
        """Wait until all of it has been heard, unless `stop` is set."""
        if not self._stop.is_set():
            self._card.drain(HANG_S)
        if self._is_own:
            self._card.close()
