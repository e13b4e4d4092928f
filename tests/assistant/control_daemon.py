"""A small daemon to be controlled in tests: in this process (`running`), or in one of its own (this file's main)."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from assistant.control.connection import Limits
from assistant.control.instance import Instance
from assistant.control.protocol import Facts
from assistant.control.reply import Reply
from assistant.control.server import ControlServer
from assistant.control.unix import UnixTransport
from assistant.errors import DeviceMissing

ROOT = Path(__file__).parents[2]
VERSION = "7.8.9"


class FakeDaemon:
    """A `Handler`. A question "count N" is answered with N words, one of every open question in turn; "hold" never."""

    def __init__(self) -> None:
        self.asked: list[Reply] = []
        self.calls: list[Any] = []
        self.stopped = threading.Event()
        self._answering: list[tuple[Reply, Iterator[int]]] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._answer, name="fake-mind", daemon=True)
        self._thread.start()

    def status(self, reply: Reply) -> None:
        reply.done({"state": "ready"})

    def devices(self, reply: Reply) -> None:
        raise DeviceMissing("camera:9: not there; look at `onlooker devices`")

    def say(self, text: str, reply: Reply) -> None:
        reply.done({"text": text})

    def listen(self, reply: Reply) -> None:
        reply.words("What is this?\n")
        reply.words("A cup.")
        reply.done({"text": "A cup."})

    def standing(self, query: Mapping[str, Any], reply: Reply) -> None:
        reply.done({"standing": [], "trouble": ""})

    def ask(self, text: str, reply: Reply) -> None:
        self.asked.append(reply)
        if text.startswith("count"):
            with self._lock:
                self._answering.append((reply, iter(range(int(text.split()[1])))))

    def log(self, query: Facts, reply: Reply) -> None:
        reply.done({"query": query, "filler": "x" * query.get("size", 0)})

    def pause(self, reply: Reply) -> None:
        self._call("pause", reply)

    def resume(self, reply: Reply) -> None:
        self._call("resume", reply)

    def private(self, is_on: bool, reply: Reply) -> None:
        self._call(("private", is_on), reply)

    def mute(self, reply: Reply) -> None:
        self._call("mute", reply)

    def unmute(self, reply: Reply) -> None:
        self._call("unmute", reply)

    def reload(self, reply: Reply) -> None:
        raise RuntimeError("a fault of the daemon's")

    def stop(self, reply: Reply) -> None:
        self._call("stop", reply)
        self.stopped.set()

    def close(self) -> None:
        self.stopped.set()
        self._thread.join(5)

    def _call(self, call: Any, reply: Reply) -> None:
        self.calls.append(call)
        reply.done()

    def _answer(self) -> None:
        while not self.stopped.wait(0.0005):
            with self._lock:
                answering = list(self._answering)
            for entry in answering:
                reply, numbers = entry
                number = next(numbers, None)
                goes_on = reply.words(f"{reply.id}:{number} ") if number is not None else False
                if not goes_on:
                    reply.done({"by": "fake"})
                    with self._lock:
                        self._answering.remove(entry)


class Running:
    """A daemon that runs in this process. directory: its runtime directory."""

    def __init__(self, directory: Path, limits: Limits | None = None):
        self.directory = directory
        self.instance = Instance.claim(directory)
        self.daemon = FakeDaemon()
        self.server = ControlServer(
            self.daemon, UnixTransport.listen(self.instance), version=VERSION, limits=limits or Limits()
        )
        self.server.start()

    def close(self) -> None:
        self.server.close()
        self.daemon.close()
        self.instance.release()


@contextlib.contextmanager
def running(directory: Path, limits: Limits | None = None) -> Iterator[Running]:
    """A daemon in this process for as long as the block lasts; its thread must end well."""
    daemon = Running(directory, limits)
    try:
        yield daemon
    finally:
        daemon.close()
    assert daemon.server.failure is None


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """A private directory whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="onl-", ignore_cleanup_errors=True) as name:
        yield Path(name).resolve()


@contextlib.contextmanager
def process(directory: Path, *, publishes: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A daemon in a process of its own, ready to be connected to. publishes: events all the time."""
    command = [sys.executable, "-m", "tests.assistant.control_daemon", os.fspath(directory), str(int(publishes))]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child
    finally:
        child.kill()
        child.communicate()


class Raw:
    """A client that may say anything. Waits at most 10 s for what it is told."""

    def __init__(self, directory: Path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(10)
        while self.socket.connect_ex(os.fspath(directory / "control.sock")) == errno.EAGAIN:
            time.sleep(0.001)  # the queue of newcomers is full
        self._lines = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def say(self, do: str, request_id: Any = 1, **fields: Any) -> None:
        self.send(json.dumps({"v": 1, "id": request_id, "do": do, **fields}).encode() + b"\n")

    def hear(self) -> dict[str, Any] | None:
        """The next message, or None at the end (which may cut the last message of who did not read)."""
        try:
            line = self._lines.readline()
        except ConnectionError:
            return None
        return json.loads(line) if line.endswith(b"\n") else None

    def hear_all(self) -> list[dict[str, Any]]:
        heard = []
        while (message := self.hear()) is not None:
            heard.append(message)
        return heard

    def close(self) -> None:
        self._lines.close()
        self.socket.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def eventually(condition: Any, timeout_s: float = 5.0) -> bool:
    """Whether a condition came true in time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.005)
    return True


def main() -> None:
    directory, publishes = Path(sys.argv[1]), sys.argv[2] == "1"
    with running(directory) as daemon:
        print("ready", flush=True)
        number = 0
        while not daemon.daemon.stopped.wait(0.001 if publishes else 0.2):
            if publishes:
                number += 1
                daemon.server.publish("remark", {"number": number, "text": "You pick up the red mug. " * 20})


if __name__ == "__main__":
    main()
