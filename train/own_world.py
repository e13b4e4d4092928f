"""The `world` command of `python -m train`: what a checkpoint's own world looks like, learned from its training clips.

The limit is learned from clips of that world which were not trained on: they stay below it nearly always. Clips of
other worlds, if any are given, only show how often those would be told from it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from model.checkpoint import read_checkpoint
from model.vision import VisionTower
from model.world import NUM_AXES, OwnWorld, learn_world, write_world
from train.clips import ClipFile, list_clips
from train.recipe import RecipeError
from train.scoring.towers import encode_once, open_tower

AVERAGED_FRAMES = 20
"""Strangeness is averaged over so many frames, or all so far: ten seconds, as in a run (`assistant.mind.familiarity`).
"""

FAMILIAR_SHARE = 0.999
"""Of the moments of held-out clips."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="a folder; world.safetensors is written there"
    )
    parser.add_argument("--clips", type=Path, required=True, help="clips it was trained on, of many arrangements")
    parser.add_argument("--held-out", type=Path, required=True, help="clips of the same world, not trained on")
    parser.add_argument("--others", type=Path, nargs="*", default=[], metavar="FOLDER", help="clips of other worlds")
    parser.add_argument("--device", default="auto")


def run(args: argparse.Namespace, device: torch.device) -> int:
    """Learn, write, and say how often each folder's moments are found strange. Returns the exit code."""
    checkpoint = read_checkpoint(args.checkpoint)
    tower = open_tower(checkpoint, device)
    seen = encode_once(tower, list_clips(args.clips))
    frames_MNF = torch.cat(seen)
    if len(frames_MNF) < 10 * NUM_AXES:
        raise RecipeError(
            f"{args.clips}: {len(frames_MNF)} frames are too few to learn a world from; give {10 * NUM_AXES} or more"
        )
    learned = learn_world(frames_MNF, limit=0.0)
    held_out = moments(learned, encode_once(tower, list_clips(args.held_out)))
    world = OwnWorld(learned.mean_F, learned.axes_KF, float(torch.cat(held_out).quantile(FAMILIAR_SHARE)))
    write_world(world, args.checkpoint)
    print(f"{args.checkpoint}: limit {world.limit:.2f}, learned from {len(frames_MNF)} frames")
    for folder, found in (
        (args.held_out, held_out),
        *((other, _moments_of(other, tower, world)) for other in args.others),
    ):
        strange = torch.cat(found) > world.limit
        print(f"{folder}: {strange.float().mean():.1%} of {len(strange)} moments are strange")
    return 0


def moments(world: OwnWorld, features: Sequence[Tensor]) -> list[Tensor]:
    """Of each clip (T × N × F), the strangeness at each of its T moments: the mean of up to AVERAGED_FRAMES frames."""
    found = []
    for features_TNF in features:
        strangeness_T = world.strangeness(features_TNF)
        sums_T = torch.cat((strangeness_T.new_zeros(1), strangeness_T.cumsum(0)))
        ends = torch.arange(1, len(strangeness_T) + 1)
        starts = (ends - AVERAGED_FRAMES).clamp(min=0)
        found.append((sums_T[ends] - sums_T[starts]) / (ends - starts))
    return found


def _moments_of(folder: Path, tower: VisionTower, world: OwnWorld) -> list[Tensor]:
    clips: list[ClipFile] = list_clips(folder)
    return moments(world, encode_once(tower, clips))
