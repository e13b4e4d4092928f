"""Lines to requests and messages, and back. Pure. `protocol.py` shows what the lines look like."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from assistant.control.protocol import (
    ACTIONS,
    EVENT_KINDS,
    INVALID,
    MALFORMED,
    MAX_ID_CHARACTERS,
    PLAIN,
    UNKNOWN,
    VERSION,
    WRONG_VERSION,
    Ask,
    Body,
    Cancel,
    Done,
    Event,
    Events,
    Facts,
    Hello,
    Log,
    Message,
    Plain,
    Private,
    Refusal,
    Request,
    RequestId,
    Result,
    Words,
    is_id,
    is_text,
)


class NotAMessage(ValueError):
    """A line that is no message of this protocol."""


class _Invalid(ValueError):
    """Why a request cannot be understood."""


def parse_request(line: bytes) -> Request | Refusal:
    """Understand one line from a client, or say why not. Never raises."""
    try:
        said = _load(line)
    except ValueError as error:
        return Refusal(None, MALFORMED, f"a request must be one JSON object a line: {error}", exit_code=2)
    request_id = said.get("id") if is_id(said.get("id")) else None
    if said.get("v") != VERSION or isinstance(said["v"], bool):
        spoken = f"version {_short(said['v'])}" if "v" in said else "no version (it has no `v`)"
        message = f"the request speaks {spoken}, this daemon speaks version {VERSION} of the protocol"
        return Refusal(request_id, WRONG_VERSION, message, "use `onlooker restart` after an upgrade", 3)
    if request_id is None:
        shape = f"a whole number or a string of at most {MAX_ID_CHARACTERS} characters"
        return Refusal(None, INVALID, f"id = {_short(said.get('id'))}: must be {shape}", exit_code=2)
    do = said.get("do")
    if not isinstance(do, str) or do not in ACTIONS:
        return Refusal(request_id, UNKNOWN, f"do = {_short(do)}: must be one of {', '.join(ACTIONS)}", exit_code=2)
    try:
        return Request(request_id, _body(do, said))
    except _Invalid as error:
        return Refusal(request_id, INVALID, f"{do}: {error}", exit_code=2)


def encode_request(request_id: RequestId, do: str, fields: Facts) -> bytes:
    """The line of a request, newline included."""
    return _dump({"v": VERSION, "id": request_id, "do": do, **fields})


def encode(message: Message) -> bytes:
    """The line of a message, newline included. Raises TypeError or ValueError on facts that JSON cannot say."""
    head = {"v": VERSION, "id": message.id}
    match message:
        case Result(_, facts):
            return _dump({**head, "kind": "result", "facts": facts})
        case Words(_, text):
            return _dump({**head, "kind": "words", "text": text})
        case Done(_, facts, cancelled):
            return _dump({**head, "kind": "done", "facts": facts, "cancelled": cancelled})
        case Event(_, event, facts):
            return _dump({**head, "kind": "event", "event": event, "facts": facts})
        case Refusal(_, code, text, remedy, exit_code):
            error = {"code": code, "message": text, "remedy": remedy, "exit_code": exit_code}
            return _dump({**head, "kind": "error", **error})


def event_body(kind: str, facts: Facts) -> bytes:
    """An event encoded once for all its subscribers: what comes after the id."""
    return _dump({"kind": "event", "event": kind, "facts": facts})[1:]


def encode_event(request_id: RequestId, body: bytes) -> bytes:
    """The line of an event for one subscription."""
    return _dump({"v": VERSION, "id": request_id})[:-2] + b"," + body


def parse_message(line: bytes) -> Message | int:
    """Understand one line from a daemon; its version, if that is another one. Raises NotAMessage."""
    try:
        said = _load(line)
        version, message_id = said.get("v"), said.get("id")
        if version != VERSION:
            return int(version)  # type: ignore[arg-type]
        if message_id is not None and not is_id(message_id):
            raise ValueError("id")
        match said:
            case {"kind": "result", "facts": dict(facts)}:
                return Result(message_id, facts)
            case {"kind": "words", "text": str(text)}:
                return Words(message_id, text)
            case {"kind": "done", "facts": dict(facts), "cancelled": bool(cancelled)}:
                return Done(message_id, facts, cancelled)
            case {"kind": "event", "event": str(event), "facts": dict(facts)}:
                return Event(message_id, event, facts)
            case {"kind": "error", "code": str(code), "message": str(text), "remedy": str(remedy)}:
                exit_code = said.get("exit_code")
                return Refusal(message_id, code, text, remedy, exit_code if isinstance(exit_code, int) else 1)
    except (ValueError, TypeError, OverflowError) as error:
        raise NotAMessage(str(error)) from None
    raise NotAMessage(f"kind = {_short(said.get('kind'))}")


def _body(do: str, said: dict[str, Any]) -> Body:
    if do in PLAIN:
        return Plain(do)
    match do:
        case "hello":
            return Hello()
        case "ask":
            text = said.get("text")
            if not is_text(text) or not text.strip():
                raise _Invalid(f"text = {_short(text)}: must be a question")
            return Ask(text)
        case "cancel":
            if not is_id(said.get("request")):
                raise _Invalid("request: must be the id of the request to end")
            return Cancel(said["request"])
        case "private":
            if not isinstance(said.get("on"), bool):
                raise _Invalid(f"on = {_short(said.get('on'))}: must be true or false")
            return Private(said["on"])
        case "log":
            query = said.get("query", {})
            if not isinstance(query, dict):
                raise _Invalid(f"query = {_short(query)}: must be an object")
            return Log(query)
    return _events(said)


def _events(said: dict[str, Any]) -> Events:
    kinds, parts = said.get("kinds", list(EVENT_KINDS)), said.get("parts", [])
    for name, value in (("kinds", kinds), ("parts", parts)):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _Invalid(f"{name} = {_short(value)}: must be a list of strings")
    if not kinds or not set(kinds) <= set(EVENT_KINDS):
        raise _Invalid(f"kinds = {_short(kinds)}: must be of {', '.join(EVENT_KINDS)}")
    return Events(frozenset(kinds), frozenset(parts))


def _load(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(said, dict):
        raise ValueError(f"{_short(said)} is none")
    return said


def _dump(said: dict[str, Any]) -> bytes:
    text = json.dumps(said, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"  # half a surrogate pair becomes its JSON escape


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _short(value: object) -> str:
    """A value as a person may be shown it, never longer than a few words."""
    try:
        text = json.dumps(value)
    except (RecursionError, ValueError, TypeError):
        return "something else"
    return text if len(text) <= 60 else f"{text[:57]}…"
