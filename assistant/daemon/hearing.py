"""Spoken questions in the daemon: who waits to be listened to, and who hears the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from assistant.ear.commands import Command, command_in, spoken_time
from assistant.ear.listening import Ear, Heard
from assistant.errors import OutputError
from assistant.mind.standing import Watchlist, standing_in, to_you
from assistant.runtime.asker import Asker
from assistant.voice.thread import VoiceThread

NO_EAR = 'set ear.mode to "push-to-talk", "wake-word" or "open"'


class Spoken:
    """Somebody who asked aloud: they hear the answer from the voice, and what keeps it from coming."""

    def __init__(self, say: Callable[[str], object]):
        self._say, self.is_cancelled = say, False

    def words(self, text: str) -> bool:
        return not self.is_cancelled

    def done(self, facts: Mapping[str, Any] | None = None) -> bool:
        return not self.is_cancelled

    def error(self, code: str, message: str, remedy: str = "", exit_code: int = 1) -> bool:
        if not self.is_cancelled:
            self._say(f"{message[:1].upper()}{message[1:]}.")
        return not self.is_cancelled


class Talk(Protocol):
    """What is needed of the `Conversation`. latest: what was said last."""

    latest: str

    def ask(self, text: str, asker: Asker) -> None:
        """Put a question."""
        ...

    def say(self, text: str) -> None:
        """Unless it is muted."""
        ...


class Hearing:
    """The ear's audience. Any thread. ear: gives None while nobody is to listen. switch: the service's modes. hush:
    ends what is being answered; gets what our voice was not to say any more.
    """

    def __init__(
        self,
        talk: Talk,
        voice: VoiceThread,
        ear: Callable[[], Ear | None],
        switch: Callable[..., object],
        watchlist: Watchlist,
        hush: Callable[[list[str]], object],
    ):
        self._talk, self._voice, self._ear, self._switch = talk, voice, ear, switch
        self._watchlist, self._hush = watchlist, hush
        self._lock = threading.Lock()
        self._waiting: Asker | None = None  # to be listened to
        self._spoken: Spoken | None = None  # whose answer is coming, or was the latest

    def listen(self, asker: Asker) -> None:
        """Listen to what is said now; the asker gets it as a line of its own, and then the answer."""
        ear = self._ear()
        with self._lock:
            is_free = self._waiting is None or self._waiting.is_cancelled
            if ear is not None and is_free:
                self._waiting = asker
        if ear is None:
            asker.error("invalid", "ear.mode is off: nobody listens", NO_EAR, 2)
        elif not is_free:
            asker.error("busy", "somebody is being listened to already", "try again in a moment", 3)
        else:
            ear.attend()

    def heard(self, heard: Heard) -> None:
        """Something was said to us."""
        waiting = self._take_waiting() if heard.was_wanted else None
        if waiting is None:
            with self._lock:
                self._spoken = waiting = Spoken(self._talk.say)
        elif waiting.is_cancelled:  # it has gone, and what was said was not said to us
            return
        else:
            waiting.words(f"{heard.text}\n")
        command, standing = command_in(heard.text), standing_in(heard.text)
        if command is None and standing is None:
            self._talk.ask(heard.text, waiting)
            return
        try:
            words = self._obey(command) if command else self._watch_for(*standing) if standing else ""
        except OutputError as error:  # done it is, all the same
            words = str(error)
        if words:
            waiting.words(words)
            self._talk.say(words)
        waiting.done({"text": words})

    def _watch_for(self, what: str, repeats: bool) -> str:
        try:
            added = self._watchlist.add(what, repeats=repeats)
        except ValueError as error:
            return f"{error}.".capitalize()
        return f"I will tell you {'each time' if repeats else 'when'} {to_you(added.text)}."

    def _obey(self, command: Command) -> str:
        """Do it; gives what is said to that. Raises OutputError."""
        match command.do:
            case "quiet":
                self._voice.quiet(command.seconds)
                return f"I am quiet for {spoken_time(command.seconds)}."
            case "speak":
                self._voice.quiet(0.0)
                self._switch(muted=False)
                return "I speak again."
            case "forget":
                count = self._watchlist.cancel(None)
                return f"I no longer watch for {count} thing{'s' if count != 1 else ''}."
            case "list":
                texts = [to_you(item.text) for item in self._watchlist.list()]
                return f"I tell you when {', and when '.join(texts)}." if texts else "I watch for nothing."
            case "repeat":
                return self._talk.latest or "I have not said anything yet."
            case "louder":
                return "Like this." if self._voice.turn(up=True) else "I am as loud as I can be."
            case "softer":
                return "Like this." if self._voice.turn(up=False) else "I am as soft as I can be."
            case "pause":
                self._switch(paused=True)
                return "I am closing the camera."
            case "resume":
                self._switch(paused=False)
                return "I am watching again."
            case _:  # stop: our voice is silent already
                return ""

    def unheard(self, why: str) -> None:
        """Nothing was said, or it could not be heard."""
        waiting = self._take_waiting()
        if waiting is not None:
            waiting.error("failed", why, "speak up, or see `onlooker status`", 3)

    def begun(self) -> None:
        """Somebody speaks to us: our own voice is silent, and what it was saying is not wanted any more."""
        with self._lock:
            if self._spoken is not None:
                self._spoken.is_cancelled = True
        self._hush(self._voice.cut())

    def interrupted(self) -> None:
        """Somebody speaks while our own voice does, perhaps to us."""
        self._voice.hold()

    def resumed(self) -> None:
        """It was nothing."""
        self._voice.release()

    def said(self, start_s: float, end_s: float) -> list[str]:
        """What our own voice said between two monotonic seconds."""
        return self._voice.said_between(start_s, end_s)

    @property
    def is_waiting(self) -> bool:
        """Whether whoever wanted to be listened to still does."""
        waiting = self._waiting
        return waiting is not None and not waiting.is_cancelled

    def _take_waiting(self) -> Asker | None:
        with self._lock:
            waiting, self._waiting = self._waiting, None
        return waiting
