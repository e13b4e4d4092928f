"""`python -m train COMMAND RECIPE.toml`: render or prepare clips, tune, encode, fit, evaluate."""

import argparse
import re
import sys
from pathlib import Path

from model.errors import OnlookerError
from model.fault_log import told

CPU_THREADS_BESIDE_GPU = 4


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 1 a fault of ours, 2 the recipe or the command
    is wrong, 3 something is missing)."""
    try:
        arguments = _make_parser().parse_args(argv)
        run = {
            "tabletop": _tabletop,
            "sister": _sister,
            "prepare": _prepare,
            "tune": _tune,
            "encode": _encode,
            "fit": _fit,
            "evaluate": _evaluate,
            "compare": _compare,
            "ways": _ways,
            "world": _world,
        }
        return run[arguments.command](arguments)
    except OnlookerError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # a folder that may not be written to, a full disk
        if error.strerror is None:
            print(told(error), file=sys.stderr)
            return 1
        named = f"{error.filename}: " if error.filename else ""
        print(f"{named}{error.strerror}", file=sys.stderr)
        return 2
    except Exception as error:
        print(told(error), file=sys.stderr)
        return 1


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_tabletop(commands.add_parser("tabletop", help="render clips of the simulated world"))
    _add_sister(commands.add_parser("sister", help="render clips of another world, for measuring only"))
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
    _add_evaluate(commands.add_parser("evaluate", help="score checkpoints on held-out clips"))
    _add_compare(commands.add_parser("compare", help="one table of several reports of `evaluate`"))
    _add_world(
        commands.add_parser(
            "world", help="learn what a checkpoint's own world looks like, so that it is silent in others"
        )
    )
    _add_ways(commands.add_parser("ways", help="measure speed and memory of three ways of inference"))
    return parser


def _add_tabletop(parser: argparse.ArgumentParser) -> None:
    from train.tabletop import command

    command.add_arguments(parser)


def _add_sister(parser: argparse.ArgumentParser) -> None:
    from train.sister import command

    command.add_arguments(parser)


def _add_evaluate(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT")
    sub.add_argument("--clips", type=Path, nargs="+", required=True, metavar="FOLDER", help="folders of clips")
    sub.add_argument("--out", type=Path, required=True, help="folder of the report")
    sub.add_argument("--device", default="auto")
    sub.add_argument("--batch", type=int, help="clips at once; 64 on a GPU, else 8")
    sub.add_argument("--window", type=int, default=2048, metavar="TOKENS", help="of each stream; 2048")
    sub.add_argument("--when-full", choices=("window", "summary"), default="window",
                     help="it slides, or begins anew from what the model says was done so far")  # fmt: skip
    threshold = sub.add_mutually_exclusive_group()
    threshold.add_argument("--threshold", type=float, help="silence threshold, 0 to 1, instead of each checkpoint's")
    threshold.add_argument("--calibrate", type=Path, metavar="FOLDER",
                           help="clips to choose each threshold on first; it is stored in the checkpoint")  # fmt: skip


def _add_compare(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("reports", type=Path, nargs="+", metavar="REPORT", help="folders that `evaluate` wrote")
    sub.add_argument("--out", type=Path, required=True, help="folder of the comparison")


def _add_world(parser: argparse.ArgumentParser) -> None:
    from train import own_world

    own_world.add_arguments(parser)


def _world(arguments: argparse.Namespace) -> int:
    from train import own_world

    return own_world.run(arguments, _device(arguments.device))


def _tabletop(arguments: argparse.Namespace) -> int:
    from train.tabletop import command

    return command.run(arguments)


def _sister(arguments: argparse.Namespace) -> int:
    from train.sister import command

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

    recipe, accelerator = read_recipe(arguments.recipe, arguments.changes), _accelerator(arguments.device)
    tune(recipe, arguments.clips, arguments.run, accelerator)
    return 0


def _encode(arguments: argparse.Namespace) -> int:
    from train.recipe import read_recipe
    from train.run import encode

    recipe, accelerator = read_recipe(arguments.recipe, arguments.changes), _accelerator(arguments.device)
    encode(recipe, arguments.clips, arguments.run, accelerator)
    return 0


def _fit(arguments: argparse.Namespace) -> int:
    from train.recipe import read_recipe
    from train.run import fit_run

    recipe = read_recipe(arguments.recipe, arguments.changes)
    accelerator = _accelerator(arguments.device, recipe.fit.precision)
    print(fit_run(recipe, arguments.run, accelerator, encoded_dir=arguments.encoded))
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    import torch

    from train.clips import list_clips
    from train.scoring.compare import report_all
    from train.scoring.evaluate import Options, evaluate

    device = _device(arguments.device)
    if device.type == "cuda":  # the rest of a large machine's cores are for whatever runs beside this
        torch.set_num_threads(min(torch.get_num_threads(), CPU_THREADS_BESIDE_GPU))
    batch = arguments.batch or (64 if device.type == "cuda" else 8)
    clips = [clip for folder in arguments.clips for clip in list_clips(folder)]
    calibration = list_clips(arguments.calibrate) if arguments.calibrate else []
    options = Options(str(device), batch, arguments.threshold, arguments.window, arguments.when_full)
    evaluated = evaluate(arguments.checkpoints, clips, options, calibration=calibration)
    for text in report_all(evaluated, clips, arguments.out, compares=len(arguments.checkpoints) > 1):
        print(text, flush=True)
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from train.scoring.compare import compare_reports

    print(compare_reports(arguments.reports, arguments.out))
    return 0


def _accelerator(device: str, precision: str = "float32"):
    """What the launcher said of GPUs and processes; a precision of "auto" is bfloat16 where there is a GPU."""
    from accelerate import Accelerator

    is_cpu = _device(device).type == "cpu"
    is_bfloat16 = precision == "bfloat16" or (precision == "auto" and not is_cpu)
    return Accelerator(cpu=is_cpu, mixed_precision="bf16" if is_bfloat16 else "no")


def _add_ways(sub: argparse.ArgumentParser) -> None:
    subject = sub.add_mutually_exclusive_group()
    subject.add_argument("--checkpoint", help="a checkpoint's decoder and grammar; default: the bundled one's")
    subject.add_argument("--shape", choices=("8b-v1plus", "135m"), default="8b-v1plus", help="random weights so large")
    sub.add_argument("--minutes", type=float, default=5.0, help="length of the video")
    sub.add_argument("--fps", type=float, default=2.0, help="frames a second of the video")
    sub.add_argument(
        "--frame-tokens", type=int, choices=(1, 10), default=10, help="of a shape; a checkpoint has its own"
    )
    sub.add_argument("--speak-every", type=int, default=20, help="frames from reply to reply")
    sub.add_argument("--reply-tokens", type=int, default=20, help="length of a reply")
    sub.add_argument("--with-vision", action="store_true", help="encode a picture for every frame as well")
    sub.add_argument("--max-seconds", type=float, default=18.0, help="for each way; fewer frames are then shown")
    sub.add_argument("--device", default="auto")
    sub.add_argument("--out", type=Path, required=True, help="folder for ways.json, ways.md and ways.png")


def _ways(arguments: argparse.Namespace) -> int:
    from train.ways_report import run

    return run(arguments, _device(arguments.device))


def _device(name: str):
    import torch

    from train.recipe import RecipeError

    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if num_gpus else "cpu")
    match = re.fullmatch(r"cpu|cuda(?::(\d{1,3}))?", name)
    if match is None:
        raise RecipeError(f"--device {name}: must be auto, cpu, cuda or cuda:N")
    if name != "cpu" and int(match[1] or 0) >= num_gpus:
        raise RecipeError(f"--device {name}: there is no such device; this machine has {num_gpus} CUDA devices")
    return torch.device(name)


if __name__ == "__main__":
    sys.exit(main())
