"""The daemon's parent, over small children that end in every way: who is started again, and who is not."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from assistant.control.errors import RuntimeDirError
from assistant.control.instance import LOCK_NAME, RUNTIME_VARIABLE, claims_dir
from assistant.daemon import supervisor
from assistant.daemon.supervisor import EXIT_ANEW, MAX_CRASHES, Supervisor, find_link
from assistant.errors import WorkerFailed
from tests.assistant.camera import wait_for
from tests.pace import pace

CHILD = """
import os, signal, sys, time
from assistant.daemon.supervisor import find_link
link = find_link()
with open({log!r}, "a") as file:
    print(link.device_type or "-", file=file)
number = len(open({log!r}).readlines())
def up():
    link.say("ready cuda")
def die(name):
    os.kill(os.getpid(), getattr(signal, name))
    time.sleep(10)
{body}
"""


class Family:
    """A supervisor of children with that code. seen: the device types that they were told, one for each child."""

    def __init__(self, folder: Path, body: str):
        self._log = folder / "seen"
        self.notes: list[str] = []
        code = CHILD.format(log=str(self._log), body=body)
        self._supervisor = Supervisor([sys.executable, "-c", code], os.environ, self.notes.append)

    def run(self) -> int:
        return self._supervisor.run()

    @property
    def seen(self) -> list[str]:
        return self._log.read_text().split()


@pytest.fixture(autouse=True)
def paths(monkeypatch, directory):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv(RUNTIME_VARIABLE, str(directory))
    monkeypatch.setattr(supervisor, "DEVICE_RETRY_S", 0.1)
    monkeypatch.setattr(supervisor, "FIRST_DELAY_S", 0.01)


@pytest.fixture
def hang_ups():
    """A terminal's end is heard, also where the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_what_ends_by_itself_before_it_is_up_is_the_end(code, tmp_path):
    family = Family(tmp_path, f"sys.exit({code})")
    assert family.run() == code
    assert (family.seen, family.notes) == (["-"], [])


@pytest.mark.parametrize(
    ("how", "note"),
    [
        ('die("SIGKILL")', "was ended by SIGKILL"),
        ('die("SIGSEGV")', "was ended by SIGSEGV"),
        ("os.abort()", "was ended by SIGABRT"),
        (f"os._exit({EXIT_ANEW})", f"ended with code {EXIT_ANEW}"),
        ("sys.exit(1)", "ended with code 1"),
        ("sys.exit(3)", "something it needs is missing"),
    ],
)
def test_what_was_up_is_started_again_and_told_where_it_ran(how, note, tmp_path):
    family = Family(tmp_path, f"up()\nif number < 3: {how}\n")
    assert family.run() == 0
    assert family.seen == ["-", "cuda", "cuda"]
    assert len(family.notes) == 2
    assert all(note in text for text in family.notes)


def test_a_device_that_is_away_is_waited_for_longer_than_crashes_are_suffered(tmp_path):
    family = Family(tmp_path, f"if number == 1: up(); os.abort()\nif number < {MAX_CRASHES + 5}: sys.exit(3)\n")
    assert family.run() == 0
    assert len(family.seen) == MAX_CRASHES + 5


def test_crashes_again_and_again_are_an_error(tmp_path):
    family = Family(tmp_path, "os.abort()")
    with pytest.raises(WorkerFailed, match="SIGABRT, after 5 other crashes within 10 minutes"):
        family.run()
    assert len(family.seen) == MAX_CRASHES + 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_that_comes_as_the_daemon_ends_is_not_answered_by_the_next_one(number, tmp_path, hang_ups):
    family = Family(tmp_path, f"up()\nos.kill(os.getppid(), {int(number)})\nos._exit({EXIT_ANEW})")
    family.run()
    assert (family.seen, family.notes) == (["-"], [])


def test_signals_without_a_name_have_a_number(tmp_path):
    family = Family(tmp_path, "up()\nif number < 2: os.kill(os.getpid(), signal.SIGRTMIN + 3); time.sleep(10)\n")
    assert family.run() == 0
    assert family.notes == [f"the daemon was ended by {int(signal.SIGRTMIN) + 3}; it is started again"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_passed_on_and_nothing_is_started_again(number, tmp_path):
    family = Family(tmp_path, "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))\nup()\ntime.sleep(20)")

    def stop() -> None:
        while not (tmp_path / "seen").exists():
            threading.Event().wait(0.05)
        threading.Event().wait(0.3)
        os.kill(os.getpid(), number)

    threading.Thread(target=stop).start()
    before = signal.getsignal(number)
    assert family.run() == 7
    assert signal.getsignal(number) is before
    assert (family.seen, family.notes) == (["-"], [])


def test_without_a_parent_there_is_no_link():
    assert find_link() is None


def test_what_was_told_to_stop_is_not_started_again(tmp_path):
    family = Family(tmp_path, 'up()\nlink.say("stopping")\nsys.exit(1)')
    assert family.run() == 1
    assert (family.seen, family.notes) == (["-"], [])


def test_what_does_not_stop_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "STOP_TIMEOUT_S", 0.5)
    family = Family(tmp_path, 'signal.signal(signal.SIGTERM, signal.SIG_IGN)\nlink.say("stopping")\ntime.sleep(30)')
    start_s = time.monotonic()
    assert family.run() == 1
    assert time.monotonic() - start_s < 3 * pace()


def test_a_stop_between_two_children_is_a_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "DEVICE_RETRY_S", 30.0)
    family = Family(tmp_path, "if number == 1: up(); os.abort()\nsys.exit(3)")

    def stop() -> None:
        while len(family.notes) < 2:
            threading.Event().wait(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    assert family.run() == 0
    assert len(family.seen) == 2


def test_what_holds_the_pipe_open_holds_nothing_up(tmp_path):
    family = Family(tmp_path, 'os.set_inheritable(link.fd, True)\nos.system("sleep 20 &")\nup()')
    start_s = time.monotonic()
    assert family.run() == 0
    assert time.monotonic() - start_s < 5 * pace()


def test_a_program_that_cannot_be_started_is_a_crash(tmp_path):
    notes: list[str] = []
    with pytest.raises(WorkerFailed):
        Supervisor([str(tmp_path / "missing")], os.environ, notes.append).run()
    assert "cannot be started" in notes[0]
    assert "that is the end" in notes[-1]


def test_only_one_runs(tmp_path, directory):
    family = Family(tmp_path, "up()\ntime.sleep(3)")
    thread = threading.Thread(target=lambda: time.sleep(0.5) or second.append(subprocess.run(command, env=environ)))
    environ, second = dict(os.environ), []
    code = (
        "import os; from assistant.daemon.supervisor import Supervisor; Supervisor(['true'], os.environ, print).run()"
    )
    command = [sys.executable, "-c", f"import assistant.daemon.supervisor as s; {code}"]
    thread.start()
    assert family.run() == 0
    thread.join()
    assert second[0].returncode != 0


def test_a_daemon_that_is_just_being_started_can_be_stopped(tmp_path, directory):
    """The command line in full: its child waits for a model that never comes."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time\n"
        "if sys.argv[:1] == ['-m']:\n"
        "    from assistant.mind import opening\n"
        "    opening.open_model = lambda *_, **__: time.sleep(60)\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])}
    command = [sys.executable, "-m", "assistant"]
    assert subprocess.run([*command, "stop"], env=environ, check=False, capture_output=True).returncode == 3
    daemon = subprocess.Popen([*command, "run", "demo", "--no-say"], env=environ)
    try:
        wait_for(lambda: len(psutil.Process(daemon.pid).children()) == 1, 10)
        wait_for((claims_dir(directory) / LOCK_NAME).exists, 10)
        (child,) = psutil.Process(daemon.pid).children()
        assert (claims_dir(directory) / "supervisor.pid").exists()
        start_s = time.monotonic()
        assert subprocess.run([*command, "stop"], env=environ, check=False).returncode == 0
        daemon.wait(5)
        assert time.monotonic() - start_s < 5 * pace()
        assert not child.is_running()
        assert not (claims_dir(directory) / "supervisor.pid").exists()
    finally:
        daemon.kill()
        daemon.wait(10)


def test_a_directory_that_is_open_to_others_names_nobody_to_be_ended(directory):
    """Else whoever can write there could have any process of ours ended."""
    victim = subprocess.Popen(["sleep", "60"])
    try:
        (claims_dir(directory) / "supervisor.pid").write_text(f"{victim.pid}\n")
        with FileLock(claims_dir(directory) / "supervisor.lock"):
            directory.chmod(0o777)
            with pytest.raises(RuntimeDirError):
                supervisor.end_running(0.5)
            directory.chmod(0o700)
        assert not supervisor.end_running(0.5), "nobody holds the lock, so the number is an old one"
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()
