"""`onlooker model list|pull|use|remove|path`: checkpoints and the weights they stand on."""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.commands.common import Values, add_config_option, changes, keys_of, settings_of, show_value
from assistant.errors import UsageError
from assistant.runtime.progress import PullBar
from model.errors import OnlookerError

if TYPE_CHECKING:
    from assistant.config.settings import Settings


def add_parser(commands) -> None:
    parser: argparse.ArgumentParser = commands.add_parser("model", help="list, fetch and choose models")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="the checkpoint in use, those there are, and what fits this machine")
    listing.add_argument("--json", action="store_true", help="as one JSON object")
    add_config_option(listing)
    listing.set_defaults(run=run_list)
    pull = actions.add_parser("pull", help="fetch weights, so that they work offline")
    pull.add_argument("name", metavar="NAME", help='"default", a name of `onlooker model list`, or "org/name"')
    pull.set_defaults(run=run_pull)
    use = actions.add_parser("use", help="write a checkpoint into your configuration, with what fits this machine")
    use.add_argument("name", metavar="NAME", help='"default", a name of `onlooker model list`, a folder, or "org/name"')
    add_config_option(use)
    use.set_defaults(run=run_use)
    remove = actions.add_parser("remove", help="delete weights from this machine")
    remove.add_argument("name", metavar="NAME", help='a name of `onlooker model list`, or "org/name"')
    add_config_option(remove)
    remove.set_defaults(run=run_remove)
    path = actions.add_parser("path", help="print where weights lie")
    path.add_argument("name", nargs="?", metavar="NAME", help="of these weights or this checkpoint")
    path.set_defaults(run=run_path)


def run_list(args: argparse.Namespace) -> int:
    """Print the checkpoints there are, with what each takes and whether it fits here, and the named weights."""
    from assistant.machine.memory import gpu_bytes
    from assistant.mind.opening import checkpoint_path, needed_weights
    from model.published import GIB, PUBLISHED, fit
    from model.weights import CATALOG, data_dir, is_present

    name = settings_of(args).config.model.name
    needed = needed_weights(name)
    total_bytes = gpu_bytes()
    fits = {one.name: fit(one, total_bytes) for one in PUBLISHED.values()}
    checkpoints = [
        {
            "name": one.name,
            "good_at": one.good_at,
            "licence": one.licence,
            "gated": bool(one.gated),
            "download_gigabytes": round(one.download_bytes / 1e9),
            "gpu_gibibytes": {weights: round(size / GIB, 1) for weights, size in one.memory_bytes.items()},
            "fits_as": found.weights if (found := fits[one.name]) else None,
            "recommended": one.is_recommended and fits[one.name] is not None,
            "present": is_present(one.name),
        }
        for one in PUBLISHED.values()
    ]
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
        facts = {"checkpoint": in_use, "checkpoints": checkpoints, "gpu_bytes": total_bytes, "weights": rows}
        print(json.dumps(facts | {"folder": str(data_dir())}, indent=2))
        return 0
    print(f"checkpoint in use: {name} ({checkpoint_path(name)})")
    print(f"\ncheckpoints (GPU here: {f'{total_bytes / GIB:.0f} GiB' if total_bytes else 'none'}):")
    print(f"  {'default':<26} {'present':<9} names what hands do in a simulated world; for trying things out")
    print(f"  {'':<26} any machine, 0.3 GB, Apache-2.0")
    for one in checkpoints:
        state = (
            "present" if one["present"] else "fits" if one["fits_as"] else "too large" if total_bytes else "needs GPU"
        )
        print(f"{'*' if one['recommended'] else ' '} {one['name']:<26} {state:<9} {one['good_at']}")
        takes = " / ".join(f"{size} GiB as {FORMATS[weights]}" for weights, size in one["gpu_gibibytes"].items())
        gate = ", to be accepted on its page" if one["gated"] else ""
        print(f"  {'':<26} about {one['download_gigabytes']} GB; GPU {takes}; licence {one['licence']}{gate}")
    print(f"\nweights in {data_dir()}:")
    for row in rows:
        state = "present" if row["present"] else "needed" if row["needed"] else "-"
        print(f"  {row['name']:<26} {state:<9} {row['megabytes']:>4} MB  {row['licence']:<11} {row['what']}")
    if any(one["recommended"] for one in checkpoints):
        print("\n* recommended here: `onlooker model pull NAME`, then `onlooker model use NAME`")
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
    import os

    from assistant.config.settings import find_config, load_settings, user_config_path
    from assistant.mind.opening import checkpoint_path
    from model.published import PUBLISHED
    from model.weights import is_present

    file = find_config(args.config, os.environ) or user_config_path()
    settings = load_settings(args.config, environ={})  # what the environment says is not in the file
    if args.name in PUBLISHED:
        return _use_published(args.name, file, settings)
    if args.name == "default":
        return _write(file, keys_of("default", None), settings)
    path = checkpoint_path(args.name)
    name = args.name
    if isinstance(path, Path):
        name = str(path.resolve())
        if not any((path / part).is_file() for part in MARKS):
            raise UsageError(f"{args.name}: no checkpoint in this folder (it has neither {' nor '.join(MARKS)})")
    elif name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UsageError(f'{name}: no such folder; a checkpoint is "default", a folder, or a hub name "org/name"')
    elif not is_present(name):
        raise UsageError(f"{name}: not on this machine; get it first with `onlooker model pull {name}`")
    others = {("model", "weights"): "dtype", ("stream", "silence_threshold"): "checkpoint"}  # of the last one
    return _write(file, {("model", "name"): name, **others}, settings)


def _use_published(name: str, file: Path, settings: Settings) -> int:
    from assistant.machine.memory import gpu_bytes
    from model.published import GIB, PUBLISHED, fit
    from model.weights import is_present

    checkpoint, total_bytes = PUBLISHED[name], gpu_bytes()
    if not is_present(name):
        raise UsageError(f"{name}: not on this machine; get it first with `onlooker model pull {name}`")
    found = fit(checkpoint, total_bytes)
    if found is None:
        here = f"this machine's has {total_bytes / GIB:.1f} GiB" if total_bytes else "this machine has none"
        least = min(checkpoint.memory_bytes.values()) / GIB
        raise UsageError(f'{name}: needs a GPU with {least:.1f} GiB and some more to work in; {here}; take "default"')
    return _write(file, keys_of(name, found), settings)


def _write(file: Path, values: Values, settings: Settings) -> int:
    """Write what is to be changed, and the name in any case."""
    from assistant.config.settings import load_settings, set_keys

    name = ("model", "name")
    values = {name: values[name]} | changes(values, settings)
    set_keys(file, values)
    load_settings(file)
    for (section, key), value in values.items():
        print(f"{file}: {section}.{key} = {show_value(value)}")
    return 0


def run_remove(args: argparse.Namespace) -> int:
    """Raises UsageError for what the configuration uses, WeightsError."""
    from model.weights import parts_of, remove

    name = settings_of(args).config.model.name
    if args.name == name or set(_parts_in_use(name)) & set(parts_of(args.name)):
        raise UsageError(
            f"{args.name}: the configuration uses it (model.name = {name!r}); choose another checkpoint first"
        )
    removed = remove(args.name)
    for part in removed:
        print(f"{part}: deleted")
    if not removed:
        print(f"{args.name}: was not here")
    return 0


def _parts_in_use(name: str) -> list[str]:
    """What a checkpoint stands on: named weights, and repositories of the hub."""
    from assistant.mind.opening import checkpoint_path, needed_weights
    from model.published import PUBLISHED
    from model.reference import find_reference
    from model.weights import local

    for one in PUBLISHED.values():
        if name in (one.name, one.repository):
            return [name, *one.parts]
    parts = [name, *needed_weights(name)]
    with contextlib.suppress(OnlookerError):  # of our own format, or damaged
        found = find_reference(Path(local(str(checkpoint_path(name)))))
        parts += [found.base, str(found.vision["name"])]
    return parts


FORMATS = {"dtype": "it is", "int8": "int8", "int4": "int4"}
MARKS = ("onlooker.json", "adapter_config.json", "adapter/adapter_config.json")


def run_path(args: argparse.Namespace) -> int:
    from assistant.mind.opening import checkpoint_path
    from model.published import PUBLISHED
    from model.weights import CATALOG, data_dir, local

    if args.name is None:
        print(data_dir())
    elif args.name in PUBLISHED:
        print(local(PUBLISHED[args.name].repository))
    elif args.name in CATALOG:
        print(data_dir() / args.name)
    elif isinstance(path := checkpoint_path(args.name), Path):
        print(path)
    else:
        raise UsageError(f"{args.name}: unknown; `onlooker model list` shows the names there are")
    return 0
