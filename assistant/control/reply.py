"""`Reply`, the handle of one open request: whoever can answer it holds one, and answers from any thread."""

from __future__ import annotations

from typing import Protocol

from assistant.control import protocol
from assistant.control.protocol import AnswerWords, Done, Events, Facts, Message, Refusal, RequestId, Result


class Recipient(Protocol):
    """Where a reply's messages go: a connection."""

    def say(self, reply: Reply, message: Message, *, is_last: bool = False) -> bool:
        """Send a message of an open request, its last one perhaps. False when it is over already."""
        ...


class Reply:
    """How one request is answered: by whichever thread, whenever; nothing waits, nothing raises for a client that left.

    Every method says whether it still mattered: False once the request is over (answered, cancelled, client gone).
    Raises TypeError or ValueError for facts that JSON cannot say.
    """

    def __init__(self, connection: Recipient, request_id: RequestId, body: protocol.Body):
        self.id = request_id
        self.body = body
        self.is_over = False
        self.is_cancelled = False  # by the client, or because it has gone; then stop working on it
        self._connection = connection

    def words(self, text: str) -> bool:
        """The next piece of an answer."""
        return self._connection.say(self, AnswerWords(self.id, text))

    def done(self, facts: Facts | None = None) -> bool:
        """The end: all words were said, or (for a request that does not stream) these are the facts."""
        streams = isinstance(self.body, protocol.Ask | protocol.Listen | Events)
        end = Done(self.id, facts or {}) if streams else Result(self.id, facts or {})
        return self._connection.say(self, end, is_last=True)

    def error(self, code: str, message: str, remedy: str = "", exit_code: int = 1) -> bool:
        """The end: no. exit_code: what a command ends with because of it."""
        return self._connection.say(self, Refusal(self.id, code, message, remedy, exit_code), is_last=True)
