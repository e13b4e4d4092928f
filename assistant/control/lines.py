"""Lines to requests and messages, and back. Pure. `protocol.py` shows what the lines look like."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from assistant.control.protocol import (
    INVALID,
    MALFORMED,
    MAX_ID_CHARACTERS,
    UNKNOWN,
    VERSION,
    WRONG_VERSION,
    AnswerWords,
    Done,
    Facts,
    Message,
    Notice,
    Refusal,
    Request,
    RequestId,
    Result,
    is_id,
    shown,
)
from assistant.control.requests import REQUESTS, Invalid


class NotAMessage(ValueError):
    """A line that is no message of this protocol."""


def parse_request(line: bytes) -> Request | Refusal:
    """Understand one line from a client, or say why not. Never raises."""
    try:
        said = _load(line)
    except ValueError as error:
        return Refusal(None, MALFORMED, f"a request must be one JSON object a line: {error}", exit_code=2)
    request_id = said.get("id") if is_id(said.get("id")) else None
    if said.get("v") != VERSION or isinstance(said["v"], bool):
        spoken = f"version {shown(said['v'])}" if "v" in said else "no version (it has no `v`)"
        message = f"the request speaks {spoken}, this daemon speaks version {VERSION} of the protocol"
        return Refusal(request_id, WRONG_VERSION, message, "use `onlooker restart` after an upgrade", 3)
    if request_id is None:
        shape = f"a whole number or a string of at most {MAX_ID_CHARACTERS} characters"
        return Refusal(None, INVALID, f"id = {shown(said.get('id'))}: must be {shape}", exit_code=2)
    do = said.get("do")
    if not isinstance(do, str) or do not in REQUESTS:
        return Refusal(request_id, UNKNOWN, f"do = {shown(do)}: must be one of {', '.join(REQUESTS)}", exit_code=2)
    try:
        return Request(request_id, REQUESTS[do].read(said))
    except Invalid as error:
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
        case AnswerWords(_, text):
            return _dump({**head, "kind": "words", "text": text})
        case Done(_, facts, cancelled):
            return _dump({**head, "kind": "done", "facts": facts, "cancelled": cancelled})
        case Notice(_, event, facts):
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
                return AnswerWords(message_id, text)
            case {"kind": "done", "facts": dict(facts), "cancelled": bool(cancelled)}:
                return Done(message_id, facts, cancelled)
            case {"kind": "event", "event": str(event), "facts": dict(facts)}:
                return Notice(message_id, event, facts)
            case {"kind": "error", "code": str(code), "message": str(text), "remedy": str(remedy)}:
                exit_code = said.get("exit_code")
                return Refusal(message_id, code, text, remedy, exit_code if isinstance(exit_code, int) else 1)
    except (ValueError, TypeError, OverflowError) as error:
        raise NotAMessage(str(error)) from None
    raise NotAMessage(f"kind = {shown(said.get('kind'))}")


def _load(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(said, dict):
        raise ValueError(f"{shown(said)} is none")
    return said


def _dump(said: dict[str, Any]) -> bytes:
    text = json.dumps(said, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"  # half a surrogate pair becomes its JSON escape


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
