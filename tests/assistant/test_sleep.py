"""A mocked logind sends the computer to sleep: the devices are free before, and taken again after."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.machine.sleep import SleepWatch
from tests.assistant.camera import wait_for
from tests.pace import pace

MANAGER = ["--dest=org.freedesktop.login1", "/org/freedesktop/login1"]


class Logind:
    """python-dbusmock's logind on a bus of its own."""

    def __init__(self, folder: Path):
        self.address = f"unix:path={folder}/bus"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = ["dbus-daemon", "--session", "--nofork", f"--address={self.address}"]
        self._bus = subprocess.Popen(command, **quiet)
        wait_for(lambda: (folder / "bus").exists(), 5)
        self._environ = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address}
        mock = ["/usr/bin/python3", "-m", "dbusmock", "--system", "--template", "logind"]
        self._mock = subprocess.Popen(mock, env=self._environ, **quiet)
        wait_for(lambda: self._send("method_call", "org.freedesktop.DBus.Peer.Ping", "--print-reply") == 0, 10)

    def sleeps(self, is_before: bool) -> None:
        target = ["-d", "org.freedesktop.login1", "-o", "/org/freedesktop/login1"]
        body = ["org.freedesktop.login1.Manager", "PrepareForSleep", "b", f"[<{str(is_before).lower()}>]"]
        command = ["gdbus", "call", "--system", *target, "-m", "org.freedesktop.DBus.Mock.EmitSignal", *body]
        subprocess.run(command, env=self._environ, check=True, stdout=subprocess.DEVNULL, timeout=10)

    def _send(self, kind: str, member: str, *options: str) -> int:
        command = ["dbus-send", "--system", f"--type={kind}", *options, *MANAGER, member]
        return subprocess.run(command, env=self._environ, capture_output=True, timeout=10).returncode

    def end(self) -> None:
        for process in (self._mock, self._bus):
            process.kill()
            process.wait(10)


@pytest.fixture
def logind(tmp_path, monkeypatch) -> Iterator[Logind]:
    logind = Logind(tmp_path)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", logind.address)
    yield logind
    logind.end()


def test_devices_are_let_go_before_and_taken_after(logind):
    done: list[str] = []

    def before() -> None:
        time.sleep(0.5)
        done.append("before" if watch._lock_fd is not None else "too late")

    watch = SleepWatch(before, lambda: done.append("after"))
    watch.start()
    try:
        wait_for(lambda: watch._lock_fd is not None, 5)
        for _ in range(2):
            logind.sleeps(True)
            wait_for(lambda: watch._lock_fd is None, 5)
            assert done[-1] == "before", "the lock delays the sleep until all is done"
            logind.sleeps(False)
            wait_for(lambda: done[-1] == "after" and watch._lock_fd is not None, 5)
        assert done == ["before", "after"] * 2
    finally:
        start_s = time.monotonic()
        watch.close()
        assert time.monotonic() - start_s < 2 * pace()
        assert not watch._thread.is_alive()


def test_without_logind_nothing_happens(tmp_path, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    watch = SleepWatch(lambda: None, lambda: None)
    watch.start()
    time.sleep(0.3)
    assert watch._thread.is_alive()
    watch.close()
    assert not watch._thread.is_alive()


def test_a_bus_that_is_lost_ends_nothing(logind):
    watch = SleepWatch(lambda: None, lambda: None)
    watch.start()
    wait_for(lambda: watch._lock_fd is not None, 5)
    logind.end()
    wait_for(lambda: watch._lock_fd is None, 5)
    assert watch._thread.is_alive()
    watch.close()
    assert not watch._thread.is_alive()
