"""The daemon's service in a thread of this process, over a camera and a small model, and stand-ins for parts of it."""

import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from assistant.capture.source import parse_source
from assistant.config.keys import Config
from assistant.daemon.requests import Requests
from assistant.daemon.service import Service
from assistant.sound.speech import Speech
from tests.assistant.asker import KeepingAsker
from tests.assistant.camera import Camera, wait_for
from tests.pace import pace

KEEPS = Config.model_validate({"stream": {"fps": 10}, "capture": {"timeout_s": 2}, "privacy": {"journal": True}})


class Running:
    """The service in its thread. published: what it told. failure: what ended it, if not a stop."""

    def __init__(self, service: Service, published: list[tuple[str, Any]]):
        self.service, self.requests, self.published = service, Requests(service), published
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.service.run()
        except BaseException as error:
            self.failure = error

    def ask(self, text: str) -> KeepingAsker:
        heard = KeepingAsker()
        self.requests.ask(text, heard)
        return heard

    def state(self, part: str) -> str:
        return self.service.facts()["parts"][part]["state"]


@contextmanager
def running(camera: Camera, model, open_stream=None, config: Config | None = None, **parts: Any) -> Iterator[Running]:
    """A service for as long as the block lasts; it must end in time and leave no process and no thread."""
    config = config or Config.model_validate({"stream": {"fps": 10}, "capture": {"timeout_s": 2}})
    published: list[tuple[str, Any]] = []
    watched = Service(
        parse_source(camera.address),
        config,
        model,
        open_stream or (lambda _: model.open_stream(window_tokens=1024, max_reply_tokens=8)),
        publish=lambda kind, facts: published.append((kind, facts)),
        **parts,
    )
    daemon = Running(watched, published)
    try:
        yield daemon
    finally:
        start_s = time.monotonic()
        watched.stop_soon()
        daemon.thread.join(6 * pace())
        assert not daemon.thread.is_alive()
        assert time.monotonic() - start_s < 5 * pace()
        assert not multiprocessing.active_children()
        wait_for(lambda: not any(thread.name.startswith("onlooker-") for thread in threading.enumerate()), 5)


class Breaking:
    """A stream that fails when it is asked for the nth time to look."""

    def __init__(self, stream, fails_at: int, error: Exception | None = None):
        self._stream, self._left = stream, fails_at
        self._error = error or RuntimeError("the decoder is upset")

    def observe_many(self, frames, stops_at):
        self._left -= 1
        if self._left == 0:
            raise self._error
        return self._stream.observe_many(frames, stops_at)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Silent:
    """An engine that needs no time."""

    name = "silent"

    def synthesise(self, text: str) -> Speech:
        return Speech(np.zeros(160, np.int16), 16000)

    def close(self) -> None:
        pass
