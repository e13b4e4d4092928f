"""`python -m train COMMAND RECIPE.toml`: render or prepare clips, tune, encode, fit, evaluate."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from model.errors import OnlookerError


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 2 the recipe or the command is wrong, 3 something is missing)."""
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_tabletop(commands.add_parser("tabletop", help="render clips of the simulated world"))
    _add_prepare(commands.add_parser("prepare", help="make clips of your own recordings (train/OWN_RECORDINGS.md)"))
    for name, text in (
        ("tune", "tune the vision tower"),
        ("encode", "encode clips once (and tune the tower, if that was not done)"),
        ("fit", "fit adapters on features"),
    ):
        sub = commands.add_parser(name, help=text)
        sub.add_argument("recipe", type=Path)
        sub.add_argument("--run", type=Path, required=True, help="folder of the run")
        sub.add_argument("--device", default="auto")
        sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
                         help="change one key of the recipe, such as objective.tau=2; repeatable")  # fmt: skip
        if name != "fit":
            sub.add_argument("--clips", type=Path, required=True, help="folder of train/, val/ and perhaps snapshot/")
        else:
            sub.add_argument("--encoded", type=Path, help="folder of the run that encoded the clips, if it is another")
    sub = commands.add_parser("evaluate", help="score a checkpoint on held-out clips")
    sub.add_argument("checkpoint", type=Path)
    sub.add_argument("--clips", type=Path, required=True, help="folder of clips")
    sub.add_argument("--out", type=Path, required=True, help="the report, .json")
    sub.add_argument("--device", default="auto")
    sub.add_argument("--workers", type=int, default=1)
    sub.add_argument("--threshold", type=float, help="instead of the checkpoint's")
    sub.add_argument("--calibrate", type=Path, help="clips to choose the threshold on first; it is then stored")
    arguments = parser.parse_args(argv)
    try:
        run = {
            "tabletop": _tabletop,
            "prepare": _prepare,
            "tune": _tune,
            "encode": _encode,
            "fit": _fit,
            "evaluate": _evaluate,
        }
        return run[arguments.command](arguments)
    except OnlookerError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def _add_tabletop(parser: argparse.ArgumentParser) -> None:
    from train.tabletop import command

    command.add_arguments(parser)


def _tabletop(arguments: argparse.Namespace) -> int:
    from train.tabletop import command

    return command.run(arguments)


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="a folder of videos with .srt, .vtt or .ass beside them, a list of "
                        "remarks (.jsonl), or a journal (.jsonl)")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder of the clips, for train/ and val/")
    parser.add_argument("--fps", type=float, default=2.0, help="frames a second, as in the recipe (2)")
    parser.add_argument("--size", type=int, default=384, help="side of the frames in pixels, as in the recipe (384)")
    parser.add_argument("--val-share", type=float, default=0.2, help="share of the clips kept for validation (0.2)")
    parser.add_argument("--seed", type=int, default=0, help="of what is left to chance")


def _prepare(arguments: argparse.Namespace) -> int:
    from train import prepare

    return prepare.run(arguments)


def _tune(arguments: argparse.Namespace) -> int:
    from train.recipe import read_recipe
    from train.run import tune

    tune(read_recipe(arguments.recipe, arguments.changes), arguments.clips, arguments.run, _device(arguments.device))
    return 0


def _encode(arguments: argparse.Namespace) -> int:
    from train.recipe import read_recipe
    from train.run import encode

    encode(read_recipe(arguments.recipe, arguments.changes), arguments.clips, arguments.run, _device(arguments.device))
    return 0


def _fit(arguments: argparse.Namespace) -> int:
    from accelerate import Accelerator

    from train.recipe import read_recipe
    from train.run import fit_run

    recipe = read_recipe(arguments.recipe, arguments.changes)
    is_cpu = _device(arguments.device).type == "cpu"  # which GPUs, and how to share, is the launcher's to say
    precision = recipe.fit.precision
    is_bfloat16 = precision == "bfloat16" or (precision == "auto" and not is_cpu)
    accelerator = Accelerator(cpu=is_cpu, mixed_precision="bf16" if is_bfloat16 else "no")
    print(fit_run(recipe, arguments.run, accelerator, encoded_dir=arguments.encoded))
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from model.checkpoint import read_checkpoint, write_checkpoint
    from train.clips import list_clips
    from train.evaluate import Setting, evaluate, pick_threshold, write_report

    device = _device(arguments.device)
    dtype = "bfloat16" if device.type == "cuda" else "float32"
    setting = Setting(str(arguments.checkpoint), str(device), dtype, arguments.threshold)
    if arguments.calibrate:
        grid = (0.4, 0.55, 0.7, 0.85)
        clips = list_clips(arguments.calibrate)
        threshold = pick_threshold(clips, setting, grid, workers=arguments.workers)
        checkpoint = read_checkpoint(arguments.checkpoint)
        calibrated = replace(checkpoint, spec=replace(checkpoint.spec, silence_threshold=threshold))
        write_checkpoint(calibrated, arguments.checkpoint)
    results = evaluate(list_clips(arguments.clips), [setting], workers=arguments.workers)[0]
    print(json.dumps(write_report(results, arguments.out), indent=2))
    return 0


def _device(name: str):
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


if __name__ == "__main__":
    sys.exit(main())
