"""The commands that talk to the running daemon."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from assistant.errors import UsageError
from assistant.runtime.text import printable

if TYPE_CHECKING:
    from assistant.control.client import AnswerStream

STOP_TIMEOUT_S = 10.0
MAX_TIMEOUT_S = 86400.0
MAX_CHARS = 2000
SIMPLE = {
    "pause": "close the camera until `resume`",
    "resume": "open the camera again",
    "mute": "do not speak aloud",
    "unmute": "speak aloud again",
}


def add_parser(commands) -> None:
    status: argparse.ArgumentParser = commands.add_parser("status", help="what the daemon is doing")
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(run=run_status)
    ask: argparse.ArgumentParser = commands.add_parser("ask", help="ask the daemon about what it sees")
    ask.add_argument("question", nargs="+", metavar="QUESTION")
    ask.add_argument("--timeout", metavar="S", type=_seconds, default=120.0, help="seconds to wait for each word (120)")
    ask.set_defaults(run=run_ask)
    say: argparse.ArgumentParser = commands.add_parser("say", help="have the daemon say something aloud")
    say.add_argument("text", nargs="+", metavar="TEXT")
    say.set_defaults(run=run_say)
    listen: argparse.ArgumentParser = commands.add_parser(
        "listen", help="ask aloud: the daemon's microphone listens now"
    )
    listen.add_argument(
        "--timeout", metavar="S", type=_seconds, default=120.0, help="seconds to wait for each word (120)"
    )
    listen.set_defaults(run=run_listen)
    for name, text in SIMPLE.items():
        commands.add_parser(name, help=text).set_defaults(run=run_simple, do=name)
    private: argparse.ArgumentParser = commands.add_parser("private", help="keep nothing of what is seen and said")
    private.add_argument("state", choices=("on", "off"))
    private.set_defaults(run=run_private)
    reload: argparse.ArgumentParser = commands.add_parser("reload", help="take over an edited configuration at once")
    reload.set_defaults(run=run_reload)
    commands.add_parser("stop", help="end the daemon").set_defaults(run=run_stop)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise argparse.ArgumentTypeError(
            f"{text!r}: must be a number of seconds, above 0 and up to {MAX_TIMEOUT_S:.0f}"
        )
    return seconds


def run_status(args: argparse.Namespace) -> int:
    """Print what the daemon says of itself. Raises DaemonMissing and its like."""
    from assistant.control.client import Client

    with Client.connect() as client:
        facts = dict(client.request("status"), pid=client.daemon.pid)
    print(json.dumps(facts) if args.json else describe(facts))
    return 0


def describe(facts: Mapping[str, Any]) -> str:
    """For people: one line a part, the newest figures below."""
    modes = [word for word in ("paused", "private", "muted") if facts[word]]
    warming = "" if facts["full_speed"] else ", not yet at full speed"
    lines = [
        f"{facts['source']}, {facts['model']} on {facts['device']}{''.join(f', {mode}' for mode in modes)}{warming}"
    ]
    for name, part in facts["parts"].items():
        age = "" if part["age_s"] is None else f", {part['age_s']:g} s ago"
        lines.append(f"  {name:<9} {part['state']}{age}{': ' if part['detail'] else ''}{part['detail']}")
    latency = "" if facts["latency_s"] is None else f", the last decided {facts['latency_s']:.2f} s after it was taken"
    lines.append(f"{facts['frames']:,} frames{latency}; {facts['dropped']:,} dropped; {facts['remarks']:,} remarks")
    if facts["silence"]["text"]:
        lines.append(f"silent: {facts['silence']['text']}")
    lines.append(f"up {facts['up_s']:,.0f} s, pid {facts['pid']}")
    return "\n".join(lines)


def run_ask(args: argparse.Namespace) -> int:
    """Print the answer as it comes; Ctrl-C cancels it."""
    from assistant.control.client import Client

    question = _words_of(args.question, "question", "ask")
    with Client.connect() as client:
        _print_answer(client.ask(question, timeout_s=args.timeout))
    return 0


def run_say(args: argparse.Namespace) -> int:
    """Have it said, without waiting until it was."""
    from assistant.control.client import Client

    text = _words_of(args.text, "text", "say")
    with Client.connect() as client:
        client.request("say", {"text": text})
    return 0


def _words_of(words: list[str], kind: str, command: str) -> str:
    """What was written behind a command. Raises UsageError for nothing, or too much."""
    text = " ".join(words).encode("utf-8", "replace").decode().strip()
    if not text:
        raise UsageError(f"there is no {kind}; write it behind `onlooker {command}`")
    if len(text) > MAX_CHARS:
        raise UsageError(f"the {kind} has {len(text):,} characters, at most {MAX_CHARS:,} are taken")
    return text


def run_listen(args: argparse.Namespace) -> int:
    """Print what was heard, then the answer as it comes; Ctrl-C cancels it."""
    from assistant.control.client import Client

    with Client.connect() as client:
        answer = client.listen(timeout_s=args.timeout)
        print("Listening …", file=sys.stderr, flush=True)
        question = next(answer, "")
        print(f"» {printable(question.strip())}", flush=True)
        _print_answer(answer)
    return 0


def _print_answer(answer: AnswerStream) -> None:
    try:
        is_first = True
        for words in answer:
            print(printable(words.lstrip() if is_first else words), end="", flush=True)
            is_first = False
    except KeyboardInterrupt:
        answer.cancel()
        raise
    finally:
        print()


def run_simple(args: argparse.Namespace) -> int:
    """One request without anything to it."""
    from assistant.control.client import Client

    with Client.connect() as client:
        client.request(args.do)
    return 0


def run_reload(args: argparse.Namespace) -> int:
    """Have the configuration read now. Raises what is wrong with it, as the daemon says it."""
    from assistant.control.client import Client

    with Client.connect() as client:
        facts = client.request("reload")
    print("changed: " + (", ".join(facts["changed"]) or "nothing"))
    if facts["at_next_start"]:
        print(f"at the next start (`onlooker restart`): {', '.join(facts['at_next_start'])}")
    return 0


def run_private(args: argparse.Namespace) -> int:
    """Private mode on or off."""
    from assistant.control.client import Client

    with Client.connect() as client:
        client.request("private", {"on": args.state == "on"})
    return 0


def run_stop(args: argparse.Namespace) -> int:
    """End the daemon, and wait until it has ended."""
    from assistant.control.client import Client
    from assistant.control.errors import DaemonLost, DaemonMissing, DaemonSilent
    from assistant.daemon.supervisor import end_running, is_running

    try:
        with Client.connect() as client:
            client.request("stop")
    except (DaemonMissing, DaemonSilent, DaemonLost):  # it may just be starting, or hang
        if not end_running():
            raise
        return 0
    until_s = time.monotonic() + STOP_TIMEOUT_S
    while is_running():
        if time.monotonic() > until_s:
            end_running(0.0)
            break
        time.sleep(0.05)
    return 0
