"""`onlooker model list|pull|use|path`: checkpoints and the weights they stand on."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from assistant.commands.common import add_config_option, settings_of
from assistant.errors import UsageError
from assistant.runtime.progress import PullBar


def add_parser(commands) -> None:
    parser: argparse.ArgumentParser = commands.add_parser("model", help="list, fetch and choose models")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="the checkpoint in use and all named weights")
    listing.add_argument("--json", action="store_true", help="as one JSON object")
    add_config_option(listing)
    listing.set_defaults(run=run_list)
    pull = actions.add_parser("pull", help="fetch weights, so that they work offline")
    pull.add_argument("name", metavar="NAME", help='"default", a name of `onlooker model list`, or "org/name"')
    pull.set_defaults(run=run_pull)
    use = actions.add_parser("use", help="write a checkpoint's name into your configuration")
    use.add_argument("name", metavar="NAME", help='"default", a checkpoint folder, or "org/name"')
    add_config_option(use)
    use.set_defaults(run=run_use)
    path = actions.add_parser("path", help="print where weights lie")
    path.add_argument("name", nargs="?", metavar="NAME", help="of these weights or this checkpoint")
    path.set_defaults(run=run_path)


def run_list(args: argparse.Namespace) -> int:
    from assistant.mind.opening import checkpoint_path, needed_weights
    from model.weights import CATALOG, data_dir, is_present

    name = settings_of(args).config.model.name
    needed = needed_weights(name)
    rows = [
        {
            "name": weights.name,
            "what": weights.what,
            "megabytes": round(weights.converted_bytes / 1e6),
            "licence": weights.licence,
            "present": is_present(weights.name),
            "needed": weights.name in needed,
        }
        for weights in CATALOG.values()
    ]
    if args.json:
        in_use = {"name": name, "path": str(checkpoint_path(name)), "needs": needed}
        print(json.dumps({"checkpoint": in_use, "weights": rows, "folder": str(data_dir())}, indent=2))
        return 0
    print(f"checkpoint in use: {name} ({checkpoint_path(name)})\nweights in {data_dir()}:")
    for row in rows:
        state = "present" if row["present"] else "needed" if row["needed"] else "-"
        print(f"  {row['name']:<22} {state:<8} {row['megabytes']:>4} MB  {row['licence']:<11} {row['what']}")
    return 0


def run_pull(args: argparse.Namespace) -> int:
    """Raises WeightsError (unknown, unreachable, no space)."""
    from assistant.mind.opening import needed_weights
    from model.weights import ensure, is_present

    names = needed_weights(args.name) if args.name == "default" else [args.name]
    for name in names:
        was_present = is_present(name)
        with PullBar() as bar:
            folder = ensure(name, on_progress=bar.update)
        print(f"{name}: {'already here' if was_present else 'ready'}, {folder}")
    if not names:
        print(f"{args.name}: needs no weights of its own")
    return 0


def run_use(args: argparse.Namespace) -> int:
    """Write model.name into the configuration, keeping everything else in it as it is. Raises UsageError."""
    from assistant.config.settings import find_config, load_settings, set_key, user_config_path
    from assistant.mind.opening import checkpoint_path
    from model.weights import is_present

    path = checkpoint_path(args.name)
    name = args.name
    if isinstance(path, Path):
        if name != "default":
            name = str(path.resolve())
        if not any((path / part).is_file() for part in MARKS):
            raise UsageError(f"{args.name}: no checkpoint in this folder (it has neither {' nor '.join(MARKS)})")
    elif name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UsageError(f'{name}: no such folder; a checkpoint is "default", a folder, or a hub name "org/name"')
    elif not is_present(name):
        raise UsageError(f"{name}: not on this machine; get it first with `onlooker model pull {name}`")
    import os

    file = find_config(args.config, os.environ) or user_config_path()
    set_key(file, "model", "name", name)
    load_settings(file)
    print(f'{file}: model.name = "{name}"')
    return 0


MARKS = ("onlooker.json", "adapter_config.json", "adapter/adapter_config.json")


def run_path(args: argparse.Namespace) -> int:
    from assistant.mind.opening import checkpoint_path
    from model.weights import CATALOG, data_dir

    if args.name is None:
        print(data_dir())
    elif args.name in CATALOG:
        print(data_dir() / args.name)
    elif isinstance(path := checkpoint_path(args.name), Path):
        print(path)
    else:
        raise UsageError(f"{args.name}: unknown; `onlooker model list` shows the names there are")
    return 0
