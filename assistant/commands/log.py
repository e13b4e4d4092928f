"""`onlooker log`: what was said and asked, from the journal's file; the daemon need not run."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.commands.common import confirms, span_s
from assistant.config.paths import journal_path
from assistant.errors import OutputError, UsageError
from assistant.runtime.folders import absolute
from assistant.runtime.text import printable
from model import outputs

if TYPE_CHECKING:
    from assistant.journal.reading import Entry

IDS_AT_ONCE = 2000
FORGET_TIMEOUT_S = 60.0
FORMATS = ("text", "json", "jsonl", "srt", "markdown")


def add_parser(commands) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "log",
        help="what was said and asked",
        description="Prints the journal, which `onlooker run` keeps if privacy.journal is on.",
    )
    parser.add_argument("--since", metavar="AGE", type=span_s, help="such as 30m, 2h or 3d; default: everything")
    parser.add_argument("--search", metavar="WORDS", default="", help="only lines with all of these words")
    parser.add_argument("--limit", metavar="N", type=int, default=200, help="the newest so many (200)")
    parser.add_argument(
        "--format", choices=FORMATS, default="text", help="jsonl is what `python -m train prepare` reads"
    )
    parser.add_argument(
        "--pictures", metavar="FOLDER", type=absolute, help="also write the lines' pictures there, ID.jpg"
    )
    parser.add_argument("--forget", action="store_true", help="delete these lines for good, all that --since names")
    parser.add_argument("--yes", action="store_true", help="do not ask first")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the lines. Raises JournalMissing and other JournalErrors."""
    from assistant.journal.export import UNSAID, write_jsonl, write_markdown, write_srt
    from assistant.journal.reading import entries

    if args.limit < 1:
        raise UsageError(f"--limit {args.limit}: must be at least 1")
    since_unix_s = None if args.since is None else time.time() - args.since
    if args.forget:
        found = entries(journal_path(), since_unix_s=since_unix_s, search=args.search)
        return forget([entry.id for entry in found], is_asked=not args.yes)
    newest = entries(journal_path(), since_unix_s=since_unix_s, search=args.search, limit=args.limit, newest_first=True)
    found = newest[::-1]
    if args.pictures:
        write_pictures(found, args.pictures)
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
                mark = {"query": "? ", "unsaid": f"({UNSAID}) "}.get(entry.kind, "")
                print(f"{at}  {mark}{printable(entry.text)}")
    return 0


def write_pictures(found: list[Entry], folder: Path) -> None:
    """Raises OutputError."""
    from assistant.journal.reading import thumbnail

    for entry in found:
        jpeg = thumbnail(journal_path(), entry.id) if entry.has_thumbnail else None
        if jpeg is not None:
            path = folder / f"{entry.id}.jpg"
            outputs.check(path, "--pictures", {"the journal": journal_path()})
            if path.is_symlink() or (path.exists() and path.read_bytes() != jpeg):
                raise OutputError(f"--pictures {path}: is there, and is another picture; name another folder")
            outputs.write(path, jpeg)


def forget(ids: list[int], *, is_asked: bool) -> int:
    """Delete lines for good, through the daemon if it runs. Raises JournalErrors and what the daemon says."""
    from assistant.control.client import Client
    from assistant.control.errors import DaemonMissing
    from assistant.journal.writer import Journal

    if is_asked and ids and not confirms(f"Delete {len(ids):,} lines for good? [y/N] ", "n"):
        return 0
    num_deleted, is_gone = 0, True
    try:
        with Client.connect() as client:
            for first in range(0, len(ids), IDS_AT_ONCE):
                fields = {"query": {"ids": ids[first : first + IDS_AT_ONCE]}}
                facts = client.request("log", fields, timeout_s=FORGET_TIMEOUT_S)
                num_deleted, is_gone = num_deleted + facts["num_entries"], facts["is_gone"]
    except DaemonMissing:
        journal = Journal.open(journal_path(), None)
        try:
            deleted = journal.delete(ids=ids)
        finally:
            journal.close()
        if not deleted.is_done:
            raise OutputError(f"{journal_path()}: cannot be written; nothing was deleted") from None
        num_deleted, is_gone = deleted.num_entries, deleted.is_gone
    print(f"{num_deleted:,} lines deleted" + ("" if is_gone else "; their last traces go as soon as nobody reads"))
    return 0
