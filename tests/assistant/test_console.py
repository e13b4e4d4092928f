"""A log whose reader has stopped, and a Ctrl-C at moments at which Python prints a traceback."""

import logging
import os
import pty
import signal
import subprocess
import sys
import termios
import threading

import pytest

from assistant.runtime.console import ConsoleHandler, write_if_read

LINE = "x" * 1000
MANY = 300  # more than a pipe holds


def log_many(stream) -> tuple[logging.Logger, threading.Thread]:
    logger = logging.Logger("test")
    logger.addHandler(ConsoleHandler(stream))
    writer = threading.Thread(target=lambda: [logger.info("%s", LINE) for _ in range(MANY)], daemon=True)
    writer.start()
    return logger, writer


def test_a_log_that_nobody_reads_stops_nobody_and_says_what_is_missing():
    read_fd, write_fd = os.pipe()
    with os.fdopen(write_fd, "w") as stream, os.fdopen(read_fd, "rb", buffering=0) as reader:
        logger, writer = log_many(stream)
        writer.join(60)
        assert not writer.is_alive()
        held = reader.read(1 << 20).decode()
        num_shown = held.count(LINE)
        assert 0 < num_shown < MANY
        logger.info("the end")
        assert reader.read(1 << 20).decode() == f"\n({MANY - num_shown} lines were not read in time)\nthe end\n"


@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_terminal_that_is_stopped_or_not_read_stops_nobody(is_stopped):
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        if is_stopped:
            termios.tcflow(slave, termios.TCOOFF)  # as Ctrl-S does
        try:
            _, writer = log_many(stream)
            writer.join(60)
            assert not writer.is_alive()
        finally:
            termios.tcflow(slave, termios.TCOON)
            os.close(master)  # which lets a writer go that waits


def test_a_log_call_that_is_wrong_ends_nobody(capfd, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    read_fd, write_fd = os.pipe()
    with os.fdopen(write_fd, "w") as stream, os.fdopen(read_fd, "rb", buffering=0) as reader:
        handler = ConsoleHandler(stream)
        handler.emit(logging.makeLogRecord({"msg": "%d", "args": ("x",)}))
        handler.emit(logging.makeLogRecord({"msg": "right"}))
        assert reader.read(100) == b"right\n"


def test_a_log_whose_reader_has_gone_is_no_error():
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    with os.fdopen(write_fd, "w") as stream:
        handler = ConsoleHandler(stream)
        handler.emit(logging.makeLogRecord({"msg": "a"}))
        with pytest.raises(BrokenPipeError):
            write_if_read(stream, "b\n")


INTERRUPTED_WITHIN = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
sys.argv = ["onlooker", "config", "path"]
from assistant.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("name", ["assistant.cli", "assistant.commands.bench", "argparse"])
def test_ctrl_c_among_the_imports_ends_without_a_word(name):
    code = INTERRUPTED_WITHIN.format(name=name)
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (process.returncode, process.stdout, process.stderr) == (-signal.SIGINT, "", "")


def test_ctrl_c_within_a_command_is_an_exit_code():
    code = INTERRUPTED_WITHIN.format(name="assistant.config.settings")
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (process.returncode, process.stdout, process.stderr) == (130, "", "")
