"""The command line: parses, calls one command, and turns every error into one message and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
import traceback

from assistant.commands import bench, config, devices, doctor, log, model, remote, run, start, watch
from assistant.commands.common import program_version
from model.errors import OnlookerError

INTERRUPTED = 130
COMMANDS = (watch, run, start, remote, log, bench, model, config, devices, doctor)


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 done, 1 our fault, 2 wrong command or config, 3 something missing."""
    parser = make_parser()
    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OnlookerError as error:
        if error.exit_code == 1 and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        for line in str(error).splitlines():
            print(f"onlooker: {line}", file=sys.stderr)
        return error.exit_code


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
