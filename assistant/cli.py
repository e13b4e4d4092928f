"""The command line: parses, calls one command, and turns every error into one message and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from assistant.commands import bench, config, devices, doctor, log, model, remote, run, source, start, watch
from assistant.commands.common import program_version
from assistant.folders import find_home, hold_standard_streams, leave
from assistant.text import printable
from model.errors import OnlookerError

INTERRUPTED = 130
FAULTS_BYTES = 1 << 20
COMMANDS = (watch, run, start, remote, log, source, bench, model, config, devices, doctor)


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 done, 1 our fault, 2 wrong command or config, 3 something missing.

    argv: for a command within another program; None: this process is the command.
    """
    try:
        if argv is None:
            hold_standard_streams()
        args = make_parser().parse_args(argv)
        if argv is None:
            leave()
            if about_home := find_home():
                _say(about_home)
        code = args.run(args)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        _silence(sys.stdout)
        return 0
    except OnlookerError as error:
        if error.exit_code == 1 and error.__cause__ is not None:
            _say(f"{error}; {_keep(error.__cause__)}")
        else:
            _say(str(error))
        return error.exit_code
    except OSError as error:
        if error.errno == errno.ENOSPC and not error.filename:  # /dev/full, or a file on a full disk
            _silence(sys.stdout)
            _say(f"the output cannot be written: {error.strerror}")
            return 2
        _say(f"a fault of ours: {type(error).__name__}: {error}; {_keep(error)}")
        return 1
    except Exception as error:
        _say(f"a fault of ours: {type(error).__name__}: {error}; {_keep(error)}")
        return 1


def _say(text: str) -> None:
    """On stderr, a line each, whatever characters are in it."""
    for line in text.splitlines() or [""]:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(printable(f"onlooker: {line}", sys.stderr) + "\n")
            sys.stderr.flush()


def _keep(error: BaseException) -> str:
    """Where it happened, for whoever mends it, in a file of the user's own; gives the words that say which."""
    text = "".join(traceback.format_exception(error))
    for folder in _log_folders():
        path = folder / "faults.log"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            is_large = path.exists() and path.stat().st_size > FAULTS_BYTES
            with open(
                path, "w" if is_large else "a", encoding="utf-8", errors="backslashreplace", opener=_private
            ) as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(sys.argv[:2])}\n{text}\n")
        except OSError:
            continue
        return f"the details are in {path}"
    return "the details could not be written anywhere"


def _log_folders() -> Iterator[Path]:
    with contextlib.suppress(Exception):  # no home, no entry in the list of users
        from platformdirs import user_log_path

        yield user_log_path("onlooker")
    yield Path(tempfile.gettempdir()) / f"onlooker-{os.getuid() if hasattr(os, 'getuid') else 'log'}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)


def _silence(stream: TextIO) -> None:
    """What the stream still holds goes nowhere, so that nothing is said of it when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def make_parser() -> argparse.ArgumentParser:
    """The whole command line. Every command module adds its own part and sets `run`."""
    parser = argparse.ArgumentParser(
        prog="onlooker",
        description="Watches a video or a camera, stays silent while nothing needs saying, and speaks up when "
        "something does.",
        epilog="Exit codes: 0 done, 1 a fault of ours, 2 the command or the configuration is wrong, "
        "3 something is missing.",
    )
    parser.add_argument("--version", action="version", version=f"onlooker {program_version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
