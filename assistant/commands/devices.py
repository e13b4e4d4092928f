"""`onlooker devices`: the cameras, screens, sound outputs, microphones and compute devices of this machine."""

from __future__ import annotations

import argparse
import dataclasses
import json

from assistant.commands.common import add_config_option, settings_of
from assistant.runtime.text import printable


def add_parser(commands) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "devices",
        help="list cameras, screens, sound outputs, microphones and compute devices",
        description="Lists what this machine has, and how to name it in a command or the configuration.",
    )
    parser.add_argument("--json", action="store_true", help="as a JSON list")
    parser.add_argument(
        "--test",
        action="store_true",
        help="say a sentence, listen to you, and tell what came of it (stop the daemon first)",
    )
    add_config_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print them all; or try sound. Returns 0, also when there are none."""
    if args.test:
        from assistant.commands.try_sound import try_sound

        return try_sound(settings_of(args).config, lambda line: print(printable(line), flush=True))
    from assistant.machine.devices import list_all

    found = list_all()
    if args.json:
        print(json.dumps([dataclasses.asdict(device) for devices in found.values() for device in devices], indent=2))
        return 0
    for kind, devices in found.items():
        for device in devices:
            print(f"{kind:<13} {device.use:<10} {device.name}")
        if not devices:
            print(f"{kind:<13} none found")
    return 0
