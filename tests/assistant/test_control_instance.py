"""One daemon a user, behind a door that only this user and root can open."""

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from assistant.control.client import Client
from assistant.control.errors import AlreadyRunning, RuntimeDirError
from assistant.control.instance import Instance, claims_dir, runtime_dir
from assistant.control.unix import UnixTransport
from tests.assistant.control_daemon import ROOT, Raw, process, running
from tests.pace import pace

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def test_the_runtime_directory_is_named_by_the_environment_or_the_system(tmp_path):
    assert runtime_dir({"ONLOOKER_RUNTIME": os.fspath(tmp_path)}) == tmp_path
    assert runtime_dir({"ONLOOKER_RUNTIME": "somewhere"}) == Path.cwd() / "somewhere"
    assert runtime_dir({"ONLOOKER_RUNTIME": ""}) == runtime_dir({})
    assert runtime_dir({}).name == "onlooker"


def test_the_directory_comes_into_being_private(directory, monkeypatch):
    monkeypatch.setenv("ONLOOKER_RUNTIME", os.fspath(directory / "a" / "b"))
    old = os.umask(0)
    try:
        with Instance.claim() as instance:
            transport = UnixTransport.listen(instance)
            modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in directory.rglob("*")}
            assert modes == {"a": 0o700, "b": 0o700, "control.sock": 0o600}
            claims = claims_dir(instance.directory)
            modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in (claims, *claims.iterdir())}
            assert modes == {claims.name: 0o700, "onlooker.lock": 0o600, "onlooker.pid": 0o600}
            transport.close()
    finally:
        os.umask(old)


def test_the_socket_is_private_from_its_first_moment(directory):
    """Looked at all the time while it is made again and again; 0600 is all that is ever seen."""
    seen, stop = set(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            with contextlib.suppress(FileNotFoundError):
                seen.add(stat.S_IMODE(os.lstat(directory / "control.sock").st_mode))

    looker = threading.Thread(target=look)
    old = os.umask(0)
    try:
        with Instance.claim(directory) as instance:
            looker.start()
            until_s, num_made = time.monotonic() + 10 * pace(), 0
            while num_made < 300 or (not seen and time.monotonic() < until_s):
                UnixTransport.listen(instance).close()
                num_made += 1
    finally:
        os.umask(old)
        stop.set()
        looker.join(5)
    assert seen == {0o600}


def test_a_second_start_says_which_pid_runs(directory):
    with Instance.claim(directory) as instance:
        with pytest.raises(AlreadyRunning, match=f"with pid {os.getpid()} .*onlooker stop") as refused:
            Instance.claim(directory)
        assert refused.value.pid == os.getpid()
        assert refused.value.exit_code == 2
        assert instance.is_held
    assert not (directory / "onlooker.pid").exists()
    with Instance.claim(directory):
        pass
    instance.release()


def test_a_second_process_says_which_pid_runs_and_changes_nothing(directory):
    with process(directory) as daemon:
        with pytest.raises(AlreadyRunning, match=f"with pid {daemon.pid} "):
            Instance.claim(directory)
        with Client.connect(directory) as client:
            assert client.request("status") == {"state": "ready"}
            assert client.daemon.pid == daemon.pid


def test_of_many_starts_at_once_one_wins(directory):
    code = """
import sys, time
from pathlib import Path
from assistant.control.errors import AlreadyRunning
from assistant.control.instance import Instance
sys.stdin.readline()
try:
    instance = Instance.claim(Path(sys.argv[1]))
    print("won", flush=True)
    sys.stdin.readline()
except AlreadyRunning as error:
    print("lost", flush=True)
"""
    command = [sys.executable, "-c", code, os.fspath(directory)]
    children = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.stdout.readline() for child in children]
    for child in children:
        child.communicate("end\n", timeout=30)
    assert sorted(said) == ["lost\n"] * 3 + ["won\n"]


def test_a_new_start_works_at_once_after_kill_9(directory):
    with process(directory) as daemon:
        daemon.send_signal(signal.SIGKILL)
        daemon.wait(10)
        assert (directory / "control.sock").exists(), "the dead one left its socket"
        assert (claims_dir(directory) / "onlooker.pid").read_text() == f"{daemon.pid}\n"
        start_s = time.monotonic()
        with running(directory), Client.connect(directory) as client:
            assert client.request("status") == {"state": "ready"}
            assert time.monotonic() - start_s < 1 * pace()
            with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()} "):
                Instance.claim(directory)


def test_the_pid_of_a_dead_one_is_not_told(directory):
    with Instance.claim(directory):
        child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
        (claims_dir(directory) / "onlooker.pid").write_bytes(child.stdout)
        with pytest.raises(AlreadyRunning, match="just starting") as refused:
            Instance.claim(directory)
        assert refused.value.pid is None


def test_only_the_holder_of_the_lock_makes_the_socket(directory):
    with Instance.claim(directory) as instance:
        pass
    with pytest.raises(AssertionError):
        UnixTransport.listen(instance)


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777, 0o1777])
def test_a_directory_that_others_may_enter_is_refused(directory, mode):
    directory.chmod(mode)
    with pytest.raises(RuntimeDirError, match=f"chmod 700 {directory}") as refused:
        Instance.claim(directory)
    assert refused.value.exit_code == 3
    assert list(directory.iterdir()) == []


def test_a_symlink_or_a_file_is_no_runtime_directory(directory):
    (directory / "real").mkdir(mode=0o700)
    (directory / "link").symlink_to(directory / "real")
    (directory / "file").touch()
    with pytest.raises(RuntimeDirError, match="is a symlink"):
        Instance.claim(directory / "link")
    with pytest.raises(RuntimeDirError, match="not a directory"):
        Instance.claim(directory / "file")
    with pytest.raises(RuntimeDirError, match="cannot be made: Not a directory"):
        Instance.claim(directory / "file" / "below")
    assert list((directory / "real").iterdir()) == []


def test_a_directory_that_everybody_can_replace_is_refused(directory):
    (directory / "open").mkdir()
    (directory / "open").chmod(0o777)
    with pytest.raises(RuntimeDirError, match=f"lies under {directory}/open, which everybody can change"):
        Instance.claim(directory / "open" / "mine")
    (directory / "open").chmod(0o1777)
    with Instance.claim(directory / "open" / "mine"):
        pass


@needs_root
def test_another_user_s_directory_is_refused(directory):
    (directory / "theirs").mkdir(mode=0o700)
    os.chown(directory / "theirs", NOBODY, NOBODY)
    with pytest.raises(RuntimeDirError, match=f"belongs to uid {NOBODY}, not to us"):
        Instance.claim(directory / "theirs")
    (directory / "shared").mkdir()
    (directory / "shared").chmod(0o1777)
    (directory / "shared" / "theirs").mkdir(mode=0o755)
    os.chown(directory / "shared" / "theirs", NOBODY, NOBODY)
    with pytest.raises(RuntimeDirError, match=f"lies under .*theirs, which is uid {NOBODY}'s"):
        Instance.claim(directory / "shared" / "theirs" / "mine")


@pytest.mark.parametrize("name", ["onlooker.lock", "onlooker.pid"])
def test_a_symlink_in_place_of_a_file_is_not_followed(directory, name):
    (directory / "victim").write_text("precious")
    (claims_dir(directory) / name).symlink_to(directory / "victim")
    with pytest.raises(RuntimeDirError, match=f"{name}: cannot be .*; remove it"):
        Instance.claim(directory)
    assert (directory / "victim").read_text() == "precious"
    (claims_dir(directory) / name).unlink()
    with Instance.claim(directory):
        pass


@pytest.mark.parametrize("kind", ["symlink to a socket", "dangling symlink", "file", "directory", "fifo"])
def test_what_lies_in_the_socket_s_place_is_refused_and_left_alone(directory, kind):
    path = directory / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(os.fspath(directory / "other.sock"))
        if kind == "file":
            path.write_text("precious")
        elif kind == "directory":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            path.symlink_to(directory / ("other.sock" if kind == "symlink to a socket" else "nowhere"))
        before = path.lstat()
        with Instance.claim(directory) as instance:
            with pytest.raises(RuntimeDirError, match=f"rm {path}") as refused:
                UnixTransport.listen(instance)
            assert ("is a symlink" if "symlink" in kind else "is not a socket") in str(refused.value)
        assert path.lstat() == before
        assert (directory / "other.sock").exists()
        assert not (directory / "nowhere").exists()


@needs_root
def test_a_foreign_socket_is_refused_and_left_alone(directory):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(os.fspath(directory / "control.sock"))
        os.chown(directory / "control.sock", NOBODY, NOBODY)
        with Instance.claim(directory) as instance, pytest.raises(RuntimeDirError, match=f"socket of uid {NOBODY}"):
            UnixTransport.listen(instance)
        assert (directory / "control.sock").exists()


def test_a_socket_that_answers_is_never_removed(directory):
    """The lock was free, but somebody is there all the same."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(os.fspath(directory / "control.sock"))
        other.listen(0)
        with Instance.claim(directory) as instance:
            with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()} "):
                UnixTransport.listen(instance)
            with pytest.raises(RuntimeDirError, match="something holds the socket"):  # its queue is full now
                UnixTransport.listen(instance)
        assert (directory / "control.sock").exists()


def test_closing_removes_our_socket_and_no_other(directory):
    with Instance.claim(directory) as instance:
        transport = UnixTransport.listen(instance)
        (directory / "control.sock").unlink()
        (directory / "control.sock").write_text("somebody else's")
        transport.close()
        transport.close()
        assert (directory / "control.sock").exists()


def test_a_path_that_is_too_long_is_named(directory):
    with pytest.raises(RuntimeDirError, match=r"too long for a socket .*; set \$ONLOOKER_RUNTIME"):
        Instance.claim(directory / ("x" * 100))


def test_a_directory_that_vanishes_frees_nothing(directory):
    """As at a log-out: the daemon still runs, so that no second one may, and it notices that nobody gets to it."""
    with Instance.claim(directory) as instance:
        transport = UnixTransport.listen(instance)
        assert transport.is_in_place
        shutil.rmtree(directory)
        assert not transport.is_in_place
        with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()} "):
            Instance.claim(directory)
        transport.close()
    with Instance.claim(directory):
        pass


def test_without_a_place_for_the_user_s_own_data_the_lock_is_in_the_runtime_directory(directory, monkeypatch):
    monkeypatch.setenv("HOME", "/dev/null/nowhere")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    with Instance.claim(directory), pytest.raises(AlreadyRunning):
        Instance.claim(directory)
    assert claims_dir(directory) == directory


def test_the_lock_outlives_what_is_forked_with_exec(directory):
    """A child process that was started while the lock was held does not hold it."""
    with Instance.claim(directory):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with Instance.claim(directory):
        pass
    child.communicate(b"\n", timeout=10)


def test_raw_clients_are_what_they_seem(directory):
    """The tools of these tests: a message is heard, an end is heard, and silence is no end."""
    with running(directory), Raw(directory) as raw:
        raw.say("status")
        assert raw.hear()["kind"] == "result"
        raw.socket.settimeout(0.05)
        with pytest.raises(TimeoutError):
            raw.hear()
