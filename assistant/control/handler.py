"""What the daemon implements to be controlled, and how a request finds its method."""

from __future__ import annotations

from typing import Protocol, assert_never

from assistant.control import protocol
from assistant.control.protocol import Ask, Cancel, Events, Facts, Hello, Log, Plain, Private
from assistant.control.reply import Reply
from model.errors import OnlookerError


class Handler(Protocol):
    """The daemon, as the control socket sees it.

    Every method is called in the server's thread and returns at once; what takes longer keeps the reply and answers
    it from its own thread. An OnlookerError that is raised becomes the error that the client gets.
    """

    def status(self, reply: Reply) -> None: ...

    def devices(self, reply: Reply) -> None: ...

    def ask(self, text: str, reply: Reply) -> None:
        """Answer with any number of `reply.words`, then `reply.done`; look at `reply.is_cancelled` between."""
        ...

    def log(self, query: Facts, reply: Reply) -> None: ...

    def pause(self, reply: Reply) -> None: ...

    def resume(self, reply: Reply) -> None: ...

    def private(self, is_on: bool, reply: Reply) -> None: ...

    def mute(self, reply: Reply) -> None: ...

    def unmute(self, reply: Reply) -> None: ...

    def reload(self, reply: Reply) -> None: ...

    def stop(self, reply: Reply) -> None:
        """Answer, and have another thread end the daemon: the server still sends the answer when it is closed."""
        ...


def dispatch(handler: Handler, reply: Reply) -> None:
    """Call the method that a request is for. Whatever that raises becomes the request's error."""
    try:
        _call(handler, reply)
    except OnlookerError as error:
        reply.error("failed", str(error), exit_code=error.exit_code)
    except Exception as error:  # a fault of the daemon's must not end everybody's connection
        message = f"the daemon failed at this request: {type(error).__name__}: {error}"
        reply.error(protocol.INTERNAL, message, "please report this")


def _call(handler: Handler, reply: Reply) -> None:
    match reply.body:
        case Plain(do):
            methods = {
                "status": handler.status,
                "devices": handler.devices,
                "pause": handler.pause,
                "resume": handler.resume,
                "mute": handler.mute,
                "unmute": handler.unmute,
                "reload": handler.reload,
                "stop": handler.stop,
            }
            methods[do](reply)
        case Ask(text):
            handler.ask(text, reply)
        case Private(on):
            handler.private(on, reply)
        case Log(query):
            handler.log(query, reply)
        case Hello() | Cancel() | Events():
            raise AssertionError("the server answers these itself")
        case _:
            assert_never(reply.body)
