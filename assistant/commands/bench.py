"""`onlooker bench`: how fast the model runs on this machine, as a table, as JSON and as a picture."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.commands.common import PullBar, add_config_option, overrides_of, settings_of
from assistant.errors import UsageError

if TYPE_CHECKING:
    from model.bench import Bench, Timing
    from model.videolm import VideoLM

OVERRIDES = {"model": "model.name", "device": "model.device", "window": "stream.window_tokens"}
MIB = 2**20


def add_parser(commands) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "bench",
        help="measure the model's speed on this machine",
        description="Times silent frames, words, a mixture of both and a backlog. What is decided is fixed, so that "
        "all machines do the same work. Close other programs first.",
    )
    parser.add_argument("--model", metavar="NAME", help="checkpoint (model.name)")
    parser.add_argument("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N (model.device)")
    parser.add_argument("--window", metavar="TOKENS", help="size of the cache (stream.window_tokens)")
    parser.add_argument("--samples", metavar="N", type=int, default=30, help="times that each thing is done (30)")
    parser.add_argument("--seconds", metavar="S", type=float, default=20.0, help="at most, for each thing (20)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="write bench.json, bench.md and bench.png there")
    add_config_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print. Raises UsageError, and what opening a model raises."""
    from assistant.opening import open_model
    from model.bench import Bencher

    if args.samples < 1 or args.seconds <= 0:
        raise UsageError(f"--samples {args.samples} --seconds {args.seconds:g}: must be at least 1, and more than 0")
    config = settings_of(args, overrides_of(args, OVERRIDES)).config
    started_s = time.perf_counter()
    with PullBar() as bar:
        model = open_model(config.model, on_progress=bar.update)
    opened_s = time.perf_counter() - started_s
    window = config.stream.window_tokens
    bencher = Bencher(model, window_tokens=window, samples=args.samples, max_seconds=args.seconds)
    lengths = [tokens for tokens in (512, 2048, 8192, 32768) if tokens < window] + [window]
    bench = bencher.measure(lengths, lambda part: print(f"bench: {part} …", file=sys.stderr, flush=True))
    report = {**describe(model), "window_tokens": window, "opened_s": opened_s, **dataclasses.asdict(bench)}
    table = make_table(report, bench)
    print(json.dumps(report) if args.json else table)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "bench.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (args.out / "bench.md").write_text(table + "\n", encoding="utf-8")
        draw(bench, report, args.out / "bench.png")
    return 0


def describe(model: VideoLM) -> dict[str, Any]:
    """What was measured, and on what."""
    import platform

    import torch

    is_gpu = model.device.type == "cuda"
    return {
        "date": time.strftime("%Y-%m-%d"),
        "model": model.name,
        "device": torch.cuda.get_device_name(model.device) if is_gpu else f"{torch.get_num_threads()} CPU threads",
        "dtype": str(next(model.decoder.parameters()).dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def make_table(report: dict[str, Any], bench: Bench) -> str:
    """All figures in Markdown."""
    from model.bench import BACKLOG_FRAMES, REPLY_EVERY, REPLY_TOKENS

    rows: list[tuple[str, Timing]] = []
    for at in bench.at_length:
        rows.append((f"silent frame, {at.num_tokens:,} tokens in the cache", at.silent_frame))
        rows.append(("– without the vision tower", at.decoder_frame))
        rows.append(("– one word of a reply", at.token))
    rows.append((f"backlog of {BACKLOG_FRAMES} frames", bench.backlog))
    lines = [f"| {name} | {t.p50_ms:.1f} | {t.p95_ms:.1f} | {t.p99_ms:.1f} | {t.count} |" for name, t in rows]
    memory = "" if bench.peak_bytes is None else f", at most {bench.peak_bytes / MIB:,.0f} MiB on the GPU"
    return "\n".join(
        [
            f"{report['model']}, {report['dtype']}, {report['device']}, torch {report['torch']}",
            "",
            "| ms | p50 | p95 | p99 | times |",
            "| --- | ---: | ---: | ---: | ---: |",
            *lines,
            "",
            f"{bench.mixed_fps:.2f} frames/s with a reply of {REPLY_TOKENS} words after every {REPLY_EVERY}th "
            f"({bench.mixed.count} frames)",
            f"opened in {report['opened_s']:.1f} s, first frame in {bench.first_ms / 1000:.1f} s; "
            f"cache {bench.cache_bytes / MIB:,.0f} MiB{memory}",
        ]
    )


def draw(bench: Bench, report: dict[str, Any], path: Path) -> None:
    """Latency against the length of the stream; needs matplotlib, and says so where there is none."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("bench: no picture, for matplotlib is missing (pip install matplotlib)", file=sys.stderr)
        return
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
    figure.savefig(path, dpi=120)
