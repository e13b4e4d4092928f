"""The `sister` command of `python -m train`: renders clips for measuring only, in many processes."""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from train.sister.hands import HANDS, JOINTED
from train.sister.story import describe, write_story
from train.tabletop import assets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--kit", type=Path, required=True, help="archive or folder made by `tabletop pack`")
    parser.add_argument("--scan", type=Path, help="right.glb of npm's @webxr-input-profiles/assets (generic-hand); "
                        "without it the jointed hand alone is shown")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="number of the first clip (default 0)")
    parser.add_argument("--clips", type=int, default=64, help="how many clips (default 64)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--size", type=int, default=384, help="side of the picture in pixels (default 384)")
    parser.add_argument("--fps", type=float, default=2.0, help="frames a second (default 2)")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))


def run(args: argparse.Namespace) -> int:
    """Render what `add_arguments` parsed; clips that are there already are left alone. Returns the exit code."""
    kit = assets.open_kit(args.kit)
    if args.scan is not None and not args.scan.is_file():
        raise assets.AssetsError(f"{args.scan}: no such file; --scan wants the right.glb of a WebXR generic hand")
    args.out.mkdir(parents=True, exist_ok=True)
    seeds = [seed for seed in range(args.seed, args.seed + args.clips) if not _is_there(args.out, seed)]
    workers = max(1, min(args.workers, len(seeds)))
    os.environ.setdefault("MUJOCO_GL", "egl")
    jobs = [(kit, args.scan, args.out, seeds[rank::workers], args.size, args.fps) for rank in range(workers)]
    if seeds:
        with ProcessPoolExecutor(workers, mp_context=mp.get_context("spawn")) as pool:
            for _ in tqdm(pool.map(_work, jobs), total=len(jobs), unit="share", file=sys.stderr):
                pass
    print(f"{len(seeds)} clips written to {args.out}, {args.clips - len(seeds)} were there already")
    return 0


def _is_there(folder: Path, seed: int) -> bool:
    return all((folder / f"clip_sister_{seed:04}.{suffix}").is_file() for suffix in ("json", "npy"))


def _work(job: tuple[Path, Path | None, Path, list[int], int, float]) -> None:
    """One process: its own world and renderer, its share of the clips."""
    from train.sister.world import SisterPlayer

    kit, scan, out, seeds, size, fps = job
    hands = HANDS if scan is not None else (JOINTED,)
    player = SisterPlayer(kit, hands, scan, size)
    for seed in seeds:
        story = write_story(seed, hands)
        truth = describe(story, fps)
        frames = np.stack(list(player.frames(story, [index / fps for index in range(truth.num_frames)])))
        for suffix in ("npy", "json"):  # a description is the sign that its frames are whole
            draft, path = out / f".draft_{seed:04}.{suffix}", out / f"clip_sister_{seed:04}.{suffix}"
            if suffix == "npy":
                with draft.open("wb") as file:
                    np.save(file, frames)
            else:
                draft.write_text(truth.to_json(), encoding="utf-8")
            draft.replace(path)
    player.close()
