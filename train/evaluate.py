"""Scores a checkpoint on held-out clips as it would run: free, at its threshold, its own words in its cache.

Several processes share the device, because one stream is bound by kernel launches, not by the device.
"""

import json
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

import torch
from tqdm import tqdm

from model.checkpoint import open_checkpoint
from model.grammar import IGNORE_ID, Cursor
from model.videolm import VideoLM
from train.clips import ClipFile
from train.dialogue import annotate, to_turns
from train.events import Event, Score, parse_remark, score
from train.features import encode_frames
from train.freerun import free_run
from train.metrics import StreamMetrics, stream_metrics
from train.objective import embed_dialogues

TOLERANCES_S = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class ClipResult:
    """One clip: what was said, what was true."""

    clip: str
    seconds: float
    said: list[Event]
    true: list[Event]
    answers: list[tuple[str, str, str]]
    """(question, given answer, true answer)"""
    silence_probs: list[float] = field(default_factory=list)
    teacher_forced: StreamMetrics | None = None


@dataclass(frozen=True)
class Setting:
    """How to run: where, at which threshold (None: the checkpoint's), and whether to add teacher-forced metrics."""

    checkpoint: str
    device: str
    dtype: str
    threshold: float | None = None
    window_tokens: int = 2048
    with_questions: bool = True
    teacher_forced: bool = True


def evaluate(clips: Sequence[ClipFile], settings: Sequence[Setting], *, workers: int = 1) -> list[list[ClipResult]]:
    """For each setting the results by clip, in order. All settings are of one checkpoint, device and dtype."""
    jobs = [(clip, setting) for setting in settings for clip in clips]
    if workers == 1:
        _open_worker(settings[0])
        results = [_run_in_worker(job) for job in tqdm(jobs, desc="evaluate", unit="clip")]
    else:
        with ProcessPoolExecutor(workers, get_context("spawn"), _open_worker, (settings[0],)) as pool:
            results = list(tqdm(pool.map(_run_in_worker, jobs), total=len(jobs), desc="evaluate", unit="clip"))
    return [results[start : start + len(clips)] for start in range(0, len(jobs), len(clips))]


def run_clip(model: VideoLM, clip: ClipFile, setting: Setting) -> ClipResult:
    """Show one clip to a fresh stream."""
    frames = torch.from_numpy(clip.frames().copy()).permute(0, 3, 1, 2).contiguous()
    features = encode_frames(model.vision, frames)
    tokens = model.connect(features)
    fps, meta = float(clip.meta["fps"]), clip.meta
    questions = {math.floor(q["time_s"] * fps): q for q in meta["questions"]} if setting.with_questions else {}
    questions = {frame: q for frame, q in questions.items() if frame < clip.num_frames}
    stream = model.open_stream(silence_threshold=setting.threshold, window_tokens=setting.window_tokens)
    run = free_run(stream, tokens, {frame: q["question"] for frame, q in questions.items()})
    return ClipResult(
        clip=clip.path.stem,
        seconds=clip.num_frames / fps,
        said=[parse_remark(u.text, u.frame / fps) for u in run.said if u.question is None],
        true=[Event(e["time_s"], e["verb"], e["object"]) for e in meta["events"]],
        answers=[(u.question, u.text.strip(), questions[u.frame]["answer"]) for u in run.said if u.question],
        silence_probs=run.silence_probs,
        teacher_forced=teacher_forced(model, meta, features, stream.silence_threshold)
        if setting.teacher_forced
        else None,
    )


def summarize(results: Sequence[ClipResult]) -> dict[str, float]:
    """One number a line: F1 by tolerance, with and without objects, quiet remarks, answers, the paper's metrics."""
    summary: dict[str, float] = {"clips": len(results)}
    busy, quiet = [r for r in results if r.true], [r for r in results if not r.true]
    for tolerance in TOLERANCES_S:
        for name, with_object in (("verb", False), ("verb+object", True)):
            total = sum(
                (score(r.said, r.true, tolerance_s=tolerance, with_object=with_object) for r in busy), start=Score()
            )
            summary[f"F1@{tolerance:g}s {name}"] = total.f1
            if tolerance == 1.0:
                summary[f"precision@1s {name}"], summary[f"recall@1s {name}"] = total.precision, total.recall
    if quiet:
        minutes = sum(r.seconds for r in quiet) / 60
        summary["quiet remarks a minute"] = sum(len(r.said) for r in quiet) / minutes
    answers = [a for r in results for a in r.answers]
    if answers:
        summary["answers"] = len(answers)
        summary["answers right"] = fmean(float(given == true) for _, given, true in answers)
    forced = [r.teacher_forced for r in results if r.teacher_forced and r.true]
    if forced:
        for key in asdict(forced[0]):
            summary[key] = fmean(getattr(m, key) for m in forced)
    return summary


def write_report(results: Sequence[ClipResult], path: Path) -> dict[str, float]:
    """Summary and every clip's words as JSON; returns the summary."""
    summary = summarize(results)
    report = {"summary": summary, "clips": [asdict(r) for r in results]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return summary


def pick_threshold(clips: Sequence[ClipFile], setting: Setting, grid: Sequence[float], *, workers: int) -> float:
    """The silence threshold with the best F1@1s (with and without objects) on `clips`; ties go to the quieter one."""
    settings = [replace(setting, threshold=t, with_questions=False, teacher_forced=False) for t in grid]
    best = (-1.0, grid[0])
    for threshold, results in zip(grid, evaluate(clips, settings, workers=workers), strict=True):
        summary = summarize(results)
        print(f"threshold {threshold}: {json.dumps({k: round(v, 3) for k, v in summary.items()})}", flush=True)
        best = max(best, (summary["F1@1s verb"] + summary["F1@1s verb+object"], -threshold))
    return abs(best[1])


@torch.inference_mode()
def teacher_forced(model: VideoLM, meta: dict, features: torch.Tensor, threshold: float) -> StreamMetrics:
    """The paper's metrics of one clip, its description in `meta`, its T × N × F `features` on the model's device."""
    grammar = model.grammar
    rendered = grammar.render(to_turns(annotate(meta)))
    between, closing = grammar.before_frame(Cursor("frame")), grammar.before_decision
    step = between[len(closing) :] + [grammar.placeholder_id] * grammar.spec.num_frame_tokens + closing

    def logits(ids: list[int], num_frames: int, wanted: torch.Tensor) -> torch.Tensor:
        embeds = embed_dialogues(
            model.decoder,
            model.connector,
            torch.tensor([ids], device=model.device),
            [features[:num_frames]],
            grammar.placeholder_id,
        )
        return model.decoder(inputs_embeds=embeds, logits_to_keep=wanted.to(model.device)).logits[0]

    def look_ahead(num_tokens: int, first_frame: int, count: int) -> torch.Tensor:
        ids = rendered.input_ids[:num_tokens] + step * count
        return logits(ids, first_frame + count, torch.arange(num_tokens - 1 + len(step), len(ids), len(step)))

    learned = torch.tensor([i for i, label in enumerate(rendered.labels) if label != IGNORE_ID])
    kept = logits(rendered.input_ids, len(features), learned).to("cpu", torch.float32)
    full = kept.new_zeros(len(rendered.input_ids), kept.shape[-1])
    full[learned] = kept
    return stream_metrics(rendered, full, grammar, threshold, look_ahead)


_model: VideoLM | None = None
"""A worker process's model."""


def _open_worker(setting: Setting) -> None:
    global _model
    torch.set_num_threads(1 if setting.device.startswith("cuda") else torch.get_num_threads())
    _model = open_checkpoint(setting.checkpoint, device=setting.device, dtype=setting.dtype)


def _run_in_worker(job: tuple[ClipFile, Setting]) -> ClipResult:
    assert _model is not None
    return run_clip(_model, *job)
