"""The daemon, as a command talks to it: blocking, every wait bounded, every failure one error with its exit code.

    with Client.connect() as client:
        facts = client.request("status")
        for words in client.ask("Where is my mug?"):
            print(words, end="")

Every method raises RequestRefused (the daemon said no), DaemonSilent, DaemonLost or VersionMismatch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from assistant.control import protocol
from assistant.control.channel import Channel
from assistant.control.errors import DaemonLost, DaemonSilent
from assistant.control.instance import SOCKET_NAME, runtime_dir
from assistant.control.protocol import AnswerWords, Done, Facts, Notice, RequestId, Result
from assistant.control.transport import Peer
from model.errors import OnlookerError

CONNECT_TIMEOUT_S = 2.0
REQUEST_TIMEOUT_S = 5.0
ASK_TIMEOUT_S = 120.0  # between two pieces of an answer; a question may have to wait for others
QUIET_S = 30.0  # without an event, before the daemon is asked whether it still is there


class Client:
    """A connection to the running daemon. One thread uses it. Use `connect`."""

    def __init__(self, channel: Channel):
        self._channel = channel

    @classmethod
    def connect(cls, directory: Path | None = None, *, timeout_s: float = CONNECT_TIMEOUT_S) -> Client:
        """Connect to this user's daemon, or to the one of a runtime directory.

        Raises DaemonMissing, DaemonSilent (it lets nobody in), RuntimeDirError (another user answers there).
        """
        return cls(Channel.connect((directory or runtime_dir()) / SOCKET_NAME, timeout_s=timeout_s))

    @property
    def daemon(self) -> Peer:
        """Whose daemon it is, and its pid, as the kernel says."""
        return self._channel.peer

    def request(self, do: str, fields: Facts | None = None, *, timeout_s: float = REQUEST_TIMEOUT_S) -> Facts:
        """The facts that a request brings which is answered in one piece, within timeout_s seconds."""
        request_id = self._channel.send(do, fields or {}, timeout_s=timeout_s)
        try:
            message = self._channel.next(request_id, timeout_s=timeout_s)
        finally:
            self._channel.forget(request_id)
        if not isinstance(message, Result):
            raise DaemonLost(f"it answered {do!r} with {type(message).__name__}")
        return message.facts

    def ask(self, text: str, *, timeout_s: float = ASK_TIMEOUT_S) -> AnswerStream:
        """Put a question; iterate over the words of its answer. Several answers may be open at once.

        timeout_s: between two pieces.
        """
        return AnswerStream(self._channel, self._channel.send("ask", {"text": text}, timeout_s=timeout_s), timeout_s)

    def listen(self, *, timeout_s: float = ASK_TIMEOUT_S) -> AnswerStream:
        """Ask aloud, into the daemon's microphone. The first words are what was heard, a line; then as of `ask`."""
        return AnswerStream(self._channel, self._channel.send("listen", {}, timeout_s=timeout_s), timeout_s)

    def events(
        self,
        kinds: Iterable[str] = protocol.EVENT_KINDS,
        parts: Iterable[str] = (),
        *,
        quiet_s: float = QUIET_S,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> Iterator[Notice]:
        """What happens from now on, for ever; subscribed when this returns. kinds, parts: see `protocol.Events`.

        After quiet_s seconds without an event the daemon is asked for a sign of life, which must come in timeout_s.
        """
        fields = {"kinds": list(kinds), "parts": list(parts)}
        request_id = self._channel.send("events", fields, timeout_s=timeout_s)
        self._channel.next(request_id, timeout_s=timeout_s)
        return self._events(request_id, quiet_s, timeout_s)

    def close(self) -> None:
        """Leave; the daemon cancels what is open. Twice is fine."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _events(self, request_id: RequestId, quiet_s: float, timeout_s: float) -> Iterator[Notice]:
        while True:
            try:
                message = self._channel.next(request_id, timeout_s=quiet_s)
            except DaemonSilent:
                self.request("hello", timeout_s=timeout_s)
                continue
            if isinstance(message, Notice):
                yield message


class AnswerStream:
    """An iterator over the words of one answer, as they come. facts: of its end, once that has come."""

    def __init__(self, channel: Channel, request_id: RequestId, timeout_s: float):
        self.facts: Facts = {}
        self.is_cancelled = False
        self._channel = channel
        self._id = request_id
        self._timeout_s = timeout_s
        self._is_over = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._is_over:
            raise StopIteration
        try:
            message = self._channel.next(self._id, timeout_s=self._timeout_s)
        except OnlookerError:
            self._end()
            raise
        if isinstance(message, AnswerWords):
            return message.text
        self._end()
        if not isinstance(message, Done):
            raise DaemonLost(f"it answered a question with {type(message).__name__}")
        self.facts, self.is_cancelled = message.facts, message.cancelled
        raise StopIteration

    def cancel(self) -> None:
        """Want no more of it: the daemon stops working on it. The words that were on their way are dropped."""
        request_id = self._channel.send("cancel", {"request": self._id}, timeout_s=REQUEST_TIMEOUT_S)
        try:
            self._channel.next(request_id, timeout_s=REQUEST_TIMEOUT_S)
        finally:
            self._channel.forget(request_id)
        for _ in self:  # its end came before the answer to `cancel`
            pass

    def _end(self) -> None:
        self._is_over = True
        self._channel.forget(self._id)
