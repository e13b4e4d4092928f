"""`python -m train ways`: which decoder to measure the three ways of inference on, and their table and charts."""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from model.assembly import open_checkpoint
from model.checkpoint import DEFAULT
from model.connector import make_connector
from model.outputs import check_all
from model.shapes import SHAPES, build_decoder
from model.vision import VisionSpec, open_vision
from train.recipe import RecipeError
from train.ways import WAYS, Glue, Measured, Plan, measure

PAPER = {"interleaved": (1.5, 34.4), "per-frame": (7.5, 24.9), "streaming": (13.5, 18.2)}
"""Frames a second and GB on an A100, five minutes of video."""


@dataclass(frozen=True)
class Subject:
    """What is measured. next_frame: frame tokens N×D, random or of a random picture."""

    name: str
    decoder: PreTrainedModel
    next_frame: Callable[[], Tensor]
    frame_tokens: int
    glue: Glue


def run(arguments: argparse.Namespace, device: torch.device) -> int:
    """Measure, write the files, print the table; the arguments are those of `python -m train ways`.

    Raises RecipeError for a video or a reply without any length.
    """
    wanted = arguments.minutes * 60 * arguments.fps
    num_frames = round(wanted) if math.isfinite(wanted) else 0
    for name, value in (
        ("--minutes × 60 × --fps", num_frames),
        ("--speak-every", arguments.speak_every),
        ("--reply-tokens", arguments.reply_tokens),
    ):
        if value < 1:
            raise RecipeError(f"{name} = {value}: must be at least 1")
    check_all([("--out", arguments.out / f"ways.{kind}") for kind in ("json", "md", "png")], {})
    subject = _open(arguments, device)
    plan = Plan(num_frames, subject.frame_tokens, arguments.speak_every, arguments.reply_tokens, subject.glue)
    measured = [
        measure(way, subject.decoder, subject.next_frame, plan, max_seconds=arguments.max_seconds) for way in WAYS
    ]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    arguments.out.mkdir(parents=True, exist_ok=True)
    title = f"{subject.name}{' with vision' if arguments.with_vision else ''}, {arguments.minutes:g} min, {name}"
    report = {"title": title, "device": name, "torch": torch.__version__, "plan": asdict(plan)}
    report |= {"with_vision": arguments.with_vision, "ways": [asdict(m) for m in measured]}
    (arguments.out / "ways.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    table = write_table(measured, arguments.out / "ways.md", title=title)
    plot_ways(measured, arguments.out / "ways.png", title=title)
    print(table)
    return 0


def _open(arguments: argparse.Namespace, device: torch.device) -> Subject:
    dtype_name = "bfloat16" if device.type == "cuda" else "float32"
    if arguments.checkpoint:
        path = DEFAULT if arguments.checkpoint == "default" else arguments.checkpoint
        model = open_checkpoint(path, device=str(device), dtype=dtype_name)
        grammar, size = model.grammar, model.image_size
        if grammar.spec.is_per_frame:
            raise RecipeError(f"--checkpoint {arguments.checkpoint}: one of streaming dialogue is needed")
        seen = (lambda: model.encode(_picture(size, device))[0]) if arguments.with_vision else None
        tokens = model.num_frame_tokens
        return Subject(
            model.name, model.decoder, seen or _random_frames(model.decoder, tokens), tokens, Glue.of(grammar)
        )
    shape, tokens = SHAPES[arguments.shape], arguments.frame_tokens
    decoder = build_decoder(shape.decoder, device, getattr(torch, dtype_name))
    seen = _random_tower(shape.vision, tokens, decoder) if arguments.with_vision else _random_frames(decoder, tokens)
    # As the Llama-3 tokenizer has them, with the published system prompt.
    glue = Glue(opening=32, between=1 if tokens > 1 else 0, closing=3, reopening=3)
    return Subject(f"{arguments.shape}, random weights", decoder, seen, tokens, glue)


def _random_frames(decoder: PreTrainedModel, frame_tokens: int) -> Callable[[], Tensor]:
    weight = next(decoder.parameters())
    size = (frame_tokens, decoder.config.hidden_size)
    return lambda: torch.randn(size, dtype=weight.dtype, device=weight.device) / 50


def _random_tower(spec: VisionSpec, frame_tokens: int, decoder: PreTrainedModel) -> Callable[[], Tensor]:
    weight = next(decoder.parameters())
    tower = open_vision(spec).to(weight.device, weight.dtype)
    connector = make_connector(tower.feature_width, decoder.config.hidden_size).to(weight.device, weight.dtype)

    @torch.inference_mode()
    def look() -> Tensor:
        return connector(tower(_picture(spec.image_size, weight.device)))[0, :frame_tokens]

    return look


def _picture(size: int, device: torch.device) -> Tensor:
    return torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8, device=device)


def write_table(measured: Sequence[Measured], path: Path, *, title: str) -> str:
    """Write the figures beside the paper's as a Markdown table; returns it."""
    rows = [
        "| way | fps | ms a frame, p50 / p95 | frames | tokens in the cache | cache | peak memory | paper, A100 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for m in measured:
        peak = "" if m.peak_gib is None else f"{m.peak_gib:.1f} GiB"
        paper_fps, paper_gb = PAPER[m.way]
        rows.append(
            f"| {m.way} | {m.fps:.2f} | {m.p50_ms:.1f} / {m.p95_ms:.1f} | {m.frames_done} of {m.num_frames} "
            f"| {m.cache_tokens:,} | {m.cache_gib:.3g} GiB | {peak} | {paper_fps} fps, {paper_gb} GB |"
        )
    notes = "The cache is allocated for the whole video. Rates are over the frames shown, and fall as the cache fills."
    text = f"# {title}\n\n" + "\n".join(rows) + f"\n\n{notes}\n"
    path.write_text(text, encoding="utf-8")
    return text


def plot_ways(measured: Sequence[Measured], path: Path, *, title: str) -> None:
    """Two bar charts: frames a second, and memory (of the GPU, or on a CPU of the cache)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    figure.suptitle(title)
    on_gpu = all(m.peak_gib is not None for m in measured)
    memory = [m.cache_gib if m.peak_gib is None else m.peak_gib for m in measured]
    for axes, values, label in zip(
        figure.subplots(1, 2),
        ([m.fps for m in measured], memory),
        ("frames a second", "peak memory, GiB" if on_gpu else "cache, GiB"),
        strict=True,
    ):
        bars = axes.bar([m.way for m in measured], values, color=["C3", "C1", "C0"])
        axes.bar_label(bars, fmt="{:.3g}")
        axes.set(ylabel=label)
        axes.margins(y=0.15)
    figure.savefig(path, dpi=120)
