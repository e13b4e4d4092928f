"""`onlooker run`: the daemon in the foreground, under its supervisor."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.commands.common import add_config_option, overrides_of, settings_of
from assistant.runtime.console import write_if_read
from assistant.runtime.folders import absolute

if TYPE_CHECKING:
    from assistant.config.settings import Settings

OVERRIDES = {"model": "model.name", "device": "model.device", "fps": "stream.fps"}

SOURCE_VARIABLE = "ONLOOKER_CAPTURE__SOURCE"


def add_parser(commands) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "run",
        help="watch a camera without end, and answer `onlooker ask`",
        description="The daemon, in the foreground: watches one source until it is stopped, speaks up by itself, and "
        "answers. Other commands talk to it: status, ask, pause, resume, mute, unmute, stop.",
    )
    add_options(parser)
    parser.add_argument(
        "--log", metavar="FILE", type=absolute, help="write the log there, at most 20 MB, not to stderr"
    )
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to watch and with what: for `run`, and for `start`, which hands them on."""
    parser.add_argument(
        "source", nargs="?", metavar="SOURCE", help="camera, address or file (capture.source); a file is repeated"
    )
    parser.add_argument("--model", metavar="NAME", help="checkpoint (model.name)")
    parser.add_argument("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N (model.device)")
    parser.add_argument("--fps", metavar="N", help="frames looked at a second (stream.fps)")
    parser.add_argument("--no-say", action="store_true", help="do not speak")
    add_config_option(parser)


def run(args: argparse.Namespace) -> int:
    """Watch until `onlooker stop`, Ctrl-C or SIGTERM. Raises what ends it otherwise."""
    from assistant.daemon.supervisor import Supervisor, find_link

    link = find_link()
    if link is not None:
        from assistant.daemon.process import run_daemon

        run_daemon(lambda: _read(args), link, log_path=args.log, is_silent=args.no_say)
        return 0
    from assistant.capture.leftovers import sweep

    sweep()
    return Supervisor(*run_command(args, args.log), lambda text: _note(args.log, text)).run()


def run_command(args: argparse.Namespace, log_path: Path | None) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of a `run` with the same options in another process.

    The source is in the environment: an address may hold a password, and a command line is everybody's to read. What
    is relative counts from the folder of this process, which the environment names, too (`assistant.runtime.folders`).
    """
    command = [sys.executable, "-P", "-m", "assistant", "run", *([f"--log={log_path}"] if log_path else [])]
    command += [f"--{name}={value}" for name in (*OVERRIDES, "config") if (value := getattr(args, name)) is not None]
    command += ["--no-say"] if args.no_say else []
    return command, {**os.environ, **({SOURCE_VARIABLE: args.source} if args.source else {})}


def _note(log_path: Path | None, text: str) -> None:
    """A line for the log, from the supervisor; the daemon does not run."""
    line = f"{time.strftime('%Y-%m-%d %H:%M:%S')},000 supervisor onlooker.supervisor: {text}"
    if log_path is None:
        with contextlib.suppress(OSError):
            write_if_read(sys.stderr, line + "\n")
        return
    with contextlib.suppress(OSError), log_path.open("a", encoding="utf-8") as file:
        print(line, file=file)


def _read(args: argparse.Namespace) -> Settings:
    """The configuration in effect for this command line. Raises ConfigError."""
    overrides = overrides_of(args, OVERRIDES)
    if args.source:
        overrides["capture.source"] = ("SOURCE", args.source)
    return settings_of(args, overrides)
