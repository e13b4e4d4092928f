"""The blocking client when things go wrong: one clear error each, within the time that was given."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assistant.control.client import Client
from assistant.control.errors import DaemonLost, DaemonMissing, DaemonSilent, RequestRefused, VersionMismatch
from tests.assistant.control_daemon import process, running
from tests.pace import pace


@contextlib.contextmanager
def impostor(directory: Path, serve: Callable[[socket.socket], object]) -> Iterator[None]:
    """Something that takes one connection and does as it likes with it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(os.fspath(directory / "control.sock"))
        listener.listen()

        def run() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                serve(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield
        thread.join(10)


def answer_with(line: bytes) -> Callable[[socket.socket], object]:
    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(line)
        connection.recv(1000)

    return serve


@pytest.mark.parametrize("left", ["nothing", "no directory", "a dead socket"])
def test_no_daemon_is_one_clear_error(directory, left):
    place = directory / "none" if left == "no directory" else directory
    if left == "a dead socket":
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
            dead.bind(os.fspath(directory / "control.sock"))
    with pytest.raises(DaemonMissing) as missing:
        Client.connect(place)
    assert missing.value.exit_code == 3
    assert str(missing.value) == (
        f"the daemon is not running (nothing answers at {place}/control.sock); start it with `onlooker start`"
    )


def test_the_place_is_the_one_of_the_environment(directory, monkeypatch):
    monkeypatch.setenv("ONLOOKER_RUNTIME", os.fspath(directory))
    with running(directory), Client.connect() as client:
        assert client.request("status") == {"state": "ready"}


@pytest.mark.parametrize("how", ["request", "ask", "events"])
def test_a_daemon_that_says_nothing(directory, how):
    with impostor(directory, lambda connection: connection.recv(10) and connection.recv(10_000) and time.sleep(0.5)):
        with Client.connect(directory) as client:
            waits = {
                "request": lambda: client.request("status", timeout_s=0.2),
                "ask": lambda: next(client.ask("Where?", timeout_s=0.2)),
                "events": lambda: client.events(timeout_s=0.2),
            }
            start_s = time.monotonic()
            with pytest.raises(DaemonSilent, match=r"within 0.2 s") as silent:
                waits[how]()
        assert 0.15 < time.monotonic() - start_s < 1 * pace()
        assert silent.value.exit_code == 3


def test_a_daemon_that_freezes_under_a_subscriber(directory):
    with process(directory) as daemon, Client.connect(directory) as client:
        events = client.events(quiet_s=0.2, timeout_s=0.3)
        daemon.send_signal(signal.SIGSTOP)
        start_s = time.monotonic()
        with pytest.raises(DaemonSilent, match=r"within 0.3 s"):
            next(events)
        assert 0.4 < time.monotonic() - start_s < 2 * pace()


def test_a_daemon_that_lets_nobody_in(directory):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(os.fspath(directory / "control.sock"))
        listener.listen(0)
        with Client.connect(directory), pytest.raises(DaemonSilent):
            Client.connect(directory, timeout_s=0.2)


def test_a_daemon_that_takes_nothing(directory):
    release = threading.Event()
    with impostor(directory, lambda connection: release.wait(10)):
        with Client.connect(directory) as client:
            start_s = time.monotonic()
            with pytest.raises(DaemonSilent):
                [client.ask("x" * 60_000, timeout_s=0.2) for _ in range(100)]
        assert time.monotonic() - start_s < 2 * pace()
        release.set()


def test_a_daemon_of_another_version_is_named_with_both_versions(directory):
    theirs = answer_with(b'{"v":2,"id":1,"kind":"RESULT","payload":[]}\n')
    with impostor(directory, theirs), Client.connect(directory) as client, pytest.raises(VersionMismatch) as mismatch:
        client.request("status")
    assert "speaks version 2" in str(mismatch.value)
    assert "this command version 1" in str(mismatch.value)
    assert "onlooker restart" in str(mismatch.value)
    assert mismatch.value.exit_code == 3


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "something else than a message"),
        (b'{"v":1,"id":1,"kind":"song"}\n', "something else than a message"),
        (b'{"v":1,"id":1,"kind":"words","text":"?"}\n', "answered 'status' with AnswerWords"),
        (b"x" * 1_000_000, "without an end"),
    ],
)
def test_what_is_no_daemon_of_ours(directory, line, detail):
    said = answer_with(line)
    with impostor(directory, said), Client.connect(directory) as client, pytest.raises(DaemonLost, match=detail):
        client.request("status")


def test_what_is_for_nobody_is_ignored(directory):
    lines = b'{"v":1,"id":77,"kind":"words","text":"?"}\n{"v":1,"id":1,"kind":"result","facts":{"a":1},"new":2}\n'
    with impostor(directory, answer_with(lines)), Client.connect(directory) as client:
        assert client.request("status") == {"a": 1}


@pytest.mark.parametrize("how", ["answer", "events", "request"])
def test_a_daemon_that_is_killed_in_the_middle(directory, how):
    with process(directory) as daemon, Client.connect(directory) as client:
        answer, events = client.ask("count 1000000"), client.events()
        assert next(answer) == "1:0 "
        daemon.send_signal(signal.SIGKILL)
        daemon.wait(10)
        waits = {
            "answer": lambda: list(answer),
            "events": lambda: next(events),
            "request": lambda: client.request("status"),
        }
        with pytest.raises(DaemonLost, match="the daemon was lost") as lost:
            waits[how]()
        assert lost.value.exit_code == 3
        with pytest.raises(DaemonMissing):
            Client.connect(directory)


def test_a_request_that_is_too_long_is_refused_here(directory):
    with running(directory) as daemon, Client.connect(directory) as client:
        with pytest.raises(RequestRefused, match="say it shorter") as refused:
            client.ask("x" * 70_000)
        assert refused.value.exit_code == 2
        assert client.request("status") == {"state": "ready"}
        assert daemon.server.facts()["dropped"] == {}


def test_a_refused_request_keeps_its_exit_code(directory):
    with running(directory), Client.connect(directory) as client:
        for do, fields, exit_code in (("fly", {}, 2), ("ask", {"text": " "}, 2), ("devices", {}, 3), ("reload", {}, 1)):
            with pytest.raises(RequestRefused) as refused:
                client.request(do, fields)
            assert refused.value.exit_code == exit_code
        with pytest.raises(RequestRefused):
            next(client.ask(" "))
        with pytest.raises(RequestRefused, match="gossip"):
            client.events(kinds=["gossip"])


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also where a shell had it ignored, as it does for jobs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_leaves_an_answer_that_can_be_cancelled(directory):
    with running(directory) as daemon, Client.connect(directory) as client:
        answer = client.ask("hold")
        timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            next(answer)
        answer.cancel()
        assert answer.is_cancelled
        assert daemon.daemon.asked[0].is_cancelled
        assert client.request("status") == {"state": "ready"}


def test_a_client_that_gave_up_on_one_request_understands_the_next(directory):
    """The late answer to the first is not taken for the answer to the second."""
    with running(directory) as daemon, Client.connect(directory) as client:
        held = []
        daemon.daemon.pause = held.append
        with pytest.raises(DaemonSilent):
            client.request("pause", timeout_s=0.1)
        held[0].done({"late": True})
        assert client.request("status") == {"state": "ready"}
