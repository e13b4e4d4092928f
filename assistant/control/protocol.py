"""What travels over the control socket: JSON objects, one a line, UTF-8. Pure: no sockets, no threads.

A request has `v`, the caller's own `id` (whole number or string) and what to `do`:

    {"v": 1, "id": 1, "do": "status"}       and all that `control.requests.REQUESTS` names
    {"v": 1, "id": 2, "do": "ask", "text": "Where is my mug?"}
    {"v": 1, "id": 3, "do": "cancel", "request": 2}
    {"v": 1, "id": 4, "do": "private", "on": true}
    {"v": 1, "id": 5, "do": "log", "query": {"since_s": 7200}}
    {"v": 1, "id": 6, "do": "events", "kinds": ["remark", "status"], "parts": ["camera"]}

Every message back carries the request's id; null where the connection as a whole is meant:

    {"v": 1, "id": 1, "kind": "result", "facts": {…}}
    {"v": 1, "id": 2, "kind": "words", "text": "On the "}    any number, then one `done`
    {"v": 1, "id": 2, "kind": "done", "facts": {…}, "cancelled": false}
    {"v": 1, "id": 6, "kind": "event", "event": "remark", "facts": {…}}    after a first `result`, until cancelled
    {"v": 1, "id": 9, "kind": "error", "code": "busy", "message": "…", "remedy": "…", "exit_code": 3}

Fields that are not known are ignored, both ways. After an error whose code is in CLOSING_CODES, and after `busy` with a
null id, the connection ends. A client that ends its sending side has left: what is still open is cancelled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeGuard

VERSION = 1
MAX_LINE_BYTES = 64 * 1024  # of a request
MAX_MESSAGE_BYTES = 256 * 1024  # of what goes back
MAX_ID_CHARACTERS = 64
MAX_ID_NUMBER = 2**53  # beyond it, other languages' JSON rounds
EVENT_KINDS = ("remark", "query", "answer", "unsaid", "status", "modes", "silence")

MALFORMED, TOO_LONG, UNFINISHED, SLOW = "malformed", "too-long", "unfinished", "slow"
BUSY, FORBIDDEN, STOPPING = "busy", "forbidden", "stopping"
WRONG_VERSION, UNKNOWN, INVALID, INTERNAL, TOO_LARGE = "wrong-version", "unknown", "invalid", "internal", "too-large"
CLOSING_CODES = frozenset({MALFORMED, TOO_LONG, UNFINISHED, SLOW, FORBIDDEN, STOPPING})

RequestId = int | str
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Hello:
    """Which versions, and what can be done."""

    do: ClassVar[str] = "hello"


@dataclass(frozen=True)
class Plain:
    """A request without fields. do: its name."""

    do: str


@dataclass(frozen=True)
class Ask:
    """A question; its answer streams."""

    do: ClassVar[str] = "ask"
    text: str


@dataclass(frozen=True)
class Say:
    """What is to be said aloud."""

    do: ClassVar[str] = "say"
    text: str


@dataclass(frozen=True)
class Listen:
    """A question that is spoken aloud now; what was heard comes as a line, then its answer streams."""

    do: ClassVar[str] = "listen"


@dataclass(frozen=True)
class Cancel:
    """End an open request of the same connection: an answer or a subscription."""

    do: ClassVar[str] = "cancel"
    request: RequestId


@dataclass(frozen=True)
class Private:
    """Private mode on or off."""

    do: ClassVar[str] = "private"
    on: bool


@dataclass(frozen=True)
class Log:
    """Delete what was said and asked. query: {"ids": [numbers]}, or {"everything": true}."""

    do: ClassVar[str] = "log"
    query: Facts


@dataclass(frozen=True)
class Standing:
    """What is to be told when it happens. query: {"add": text, "each_time": bool, "lasts_s": seconds}, {"cancel":
    number or "all"}, or {} to list.
    """

    do: ClassVar[str] = "standing"
    query: Facts


@dataclass(frozen=True)
class Events:
    """Subscribe. kinds: which of EVENT_KINDS. parts: of these parts only, where an event names one; empty = all."""

    do: ClassVar[str] = "events"
    kinds: frozenset[str]
    parts: frozenset[str]

    def wants(self, kind: str, part: str | None) -> bool:
        """Whether an event of this kind, about this part, is to be sent."""
        return kind in self.kinds and (not self.parts or part is None or part in self.parts)


Body = Hello | Plain | Ask | Say | Listen | Cancel | Private | Log | Standing | Events


@dataclass(frozen=True)
class Request:
    """One request, understood."""

    id: RequestId
    body: Body


@dataclass(frozen=True)
class Result:
    """The whole answer to a request that does not stream."""

    id: RequestId | None
    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True)
class AnswerWords:
    """A piece of an answer."""

    id: RequestId | None
    text: str


@dataclass(frozen=True)
class Done:
    """The end of an answer, or of a subscription. cancelled: because the client wanted it so."""

    id: RequestId | None
    facts: Facts = field(default_factory=dict)
    cancelled: bool = False


@dataclass(frozen=True)
class Notice:
    """Something happened. event: one of EVENT_KINDS."""

    id: RequestId | None
    event: str
    facts: Facts


@dataclass(frozen=True)
class Refusal:
    """No. code: for programs; message and remedy: for people; exit_code: for a command that ends because of it."""

    id: RequestId | None
    code: str
    message: str
    remedy: str = ""
    exit_code: int = 1


Message = Result | AnswerWords | Done | Notice | Refusal


def is_id(value: object) -> TypeGuard[RequestId]:
    """Whether a value can be a request's id."""
    if isinstance(value, str):
        return len(value) <= MAX_ID_CHARACTERS and is_text(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_ID_NUMBER


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is a string of whole characters: JSON can say half a surrogate pair, which nothing can print."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def shown(value: object) -> str:
    """A value as a person may be shown it, never longer than a few words."""
    try:
        text = json.dumps(value)
    except (RecursionError, ValueError, TypeError):
        return "something else"
    return text if len(text) <= 60 else f"{text[:57]}…"
