"""`onlooker log`: what was said and asked, from the journal's file; the daemon need not run."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
import time

from assistant.commands.common import journal_path
from assistant.errors import UsageError

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FORMATS = ("text", "json", "jsonl", "srt", "markdown")


def add_parser(commands) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "log",
        help="what was said and asked",
        description="Prints the journal, which `onlooker run` keeps if privacy.journal is on.",
    )
    parser.add_argument("--since", metavar="AGE", type=_age_s, help="such as 30m, 2h or 3d; default: everything")
    parser.add_argument("--search", metavar="WORDS", default="", help="only lines with all of these words")
    parser.add_argument("--limit", metavar="N", type=int, default=200, help="the newest so many (200)")
    parser.add_argument(
        "--format", choices=FORMATS, default="text", help="jsonl is what `python -m train prepare` reads"
    )
    parser.set_defaults(run=run)


def _age_s(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number and s, m, h or d, such as 2h")
    return float(match[1]) * UNITS_S[match[2]]


def run(args: argparse.Namespace) -> int:
    """Print the lines. Raises JournalMissing and other JournalErrors."""
    from assistant.journal.export import write_jsonl, write_markdown, write_srt
    from assistant.journal.reading import entries

    if args.limit < 1:
        raise UsageError(f"--limit {args.limit}: must be at least 1")
    since_unix_s = None if args.since is None else time.time() - args.since
    newest = entries(journal_path(), since_unix_s=since_unix_s, search=args.search, limit=args.limit, newest_first=True)
    found = newest[::-1]
    match args.format:
        case "json":
            print(json.dumps([dataclasses.asdict(entry) for entry in found]))
        case "jsonl":
            write_jsonl(found, sys.stdout)
        case "srt":
            write_srt(found, sys.stdout)
        case "markdown":
            write_markdown(found, sys.stdout)
        case _:
            for entry in found:
                at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at_unix_s))
                print(f"{at}  {'? ' if entry.kind == 'query' else ''}{entry.text}")
    return 0
