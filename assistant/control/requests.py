"""Every request of the control socket, in one table: how its fields are read, and which method of the daemon answers.

A new request is a line in REQUESTS, a method of `Handler` and of what implements it, and a command that asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from assistant.control import protocol
from assistant.control.protocol import (
    EVENT_KINDS,
    Ask,
    Body,
    Cancel,
    Events,
    Facts,
    Hello,
    Listen,
    Log,
    Plain,
    Private,
    Say,
    Standing,
    is_id,
    is_text,
    shown,
)
from assistant.control.reply import Reply
from assistant.runtime.asker import Asker
from model.errors import OnlookerError

Fields = Mapping[str, Any]


class Invalid(ValueError):
    """Why a request's fields cannot be understood."""


class Handler(Protocol):
    """The daemon, as the control socket sees it.

    Every method is called in the server's thread and returns at once; what takes longer keeps the asker and answers
    it from its own thread. An OnlookerError that is raised becomes the error that the client gets.
    """

    def status(self, asker: Asker) -> None:
        """What every part is doing, and figures."""
        ...

    def devices(self, asker: Asker) -> None:
        """Cameras, screens, sound outputs, microphones and compute devices of this machine."""
        ...

    def ask(self, text: str, asker: Asker) -> None:
        """Answer with any number of `asker.words`, then `asker.done`; look at `asker.is_cancelled` between."""
        ...

    def say(self, text: str, asker: Asker) -> None:
        """Say it aloud, in its turn; answered at once."""
        ...

    def listen(self, asker: Asker) -> None:
        """Listen to what is said aloud now. The first `asker.words` are what was heard, a line; then as for `ask`."""
        ...

    def standing(self, query: Facts, asker: Asker) -> None:
        """Add to what is to be told when it happens, take from it, or list it (`protocol.Standing`)."""
        ...

    def log(self, query: Facts, asker: Asker) -> None:
        """Delete lines of the journal: {"ids": [numbers]}, or {"everything": true}."""
        ...

    def pause(self, asker: Asker) -> None:
        """Close the camera; answered when it is closed."""
        ...

    def resume(self, asker: Asker) -> None:
        """Open the camera again."""
        ...

    def private(self, is_on: bool, asker: Asker) -> None:
        """Keep nothing of what is seen and said, or keep it again."""
        ...

    def mute(self, asker: Asker) -> None:
        """Say nothing aloud; what is being said is broken off."""
        ...

    def unmute(self, asker: Asker) -> None:
        """Speak aloud again."""
        ...

    def reload(self, asker: Asker) -> None:
        """Take over an edited configuration; answered with what changed, or what is wrong."""
        ...

    def stop(self, asker: Asker) -> None:
        """Answer, and have another thread end the daemon: the server still sends the answer when it is closed."""
        ...


def _text(said: Fields, kind: str) -> str:
    text = said.get("text")
    if not is_text(text) or not text.strip():
        raise Invalid(f"text = {shown(text)}: must be a {kind}")
    return text


def _cancel(said: Fields) -> Cancel:
    if not is_id(said.get("request")):
        raise Invalid("request: must be the id of the request to end")
    return Cancel(said["request"])


def _private(said: Fields) -> Private:
    if not isinstance(said.get("on"), bool):
        raise Invalid(f"on = {shown(said.get('on'))}: must be true or false")
    return Private(said["on"])


def _query(said: Fields) -> dict[str, Any]:
    query = said.get("query", {})
    if not isinstance(query, dict):
        raise Invalid(f"query = {shown(query)}: must be an object")
    return query


def _standing(said: Fields) -> Standing:
    query = _query(said)
    number = query.get("cancel")
    if not (number is None or number == "all" or type(number) is int):
        raise Invalid(f'cancel = {shown(number)}: must be a number, or "all"')
    return Standing(query)


def _events(said: Fields) -> Events:
    kinds, parts = said.get("kinds", list(EVENT_KINDS)), said.get("parts", [])
    for name, value in (("kinds", kinds), ("parts", parts)):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise Invalid(f"{name} = {shown(value)}: must be a list of strings")
    if not kinds or not set(kinds) <= set(EVENT_KINDS):
        raise Invalid(f"kinds = {shown(kinds)}: must be of {', '.join(EVENT_KINDS)}")
    return Events(frozenset(kinds), frozenset(parts))


@dataclass(frozen=True)
class RequestKind:
    """read: its fields, or raises Invalid. call: the daemon's method; None for what the server itself answers."""

    read: Callable[[Fields], Body]
    call: Callable[[Handler, Any, Reply], None] | None


def _plain(do: str, call: Callable[[Handler, Reply], None]) -> RequestKind:
    """A request without fields."""
    return RequestKind(lambda said: Plain(do), lambda daemon, body, reply: call(daemon, reply))


REQUESTS: Mapping[str, RequestKind] = {
    "hello": RequestKind(lambda said: Hello(), None),
    "status": _plain("status", lambda daemon, reply: daemon.status(reply)),
    "pause": _plain("pause", lambda daemon, reply: daemon.pause(reply)),
    "resume": _plain("resume", lambda daemon, reply: daemon.resume(reply)),
    "mute": _plain("mute", lambda daemon, reply: daemon.mute(reply)),
    "unmute": _plain("unmute", lambda daemon, reply: daemon.unmute(reply)),
    "stop": _plain("stop", lambda daemon, reply: daemon.stop(reply)),
    "reload": _plain("reload", lambda daemon, reply: daemon.reload(reply)),
    "devices": _plain("devices", lambda daemon, reply: daemon.devices(reply)),
    "ask": RequestKind(
        lambda said: Ask(_text(said, "question")), lambda daemon, body, reply: daemon.ask(body.text, reply)
    ),
    "say": RequestKind(
        lambda said: Say(_text(said, "sentence")), lambda daemon, body, reply: daemon.say(body.text, reply)
    ),
    "listen": RequestKind(lambda said: Listen(), lambda daemon, body, reply: daemon.listen(reply)),
    "cancel": RequestKind(_cancel, None),
    "private": RequestKind(_private, lambda daemon, body, reply: daemon.private(body.on, reply)),
    "standing": RequestKind(_standing, lambda daemon, body, reply: daemon.standing(body.query, reply)),
    "log": RequestKind(lambda said: Log(_query(said)), lambda daemon, body, reply: daemon.log(body.query, reply)),
    "events": RequestKind(_events, None),
}


def dispatch(handler: Handler, reply: Reply) -> None:
    """Call the method that a request is for. Whatever that raises becomes the request's error."""
    call = REQUESTS[reply.body.do].call
    assert call is not None
    try:
        call(handler, reply.body, reply)
    except OnlookerError as error:
        reply.error("failed", str(error), exit_code=error.exit_code)
    except Exception as error:  # a fault of the daemon's must not end everybody's connection
        message = f"the daemon failed at this request: {type(error).__name__}: {error}"
        reply.error(protocol.INTERNAL, message, "please report this")
