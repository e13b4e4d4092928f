"""The control server ends in time, tells everybody, and leaves nothing behind."""

import gc
import os
import resource
import socket
import threading
import time

import pytest

from assistant.control.client import Client
from assistant.control.errors import DaemonLost, RequestRefused
from assistant.errors import WorkerFailed
from tests.assistant.control_daemon import Raw, eventually, running
from tests.pace import pace


def test_an_answer_that_is_too_large_is_an_error_and_not_the_end(served):
    with Client.connect(served.directory) as client:
        assert len(client.request("log", {"query": {"size": 200_000}})["filler"]) == 200_000
        with pytest.raises(RequestRefused, match="ask for less") as refused:
            client.request("log", {"query": {"size": 300_000}})
        assert refused.value.refusal.code == "too-large"
        assert client.request("status") == {"state": "ready"}
        events = client.events()
        served.server.publish("remark", {"text": "x" * 300_000})
        served.server.publish("remark", {"n": 2})
        assert next(events).facts == {"n": 2}
        assert served.server.facts()["events_too_long"] == 1


def test_the_end_comes_within_a_second_and_is_told(directory):
    with running(directory) as daemon:
        asking, listening, idle = (Client.connect(directory) for _ in range(3))
        answer, events = asking.ask("hold"), listening.events()
        idle.request("status")
        assert eventually(lambda: daemon.daemon.asked)
        raw = Raw(directory)
        raw.say("stop", 9)
        assert daemon.daemon.stopped.wait(5)
        start_s = time.monotonic()
        daemon.server.close()
        assert time.monotonic() - start_s < 1 * pace()
        assert not any(thread.name == "onlooker-control" for thread in threading.enumerate())
        assert raw.hear()["id"] == 9, "the answer to stop itself"
        assert raw.hear()["code"] == "stopping"
        assert raw.hear() is None
        for wait in (lambda: next(answer), lambda: next(events), lambda: idle.request("status")):
            with pytest.raises(RequestRefused, match="is stopping") as refused:
                wait()
            assert refused.value.exit_code == 3
        assert daemon.daemon.asked[0].is_cancelled
        assert not (directory / "control.sock").exists()
        daemon.server.publish("remark", {})
        daemon.server.close()


def test_the_end_does_not_wait_for_who_does_not_read(directory):
    with running(directory) as daemon:
        raws = [Raw(directory) for _ in range(10)]
        for raw in raws:
            raw.say("events")
            raw.hear()
        for number in range(300):
            daemon.server.publish("remark", {"n": number, "text": "x" * 2000})
        start_s = time.monotonic()
        daemon.server.close()
        assert time.monotonic() - start_s < 1 * pace()
        for raw in raws:
            assert {message["kind"] for message in raw.hear_all()} <= {"event", "error"}
            raw.close()


def test_a_handler_that_hangs_is_named_when_the_server_should_end(directory):
    with running(directory) as daemon:
        release = threading.Event()
        daemon.daemon.status = lambda reply: release.wait(10)
        with Raw(directory) as raw:
            raw.say("status")
            assert eventually(lambda: daemon.server.facts()["requests"] == 1)
            with pytest.raises(WorkerFailed, match="handler hangs"):
                daemon.server.close()
        release.set()


def test_the_server_may_be_closed_by_a_handler(directory):
    with running(directory) as daemon:

        def stop(reply):
            reply.done()
            daemon.server.close()
            has_returned.set()

        has_returned = threading.Event()
        daemon.daemon.stop = stop
        with Client.connect(directory) as client:
            assert client.request("stop") == {}
            assert has_returned.wait(5)
            with pytest.raises((RequestRefused, DaemonLost)):
                client.request("status")


def test_five_hundred_connections_leave_nothing_behind(directory):
    def num_open() -> int:
        return len(os.listdir("/proc/self/fd"))

    gc.collect()  # sockets of tests before this one
    before = (num_open(), threading.active_count())
    with running(directory) as daemon:
        idle = (num_open(), threading.active_count())
        for number in range(500):
            raw = Raw(directory)
            if number % 5 == 0:
                raw.say("events")
            elif number % 5 == 1:
                raw.say("ask", text="hold")
            elif number % 5 == 2:
                raw.send(b'{"half')
            elif number % 5 == 3:
                raw.send(b"garbage\n")
            raw.close()
            if number % 25 == 24:  # no more at once than may be
                assert eventually(lambda number=number: daemon.server.facts()["accepted"] == number + 1)
                assert eventually(lambda: daemon.server.facts()["clients"] == 0)
        assert eventually(lambda: (num_open(), threading.active_count()) == idle), (num_open(), idle)
        assert all(reply.is_cancelled for reply in daemon.daemon.asked)
    assert (num_open(), threading.active_count()) == before


def test_who_comes_while_no_file_descriptors_are_left_is_served_when_some_are(directory):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with running(directory) as daemon:
        lines = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(6)]
        first_free = os.dup(0)
        os.close(first_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (first_free + 2, hard))
        try:
            for line in lines:
                line.settimeout(10)
                line.connect(os.fspath(directory / "control.sock"))
            assert eventually(lambda: daemon.server.facts()["accepted"] == 2)
            busy_s = time.process_time()
            time.sleep(0.3)
            assert time.process_time() - busy_s < 0.2, "it must not try again and again"
            assert daemon.server.facts()["accepted"] == 2
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for line in lines:
            line.sendall(b'{"v":1,"id":1,"do":"status"}\n')
            assert b"ready" in line.recv(1000)
            line.close()
