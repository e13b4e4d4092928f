"""Parts of the daemon fail, hang or find no room: it says so and goes on where it can; systemd hears how it is."""

import multiprocessing
import socket
import threading

import pytest
import torch

from assistant.capture.source import parse_source
from assistant.config.reload import ConfigFile
from assistant.config.settings import load_settings
from assistant.daemon import watching
from assistant.daemon.watching import MAX_RESTARTS
from assistant.errors import WorkerFailed
from assistant.journal.thread import Forget, JournalThread
from assistant.machine.systemd import Notifier
from assistant.runtime.faults import ProcessSpoilt
from tests.assistant.asker import KeepingAsker
from tests.assistant.camera import wait_for
from tests.assistant.watching_service import KEEPS, Breaking, Running, running
from tests.pace import pace


def test_a_part_nobody_has_heard_of_is_told_all_the_same(camera, model):
    with running(camera, model) as daemon:
        daemon.service.tell("lights", "failed", "they are out")
        wait_for(lambda: "lights" in daemon.service.facts()["parts"], 5)
        assert daemon.state("lights") == "failed"
    assert daemon.failure is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_journal_whose_thread_died_is_told_of_and_goes_on(camera, model, tmp_path):
    def die(_: object) -> None:
        raise SystemExit

    with running(camera, model, journal=JournalThread(tmp_path / "journal.db"), config=KEEPS) as daemon:
        journal = daemon.service.journal
        assert journal is not None
        wait_for(lambda: journal.is_on, 20)
        journal.forget(Forget(die, everything=True))
        wait_for(lambda: "started again" in daemon.service.facts()["parts"]["journal"]["detail"], 20)
        assert daemon.state("journal") == "on"
        assert not journal.has_died


def test_a_control_socket_that_fails_ends_the_run(camera, model):
    failure: list[WorkerFailed] = []

    def check() -> None:
        if failure:
            raise failure[0]

    with running(camera, model, check=check) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 2, 30)
        failure.append(WorkerFailed("the control thread failed"))
        daemon.thread.join(6 * pace())
        assert daemon.failure is failure[0]


def test_a_mind_that_fails_is_started_again_and_questions_are_told(camera, model):
    opened = []

    def open_stream(_):
        opened.append(model.open_stream(window_tokens=1024, max_reply_tokens=8))
        return Breaking(opened[-1], fails_at=5 if len(opened) == 1 else 0)

    with running(camera, model, open_stream) as daemon:
        wait_for(lambda: len(opened) == 2, 30)
        wait_for(lambda: daemon.state("mind") == "ready", 30)
        answer = daemon.ask("Still there?")
        assert answer.is_over.wait(20)
        assert answer.text
        assert daemon.service.facts()["restarts"] == 1
    failures = [facts for kind, facts in daemon.published if kind == "status" and facts["state"] == "failed"]
    assert len(failures) == 1
    assert "upset" in failures[0]["detail"]


def test_a_mind_that_fails_again_and_again_rests_and_the_rest_goes_on(camera, model, monkeypatch):
    monkeypatch.setattr(watching, "REST_S", 3.0)
    opened = []

    def open_stream(_):
        opened.append(model.open_stream(window_tokens=1024, max_reply_tokens=8))
        return Breaking(opened[-1], fails_at=1 if len(opened) <= MAX_RESTARTS + 1 else 0)

    with running(camera, model, open_stream) as daemon:
        wait_for(lambda: daemon.state("capture") == "closed", 90)
        assert not multiprocessing.active_children()
        assert daemon.state("mind") == "failed"
        assert "did not help" in daemon.service.facts()["parts"]["mind"]["detail"]
        question = daemon.ask("Still there?")
        assert question.is_over.wait(1)
        assert "nothing is looked at just now: the mind thread failed" in question.failure
        assert len(opened) == MAX_RESTARTS + 1
        wait_for(lambda: daemon.state("mind") == "ready", 20)
        assert daemon.ask("Still there?").is_over.wait(20)
    assert daemon.failure is None


class Hanging(Breaking):
    """A stream that never comes back from its nth look, as a stuck kernel would not."""

    hung, released = threading.Event(), threading.Event()

    def observe_many(self, frames, stops_at):
        self._left -= 1
        if self._left == 0:
            self.hung.set()
            self.released.wait(30)
        return self._stream.observe_many(frames, stops_at)


def test_a_mind_that_hangs_ends_the_run(camera, model, monkeypatch):
    monkeypatch.setattr(watching, "HANG_S", 2.0)

    def open_stream(_):
        return Hanging(model.open_stream(window_tokens=1024, max_reply_tokens=8), fails_at=4)

    with running(camera, model, open_stream) as daemon:
        assert Hanging.hung.wait(30)
        question = daemon.ask("Still there?")
        assert question.is_over.wait(15)
        assert "was not answered" in question.failure
        Hanging.released.set()
        daemon.thread.join(10)
    assert "the mind hangs" in str(daemon.failure)


def test_a_gpu_that_is_full_is_asked_for_less(camera, model, tmp_path):
    windows, path = [], tmp_path / "config.toml"

    def write(text: str) -> None:
        path.write_text(f'[capture]\nsource = "{camera.address}"\n[stream]\nfps = 10\n{text}')

    def reload(daemon: Running) -> None:
        heard = KeepingAsker()
        daemon.requests.reload(heard)
        assert heard.is_over.wait(10)
        assert not heard.failure

    def open_stream(section):
        windows.append(section.window_tokens)
        stream = model.open_stream(window_tokens=section.window_tokens, max_reply_tokens=8)
        full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return Breaking(stream, 3 if section.window_tokens > 1024 else 0, full)

    write("window_tokens = 4096\n")
    settings = load_settings(path, environ={})
    file = ConfigFile(lambda: load_settings(path, environ={}), settings, path)
    with running(camera, model, open_stream, config=settings.config, config_file=file) as daemon:
        wait_for(lambda: daemon.service.facts()["restarts"] == 2, 60)
        wait_for(lambda: daemon.state("mind") == "ready", 30)
        assert windows[0] == 4096
        assert windows[-1] == 1024
        assert daemon.ask("Still there?").is_over.wait(20)
        num_opened = len(windows)
        for text in ("silence_threshold = 0.5\n", "[policy]\nmin_gap_s = 9\n", "[voice]\nvolume = 0.5\n"):
            write(f"window_tokens = 4096\n{text}")
            reload(daemon)
        facts = daemon.service.facts()
        assert (facts["window_tokens"], len(windows)) == (1024, num_opened), "none of these takes the stream down"
        assert "no room" in facts["parts"]["mind"]["detail"]
        write("window_tokens = 4096\nmax_reply_tokens = 20\n")
        reload(daemon)
        assert windows[num_opened:] == [1024], "no more is asked for than there was room for"
        write("window_tokens = 1000\nmax_reply_tokens = 20\n")
        reload(daemon)
        assert windows[-1] == 1000
        assert daemon.service.facts()["parts"]["mind"]["detail"] == ""
    told = [facts["detail"] for kind, facts in daemon.published if kind == "status" and facts["state"] == "failed"]
    assert ["2048 tokens" in told[0], "1024 tokens" in told[1]] == [True, True]


def test_a_gpu_that_is_lost_needs_a_new_process(camera, model, tmp_path):
    def open_stream(_):
        stream = model.open_stream(window_tokens=1024, max_reply_tokens=8)
        return Breaking(stream, 4, RuntimeError("CUDA error: unspecified launch failure"))

    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "60000000"})
        with running(camera, model, open_stream, notifier=notifier) as daemon:
            wait_for(lambda: daemon.service.facts()["frames"] > 1, 30)
            question = daemon.ask("Still there?")
            daemon.thread.join(20)
            assert question.is_over.wait(1)
        heard = [systemd.recv(1000).decode()]
        while "WATCHDOG_USEC=300000000" not in heard[-1]:  # else the model could not be opened again in time
            heard.append(systemd.recv(1000).decode())
    assert isinstance(daemon.failure, ProcessSpoilt)
    assert "STOPPING=1" not in heard, "systemd would kill what goes on"


def test_systemd_hears_that_it_is_ready_alive_and_stopping(camera, model, tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(20)
        notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "600000"})
        with running(camera, model, notifier=notifier):
            heard = [systemd.recv(1000).decode() for _ in range(6)]
        while heard[-1] != "STOPPING=1":
            heard.append(systemd.recv(1000).decode())
    assert [message for message in heard if message.startswith("READY=1")] == [
        f"READY=1\nSTATUS=watching {parse_source(camera.address).shown}\nWATCHDOG_USEC=600000"
    ]
    assert heard.count("WATCHDOG=1") >= 4
