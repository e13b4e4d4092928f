"""`onlooker bench`: how fast a model runs on this machine, as a table, JSON, a picture, a line of a history"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import io
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.commands.common import add_config_option, inputs_of, overrides_of, settings_of
from assistant.errors import UsageError
from assistant.mind.loop import MAX_BATCH
from assistant.runtime.folders import absolute
from assistant.runtime.progress import PullBar
from model import outputs

if TYPE_CHECKING:
    from assistant.capture.source import Source
    from assistant.config.keys import Config
    from assistant.config.settings import Settings
    from assistant.watch.comparison import Told
    from assistant.watch.playback import Playback
    from model.bench import Bench, Memory, Timing
    from model.videolm import VideoLM

OVERRIDES = {
    "model": "model.name",
    "device": "model.device",
    "engine": "model.engine",
    "weights": "model.weights",
    "window": "stream.window_tokens",
}
MIN_FRAMES = 10
MIB = 2**20


def add_parser(commands) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "bench",
        help="measure the model's speed on this machine",
        description="Times silent frames, words, a mixture of both, and backlogs. What is decided is fixed, so that "
        "all machines do the same work. Close other programs first.",
    )
    subject = parser.add_mutually_exclusive_group()
    subject.add_argument("--model", metavar="NAME", help="checkpoint (model.name)")
    subject.add_argument(
        "--shape",
        metavar="NAME",
        help="random weights of this size instead: 8b-v1plus, proassist-i10, proassist-i5, proassist-i1, 135m, or tiny "
        "to try it out",
    )
    parser.add_argument("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N (model.device)")
    parser.add_argument("--engine", metavar="ENGINE", help="auto, graphs or plain (model.engine)")
    parser.add_argument("--weights", metavar="FORMAT", help="dtype, int8, fp8 or int4 (model.weights)")
    parser.add_argument("--window", metavar="TOKENS", help="size of the cache (stream.window_tokens)")
    parser.add_argument("--samples", metavar="N", type=int, default=30, help="times that each thing is done (30)")
    parser.add_argument("--seconds", metavar="S", type=float, default=20.0, help="at most, for each thing (20)")
    parser.add_argument("--frames", metavar="N", type=int, default=0, help="also a long run of so many frames (10000)")
    parser.add_argument(
        "--video", metavar="VIDEO", help="also all of this video, as fast as it goes, through the threads of a run"
    )
    parser.add_argument(
        "--check",
        metavar="VIDEO",
        nargs="+",
        help="measure nothing; count the decisions and replies on these videos that are not those of the plain engine "
        'with weights as they are; "demo" is the bundled clip',
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--out", metavar="FOLDER", type=absolute, help="write bench.json, bench.md and bench.png there")
    parser.add_argument("--append", metavar="FILE", type=absolute, help="append the main figures as a line of JSON")
    add_config_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print. Raises UsageError, and what opening a model raises."""
    import psutil

    from assistant.capture.source import parse_source
    from assistant.mind.opening import open_model, open_random, settle
    from assistant.watch.playback import play

    _check(args)
    settings = settings_of(args, overrides_of(args, OVERRIDES))
    config = settings.config
    source = None if args.video is None else parse_source(args.video)
    _check_outputs(args, settings, source)
    if args.check:
        return check(args, config)
    load = round(psutil.getloadavg()[0], 2)  # what other programs do meanwhile falsifies the figures
    started_s = time.perf_counter()
    if args.shape:
        model = open_random(args.shape, config.model)
    else:
        with PullBar() as bar:
            model = open_model(config.model, on_progress=bar.update)
    opened_s = time.perf_counter() - started_s
    settle()
    from model.bench import Bencher  # torch, which `open_model` prepares

    window = config.stream.window_tokens
    bencher = Bencher(model, window_tokens=window, samples=args.samples, max_seconds=args.seconds)
    lengths = [tokens for tokens in (512, 2048, 8192, 32768) if tokens < window] + [window]
    bench = bencher.measure(
        lengths,
        lambda part: print(f"bench: {part} …", file=sys.stderr, flush=True),
        long_run_frames=args.frames,
    )
    report = {**describe(model), "load": load, "window_tokens": window, "opened_s": opened_s}
    report |= {f"{name}_s": opened_s + ms / 1000 for name, ms in (("start", bench.first_ms), ("ready", bench.ready_ms))}
    report |= dataclasses.asdict(bench)
    playbacks: dict[int, Playback] = {}
    if source:
        for max_batch in (1, MAX_BATCH):
            print(f"bench: {source.shown}, {max_batch} at a time …", file=sys.stderr, flush=True)
            playbacks[max_batch] = play(model, config, source, max_batch=max_batch)
    report["playbacks"] = {max_batch: dataclasses.asdict(playback) for max_batch, playback in playbacks.items()}
    table = make_table(report, bench, playbacks)
    print(json.dumps(report) if args.json else table)
    if args.out:
        outputs.write(args.out / "bench.json", json.dumps(report, indent=1).encode() + b"\n")
        outputs.write(args.out / "bench.md", table.encode() + b"\n")
        if picture := draw(bench, report):
            outputs.write(args.out / "bench.png", picture)
    if args.append:
        outputs.append(args.append, json.dumps(headline(report, bench, playbacks), ensure_ascii=False) + "\n")
    return 0


def check(args: argparse.Namespace, config: Config) -> int:
    """Run the videos through the plain engine and through the one that is configured, and print what differs."""
    from tqdm import tqdm

    from assistant.capture.source import parse_source
    from assistant.mind.opening import open_model
    from assistant.watch.comparison import compare, narrate

    sources = [parse_source(video) for video in args.check]
    plain = config.model.model_copy(update={"engine": "plain", "weights": "dtype"})
    told: list[list[Told]] = []
    about, threshold = {}, 0.0
    for section in (config.model, plain):  # the one that may not be had comes first
        with PullBar() as bar:
            model = open_model(section, on_progress=bar.update)
        threshold = config.stream.threshold(model.silence_threshold)
        about = about or describe(model)
        with tqdm(sources, desc=f"{model.engine.kind}, {model.engine.weights}", unit="video") as shown:
            told.append([narrate(model, config, source) for source in shown])
        del model
        gc.collect()  # both may not fit
    difference = compare(told[1], told[0], threshold)
    if args.json:
        print(json.dumps({**about, "videos": args.check, **dataclasses.asdict(difference)}))
    else:
        print(
            f"engine {about['engine']}, weights as {about['weights']}, against the plain engine: "
            f"{difference.changed} of {difference.frames} decisions changed, {difference.near} of them near the "
            f"threshold; {difference.other_words} of {difference.replies} replies in other words"
        )
    return 0


def _check(args: argparse.Namespace) -> None:
    """Before anything is measured. Raises UsageError."""
    if args.samples < 1 or not 0 < args.seconds < math.inf:
        raise UsageError(f"--samples {args.samples} --seconds {args.seconds:g}: must be at least 1, and more than 0")
    if args.frames and args.frames < MIN_FRAMES:
        raise UsageError(f"--frames {args.frames}: must be at least {MIN_FRAMES}, or 0 for no long run")
    if args.check and args.shape:
        raise UsageError(f"--check with --shape {args.shape}: random weights decide at random; name a --model instead")
    if args.check and (args.out or args.append or args.frames or args.video):
        raise UsageError("--check measures nothing: it goes without --out, --append, --frames and --video")


def _check_outputs(args: argparse.Namespace, settings: Settings, source: Source | None) -> None:
    """Before anything is measured. Raises OutputError."""
    inputs = inputs_of(settings) | (source.inputs if source else {})
    written = [("--append", args.append)] if args.append else []
    if args.out:
        written += [("--out", args.out / name) for name in ("bench.json", "bench.md", "bench.png")]
    outputs.check_all(written, inputs)


def describe(model: VideoLM) -> dict[str, Any]:
    """What was measured, and on what."""
    import platform

    import torch

    is_gpu = model.device.type == "cuda"
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "model": model.name,
        "device": torch.cuda.get_device_name(model.device) if is_gpu else f"{torch.get_num_threads()} CPU threads",
        "dtype": str(next(model.decoder.parameters()).dtype).removeprefix("torch."),
        "engine": model.engine.kind,
        "weights": model.engine.weights,
        "torch": torch.__version__,
        "cpu": cpu_name(),
        "machine": platform.machine(),
    }


def commit() -> str | None:
    """Which commit this code is, "-dirty" if it was changed since; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git here, or not our own folder
        return None


def cpu_name() -> str:
    """As Linux names the processor; elsewhere as Python does."""
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def headline(report: dict[str, Any], bench: Bench, playbacks: Mapping[int, Playback]) -> dict[str, Any]:
    """One line of a history: what was measured and where, and the figures that matter, the window being full."""
    full = bench.at_length[-1]
    about = ("date", "commit", "model", "dtype", "engine", "weights", "window_tokens", "device", "cpu", "torch", "load")
    figures: dict[str, float] = {
        "silent_p50_ms": full.silent_frame.p50_ms,
        "silent_p99_ms": full.silent_frame.p99_ms,
        "token_p50_ms": full.token.p50_ms,
        "mixed_fps": bench.mixed_fps,
        "backlog_p50_ms": bench.backlog.p50_ms,
        "long_backlog_p50_ms": bench.long_backlog.p50_ms,
        "start_s": report["start_s"],
        "ready_s": report["ready_s"],
        "opened_mib": (bench.opened.gpu_bytes or bench.opened.process_bytes) / MIB,
        "process_mib": bench.memory.process_bytes / MIB,
    }
    if bench.peak_bytes is not None:
        figures["gpu_peak_mib"] = bench.peak_bytes / MIB
    if bench.long_run is not None:
        figures["long_run_frames"] = bench.long_run.num_frames
        figures["long_run_first_p99_ms"] = bench.long_run.first.silent_frame.p99_ms
        figures["long_run_last_p99_ms"] = bench.long_run.last.silent_frame.p99_ms
    for max_batch, playback in playbacks.items():
        figures[f"video_fps_by_{max_batch}"] = playback.num_frames / playback.seconds
        figures[f"video_decoder_fps_by_{max_batch}"] = playback.num_frames / playback.decoder_s
    return {name: report[name] for name in about} | {name: round(value, 2) for name, value in figures.items()}


def make_table(report: dict[str, Any], bench: Bench, playbacks: Mapping[int, Playback]) -> str:
    """All figures in Markdown."""
    from model.bench import BACKLOG_FRAMES, LONG_BACKLOG_FRAMES, REPLY_EVERY, REPLY_TOKENS

    rows: list[tuple[str, Timing]] = []
    for at in bench.at_length:
        grown = f"{at.first_tokens:,} to {at.last_tokens:,}" if at.first_tokens <= at.last_tokens else "a full window"
        rows.append((f"silent frame, {at.num_tokens:,} tokens in the cache ({grown})", at.silent_frame))
        rows.append(("– without the vision tower", at.decoder_frame))
        rows.append(("– one word of a reply", at.token))
    rows.append((f"backlog of {BACKLOG_FRAMES} frames", bench.backlog))
    rows.append((f"backlog of {LONG_BACKLOG_FRAMES} frames", bench.long_backlog))
    ends = []
    if bench.long_run is not None:
        ends = [("first", bench.long_run.first), ("last", bench.long_run.last)]
        frames = f"silent frame, {{}} of {bench.long_run.num_frames:,} frames"
        rows += [(frames.format(which), end.silent_frame) for which, end in ends]
    lines = [f"| {name} | {t.p50_ms:.1f} | {t.p95_ms:.1f} | {t.p99_ms:.1f} | {t.count} |" for name, t in rows]
    peak = "" if bench.peak_bytes is None else f", at most {bench.peak_bytes / MIB:,.0f} MiB on the GPU"
    return "\n".join(
        [
            f"{report['model']}, {report['dtype']}, {report['device']}, torch {report['torch']}",
            f"engine {report['engine']}, weights as {report['weights']}",
            f"{report['date']}, commit {report['commit'] or 'unknown'}, {report['cpu']}, load before {report['load']}",
            "",
            "| ms | p50 | p95 | p99 | times |",
            "| --- | ---: | ---: | ---: | ---: |",
            *lines,
            "",
            f"{bench.mixed_fps:.2f} frames/s with a reply of {REPLY_TOKENS} words after every {REPLY_EVERY}th "
            f"({bench.mixed.count} frames)",
            f"start to first decision {report['start_s']:.1f} s (opened in {report['opened_s']:.1f} s, first frame in "
            f"{bench.first_ms / 1000:.1f} s), to full speed {report['ready_s']:.1f} s",
            *(
                f"the video, at most {max_batch} at a time: {playback.num_frames / playback.seconds:,.1f} frames/s "
                f"({playback.num_frames:,} frames), the decoder alone {playback.num_frames / playback.decoder_s:,.1f}"
                for max_batch, playback in playbacks.items()
            ),
            f"memory {_mib(bench.opened)} with the model open, {_mib(bench.memory)} with a stream{peak}",
            f"cache {bench.cache_bytes / MIB:,.0f} MiB",
            *(f"memory after the {which} of the long run {_mib(end.memory)}" for which, end in ends),
        ]
    )


def _mib(memory: Memory) -> str:
    on_gpu = "" if memory.gpu_bytes is None else f", {memory.gpu_bytes / MIB:,.0f} MiB on the GPU"
    return f"{memory.process_bytes / MIB:,.0f} MiB{on_gpu}"


def draw(bench: Bench, report: dict[str, Any]) -> bytes:
    """Latency against the length of the stream, as PNG; needs matplotlib, and gives none, and says so, without."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("bench: no picture, for matplotlib is missing (pip install matplotlib)", file=sys.stderr)
        return b""
    lengths = [at.num_tokens for at in bench.at_length]
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for label, colour, timings in (
        ("silent frame", "C0", [at.silent_frame for at in bench.at_length]),
        ("without the vision tower", "C1", [at.decoder_frame for at in bench.at_length]),
        ("one word", "C2", [at.token for at in bench.at_length]),
    ):
        axes.plot(lengths, [t.p50_ms for t in timings], "o-", color=colour, label=label)
        axes.fill_between(lengths, [t.p50_ms for t in timings], [t.p99_ms for t in timings], color=colour, alpha=0.2)
    axes.set(xlabel="tokens in the cache", ylabel="ms, p50 to p99", ylim=(0, None))
    axes.set_title(f"{report['model']}, {report['device']}", fontsize=10)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()
