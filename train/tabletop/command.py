"""The `tabletop` command of `python -m train`, and the many-process rendering behind it.

`render_clips` starts workers of its own (spawned, one renderer each); every clip is written whole or not at
all, and a clip that is there already is left alone, so a broken run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import queue
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from train.tabletop import assets
from train.tabletop.ground_truth import describe, describe_snapshots, frame_times, snapshot_times
from train.tabletop.script import SPLITS, clip_seed, write_script

DEMO_SEED = 29  # of the held-out room, but none of the benchmark


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `tabletop hands|pack|render|film` on a parser."""
    actions = parser.add_subparsers(dest="action", required=True)
    hands = actions.add_parser("hands", help="bake hands of bodies, which clips of the wide splits show")
    hands.add_argument("--out", type=Path, required=True, help="folder to write to, for `pack --hands`")
    pack = actions.add_parser("pack", help="bake objects and rooms into one small archive")
    pack.add_argument("--sources", type=Path, required=True, help="folder with the unpacked LIBERO-PRO assets")
    pack.add_argument("--fetch", action="store_true", help="download and unpack the assets into --sources first")
    pack.add_argument("--hands", type=Path, help="folder made by `tabletop hands`; for clips of the wide splits")
    pack.add_argument("--kit", type=Path, required=True, help="archive to write (.tar)")
    render = actions.add_parser("render", help="render clips with their ground truth")
    render.add_argument("--kit", type=Path, required=True, help="archive or folder made by `tabletop pack`")
    render.add_argument("--split", choices=SPLITS, required=True)
    render.add_argument("--seed", type=int, default=0, help="number of the first clip (default 0)")
    render.add_argument("--clips", type=int, default=60, help="how many clips (default 60)")
    render.add_argument("--out", type=Path, required=True, help="folder to write to")
    render.add_argument("--size", type=int, default=384, help="side of the picture in pixels (default 384)")
    render.add_argument("--fps", type=float, default=2.0, help="frames a second (default 2)")
    render.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    kind = render.add_mutually_exclusive_group()
    kind.add_argument("--mp4", action="store_true", help="write H.264 video instead of raw frames")
    kind.add_argument(
        "--snapshots",
        type=_count,
        default=0,
        metavar="K",
        help="only K random moments of each clip, half of them acting",
    )
    film = actions.add_parser("film", help="render one clip to look at, as smooth video with its events beside it")
    film.add_argument("--kit", type=Path, required=True, help="archive or folder made by `tabletop pack`")
    film.add_argument("--split", choices=SPLITS, default="demo")
    film.add_argument("--seed", type=int, default=DEMO_SEED, help=f"number of the clip (default {DEMO_SEED})")
    film.add_argument("--seconds", type=float, default=50.0, help="its length (default 50)")
    film.add_argument("--out", type=Path, required=True, help="video to write (.mp4); its .json is written beside it")
    film.add_argument("--size", type=int, default=480, help="side of the picture in pixels (default 480)")
    film.add_argument("--fps", type=float, default=10.0, help="frames a second (default 10)")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number of 1 or more")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Run what `add_arguments` parsed. Returns the exit code."""
    if args.action == "hands":
        from train.tabletop.bodies import BODIES, bake

        bake(args.out)
        print(f"{args.out}: hands of {len(BODIES)} bodies")
        return 0
    if args.action == "pack":
        sources = assets.fetch_sources(args.sources) if args.fetch else args.sources
        kit = assets.pack(sources, args.kit, args.hands)
        print(f"{kit}: {kit.stat().st_size / 1e6:.1f} MB")
        return 0
    if args.action == "film":
        film_clip(args.kit, args.out, args.split, args.seed, args.seconds, args.size, args.fps)
        print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")
        return 0
    written = render_clips(
        args.split,
        args.seed,
        args.clips,
        args.out,
        args.size,
        args.workers,
        args.kit,
        fps=args.fps,
        as_video=args.mp4,
        snapshots=args.snapshots,
    )
    print(f"{written} clips written to {args.out}, {args.clips - written} were there already")
    return 0


def render_clips(
    split: str,
    seed: int,
    num_clips: int,
    out_dir: Path,
    size: int,
    workers: int,
    assets_dir: Path,
    *,
    fps: float = 2.0,
    as_video: bool = False,
    snapshots: int = 0,
    progress: bool = True,
) -> int:
    """Render clips number `seed` … `seed + num_clips - 1` of a split; returns how many were rendered now.

    Writes clip_{seed}.npy (T x S x S x 3 uint8) or clip_{seed}.mp4, and clip_{seed}.json, into out_dir;
    {seed} is the clip's own seed, unlike in any other split. size: side in pixels. assets_dir: a kit, folder or
    archive. snapshots: draw only that many random moments of each clip (no video; fps is not used), with labels for
    just these and nothing said. Raises AssetsError, and RuntimeError if a worker dies.
    """
    kit = assets.open_kit(assets_dir)
    assets.require_hands(kit, split)
    out_dir.mkdir(parents=True, exist_ok=True)
    suffix = ".mp4" if as_video else ".npy"
    seeds = [clip_seed(split, index) for index in range(seed, seed + num_clips)]
    missing = [
        s for s in seeds if not ((out_dir / f"clip_{s}.json").exists() and (out_dir / f"clip_{s}{suffix}").exists())
    ]
    workers = max(1, min(workers, len(missing)))
    jobs = [(kit, out_dir, split, missing[rank::workers], size, fps, as_video, snapshots) for rank in range(workers)]
    os.environ.setdefault("MUJOCO_GL", "egl")
    context = mp.get_context("spawn")
    done = context.Queue()
    processes = [context.Process(target=_work, args=(*job, done), daemon=True) for job in jobs if job[3]]
    for process in processes:
        process.start()
    num_done = 0  # a bar that is not shown does not count
    with tqdm(total=len(missing), unit="clip", mininterval=1, disable=not progress, file=sys.stderr) as bar:
        while num_done < len(missing):
            try:
                done.get(timeout=5)
                num_done += 1
                bar.update()
            except queue.Empty:
                dead = [process for process in processes if process.exitcode not in (None, 0)]
                if dead:
                    raise RuntimeError(f"a render worker ended with code {dead[0].exitcode}") from None
    for process in processes:
        process.join()
    return len(missing)


def film_clip(kit: Path, out: Path, split: str, seed: int, seconds: float, size: int, fps: float) -> None:
    """Render one clip as video to `out`, and its objects, events and questions to the .json beside it."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    from train.tabletop.render import TabletopPlayer

    script, folder = write_script(split, clip_seed(split, seed), seconds), assets.open_kit(kit)
    assets.require_hands(folder, split)
    player = TabletopPlayer(folder, size)
    out.parent.mkdir(parents=True, exist_ok=True)
    times_s = frame_times(script, fps)
    frames = tqdm(player.frames(script, times_s), total=len(times_s), unit="frame", mininterval=1)
    _write_video(out, frames, fps, crf=24)
    player.close()
    truth = describe(script, fps).to_json(indent=1, leave_out=frozenset({"frames", "vocabulary"}))
    out.with_suffix(".json").write_text(truth, encoding="utf-8")


def _work(
    kit: Path,
    out_dir: Path,
    split: str,
    seeds: list[int],
    size: int,
    fps: float,
    as_video: bool,
    snapshots: int,
    done: mp.Queue,
) -> None:
    """One worker process: its own world and renderer, its share of the clips."""
    from train.tabletop.render import TabletopPlayer

    player = TabletopPlayer(kit, size)
    for seed in seeds:
        script = write_script(split, seed)
        times_s = snapshot_times(script, snapshots) if snapshots else frame_times(script, fps)
        if as_video:
            _write_video(out_dir / f"clip_{seed}.mp4", player.frames(script, times_s), fps)
        else:
            partial = out_dir / f".clip_{seed}.partial.npy"
            np.save(partial, np.stack(list(player.frames(script, times_s))))
            partial.replace(out_dir / f"clip_{seed}.npy")
        partial = out_dir / f".clip_{seed}.partial.json"
        truth = describe_snapshots(script, times_s) if snapshots else describe(script, fps)
        partial.write_text(truth.to_json(), encoding="utf-8")
        partial.replace(out_dir / f"clip_{seed}.json")
        done.put(seed)
    player.close()


def _write_video(path: Path, frames: Iterable[np.ndarray], fps: float, crf: int = 20) -> None:
    """Encode frames as H.264 in an MP4 of exactly `fps` frames a second."""
    from fractions import Fraction

    import av

    partial = path.with_name(f".{path.stem}.partial.mp4")
    with av.open(str(partial), "w") as container:
        stream = None
        for pixels in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": str(crf), "preset": "slow"}
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        if stream is not None:
            container.mux(stream.encode())
    partial.replace(path)
