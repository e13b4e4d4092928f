"""Who may talk to the daemon: its own user and root. Other users are real ones here: processes with another uid."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.control.client import Client
from assistant.control.transport import Peer
from assistant.control.unix import is_trusted
from tests.assistant.control_daemon import ROOT, running

NOBODY, DAEMON = 65534, 1
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
AS_UID = """
import json, os, socket, sys
from pathlib import Path
import filelock, platformdirs, psutil
from assistant.control.client import Client
from assistant.control.errors import *
from tests.assistant.control_daemon import FakeDaemon, Raw, Running
uid, directory = int(sys.argv[1]), Path(sys.argv[2])
os.setgroups([]); os.setgid(uid); os.setuid(uid)
"""


def start_as(uid: int, directory: Path, code: str) -> subprocess.Popen[str]:
    """Run code in a process of another user; what it needs is imported while it still is root."""
    command = [sys.executable, "-c", AS_UID + code, str(uid), os.fspath(directory)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run_as(uid: int, directory: Path, code: str) -> str:
    child = start_as(uid, directory, code)
    said, _ = child.communicate(timeout=30)
    assert child.returncode == 0
    return said.strip()


@pytest.mark.parametrize(
    ("peer_uid", "our_uid", "trusted"), [(1000, 1000, True), (0, 1000, True), (1001, 1000, False), (1000, 0, False)]
)
def test_whom_we_talk_to(peer_uid, our_uid, trusted):
    assert is_trusted(Peer(peer_uid, 1), our_uid) == trusted
    assert is_trusted(Peer(None, None), our_uid)


@needs_root
def test_another_user_cannot_even_reach_the_socket(directory):
    with running(directory):
        code = "try:\n    Client.connect(directory)\nexcept RuntimeDirError as error:\n    print(error)"
        assert "Permission denied" in run_as(NOBODY, directory, code)


LISTEN = "print(json.dumps(Raw(directory).hear_all()))"
SAY_STATUS = "raw = Raw(directory)\nraw.say('status')\nprint(json.dumps(raw.hear()))"


@needs_root
def test_another_user_is_refused_where_the_modes_would_let_it_in(directory):
    with running(directory) as daemon:
        directory.chmod(0o755)
        (directory / "control.sock").chmod(0o666)
        (refusal,) = json.loads(run_as(NOBODY, directory, LISTEN))
        assert refusal["code"] == "forbidden"
        assert f"uid {NOBODY}" in refusal["message"]
        assert daemon.server.facts()["dropped"] == {"forbidden": 1}
        assert json.loads(run_as(0, directory, SAY_STATUS))["facts"] == {"state": "ready"}


@needs_root
def test_a_user_s_daemon_serves_that_user_and_root_and_nobody_else(directory):
    """And a user who is lured to another user's socket notices."""
    (directory / "run").mkdir(mode=0o700)
    directory.chmod(0o755)
    os.chown(directory / "run", DAEMON, DAEMON)
    place = directory / "run"
    daemon = start_as(DAEMON, place, "running = Running(directory)\nprint('ready', flush=True)\nsys.stdin.readline()")
    try:
        assert daemon.stdout.readline() == "ready\n"
        place.chmod(0o755)
        (place / "control.sock").chmod(0o666)
        assert json.loads(run_as(DAEMON, place, SAY_STATUS))["facts"] == {"state": "ready"}
        with Client.connect(place) as client:
            assert client.request("status") == {"state": "ready"}
            assert client.daemon.uid == DAEMON
        (refusal,) = json.loads(run_as(NOBODY, place, LISTEN))
        assert refusal["code"] == "forbidden"
        lured = "try:\n    Client.connect(directory)\nexcept RuntimeDirError as error:\n    print(error)"
        assert f"uid {DAEMON} answers there, not our daemon" in run_as(NOBODY, place, lured)
    finally:
        daemon.kill()
        daemon.communicate()
