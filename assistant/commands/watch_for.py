"""`onlooker watch-for`: what the daemon is to tell when it happens."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from assistant.commands.common import span_s
from assistant.errors import UsageError
from assistant.runtime.text import printable


def add_parser(commands) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "watch-for",
        help='be told when something happens: "I open the fridge"',
        description="The daemon tells it once, also in quiet hours, and then forgets it. It can tell what its model "
        "sees and names. Without anything else, the requests that stand are listed.",
    )
    parser.add_argument("what", nargs="*", metavar="WHAT", help="such as: I open the fridge")
    parser.add_argument("--each-time", action="store_true", help="tell it every time, not once")
    parser.add_argument("--for", dest="lasts_s", metavar="AGE", type=span_s, help="such as 30m, 2h or 3d (1d)")
    parser.add_argument("--cancel", metavar="N", help='the number of a request that is to be forgotten, or "all"')
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Add, cancel or list. Raises UsageError, DaemonMissing and its like."""
    from assistant.control.client import Client

    query = _query(args)
    with Client.connect() as client:
        facts = client.request("standing", {"query": query})
    standing = facts["standing"]
    if args.json:
        print(json.dumps(standing))
        return 0
    for item in standing:
        left_h = max(0.0, item["until_unix_s"] - time.time()) / 3600
        how = "each time" if item["repeats"] else "once"
        print(f"{item['id']:>3}  {printable(item['text'])}  ({how}, for {left_h:.1f} h)")
    if not standing:
        print("nothing is watched for")
    return 0


def _query(args: argparse.Namespace) -> dict[str, Any]:
    if args.what and args.cancel:
        raise UsageError("watch-for: give what to watch for, or --cancel, not both")
    if args.cancel:
        if args.cancel != "all" and not args.cancel.isdecimal():
            raise UsageError(f'--cancel {args.cancel!r}: must be a number of the list, or "all"')
        return {"cancel": args.cancel if args.cancel == "all" else int(args.cancel)}
    if not args.what:
        return {}
    what = " ".join(args.what).removeprefix("when ")
    return {"add": what, "each_time": args.each_time} | ({"lasts_s": args.lasts_s} if args.lasts_s else {})
