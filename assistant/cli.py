"""The command line: parses, calls one command, and turns every error into one message and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import re
import sys
from typing import NoReturn, TextIO

from assistant.commands import (
    bench,
    config,
    devices,
    doctor,
    log,
    model,
    remote,
    run,
    setup,
    source,
    start,
    watch,
    watch_for,
)
from assistant.config.addresses import shown_name, without_secrets
from assistant.runtime.folders import find_home, hold_standard_streams, leave
from assistant.runtime.text import printable
from assistant.runtime.version import program_version
from model.errors import OnlookerError
from model.fault_log import keep, told

INTERRUPTED = 130
_LIKE_AN_ADDRESS = re.compile(r"://|^[^\s@]+@[^\s@]+$")
COMMANDS = (setup, watch, watch_for, run, start, remote, log, source, bench, model, config, devices, doctor)


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
            _say(f"{error}; {keep(error.__cause__)}")
        else:
            _say(str(error))
        return error.exit_code
    except OSError as error:
        if error.errno == errno.ENOSPC and not error.filename:  # /dev/full, or a file on a full disk
            _silence(sys.stdout)
            _say(f"the output cannot be written: {error.strerror}")
            return 2
        _say(told(error))
        return 1
    except Exception as error:
        _say(told(error))
        return 1


def _say(text: str) -> None:
    """On stderr, a line each, whatever characters are in it."""
    for line in hidden(text).splitlines() or [""]:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(printable(f"onlooker: {line}", sys.stderr) + "\n")
            sys.stderr.flush()


def _silence(stream: TextIO) -> None:
    """What the stream still holds goes nowhere, so that nothing is said of it when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class _Parser(argparse.ArgumentParser):
    """What was typed in a wrong place may be an address with a password."""

    def error(self, message: str) -> NoReturn:
        super().error(hidden(message))


def hidden(text: str) -> str:
    """A message without the passwords of addresses that stand on the command line, however it quotes them."""
    words = {part for word in sys.argv[1:] for part in (word, word.partition("=")[2]) if _LIKE_AN_ADDRESS.search(part)}
    for word in sorted(words, key=len, reverse=True):
        for form in (word, repr(word)[1:-1], printable(word)):
            text = text.replace(form, shown_name(word))
    return without_secrets(text)


def make_parser() -> argparse.ArgumentParser:
    """The whole command line. Every command module adds its own part and sets `run`."""
    parser = _Parser(
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


if __name__ == "__main__":  # what a supervisor of before an upgrade starts
    sys.exit(main())
