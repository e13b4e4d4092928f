"""`onlooker doctor`: what is there, what is missing, and what to do about it."""

from __future__ import annotations

import argparse
import dataclasses
import json

from assistant.commands.common import add_config_option, settings_of
from assistant.errors import ConfigError

MISSING = 3


def add_parser(commands) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="check everything that is needed",
        description="Checks everything a run needs; exit code 3 if something that is needed is missing.",
    )
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    add_config_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a table of all checks. Returns 0, or 3 if something needed is missing."""
    from assistant.commands.checks import Check, examine
    from assistant.config.addresses import without_secrets
    from assistant.config.keys import Config
    from assistant.config.settings import exposed

    try:
        settings = settings_of(args)
        config = settings.config
        first = Check("configuration", True, str(settings.path or "defaults (no file)"), exposed(settings))
    except ConfigError as error:
        config = Config()
        first = Check("configuration", False, "; ".join(error.problems), "correct it; see `onlooker config check`")
    checks = [first, *examine(config)]
    missing = [check for check in checks if check.needed and not check.ok]
    if args.json:
        print(json.dumps({"ok": not missing, "checks": [dataclasses.asdict(check) for check in checks]}, indent=2))
    else:
        for check in checks:
            state = "ok" if check.ok else "MISSING" if check.needed else "missing"
            print(f"{check.name:<15} {state:<8} {without_secrets(check.detail)}")
            if check.remedy:
                print(f"{'':<24} → {check.remedy}")
        names = ", ".join(check.name for check in missing)
        print(f"\nmissing: {names}" if missing else "\nall that is needed is there")
    return MISSING if missing else 0
