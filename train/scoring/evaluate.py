"""Scores checkpoints on held-out clips as they would run: free, at their threshold, their own words in their cache.

Clips run in lock-step (`train.scoring.lockstep`), unless their streams sum up; frames are encoded once for all
checkpoints that share a vision tower.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from model.assembly import DTYPES, assemble
from model.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from model.stream import WhenFull
from model.videolm import VideoLM
from train.clip import Clip, ClipQuestion
from train.clips import ClipFile
from train.recipe import RecipeError
from train.scoring.answers import ScoredAnswer
from train.scoring.calibration import GRID, Trial, best_threshold, sweep, try_thresholds
from train.scoring.events import ScoredEvent, read, true_events
from train.scoring.freerun import FreeRun, free_run
from train.scoring.lockstep import Job, free_run_many
from train.scoring.metrics import StreamMetrics
from train.scoring.teacher import Forced, force, teacher_forced
from train.scoring.towers import encode_once, open_tower, tower_key

__all__ = ["ClipResult", "Evaluated", "Options", "evaluate", "run_clips", "teacher_forced"]


@dataclass(frozen=True)
class Options:
    """How to run. batch: clips at once. threshold: instead of each checkpoint's own. window_tokens, when_full: of each
    stream, see `StreamOptions`; streams that sum up run one after another.
    """

    device: str = "cpu"
    batch: int = 8
    threshold: float | None = None
    window_tokens: int = 2048
    when_full: WhenFull = "window"

    @property
    def dtype(self) -> str:
        """What decoders compute in."""
        return "bfloat16" if self.device.startswith("cuda") else "float32"


@dataclass(frozen=True)
class ClipResult:
    """One clip: what was said, what was true.

    group: what it is counted with. silence_probs: of the free run, one a frame. forced_probs, forced_silent: p(silence)
    with the true replies in place, and whether silence was right, at every learned frame. unseen: what was never
    trained on. traits: what else is told apart in reports, such as {"hand": "scanned"}.
    """

    clip: str
    group: str
    fps: float
    seconds: float
    said: list[ScoredEvent]
    true: list[ScoredEvent]
    answers: list[ScoredAnswer]
    silence_probs: list[float] = field(default_factory=list)
    metrics: StreamMetrics | None = None
    of_remarks: StreamMetrics | None = None
    forced_probs: list[float] = field(default_factory=list)
    forced_silent: list[bool] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    traits: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated:
    """One checkpoint's results. trials: the thresholds it was calibrated with, empty if it was not."""

    name: str
    path: Path
    threshold: float
    results: list[ClipResult]
    trials: list[Trial] = field(default_factory=list)


def evaluate(
    paths: Sequence[Path], clips: Sequence[ClipFile], options: Options, *, calibration: Sequence[ClipFile] = ()
) -> Iterator[Evaluated]:
    """Each checkpoint's results, those that share a tower together.

    calibration: clips to choose each checkpoint's threshold on first; it is then stored in the checkpoint. Raises
    RecipeError if two checkpoints have one name or clips cannot be run, CheckpointError for what is none.
    """
    if options.batch < 1 or not 0 <= (options.threshold or 0) <= 1:
        raise RecipeError(f"batch = {options.batch}, threshold = {options.threshold}: must be at least 1, and 0 to 1")
    names = [checkpoint_name(path) for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"two checkpoints are called {name}: their reports would lie in one folder; rename one")
    for clip in (*clips, *calibration):
        if clip.clip.snapshots:
            raise RecipeError(f"{clip.path}: is made of single moments, not of a stream; evaluate on another folder")
    by_tower: dict[str, list[Path]] = {}
    for path in paths:
        by_tower.setdefault(tower_key(read_checkpoint(path)), []).append(path)
    for sharing in by_tower.values():
        tower = open_tower(read_checkpoint(sharing[0]), torch.device(options.device))
        seen = encode_once(tower, clips)
        calibration_seen = encode_once(tower, calibration) if calibration else []
        del tower
        for path in sharing:
            checkpoint, trials = read_checkpoint(path), []
            model = open_model(checkpoint, options)
            if calibration:
                trials = calibrate(model, calibration, calibration_seen, options)
                model.silence_threshold = best_threshold(trials)
                store_threshold(checkpoint, path, model.silence_threshold)
            elif options.threshold is not None:
                model.silence_threshold = options.threshold
            results = run_clips(model, clips, seen, options, label=checkpoint_name(path))
            yield Evaluated(checkpoint_name(path), path, model.silence_threshold, results, trials)


def checkpoint_name(path: Path) -> str:
    """What a checkpoint is called in reports: its folder, or that of its run."""
    folder = path.absolute()
    return folder.parent.name if folder.name == "checkpoint" else folder.name


def open_model(checkpoint: Checkpoint, options: Options) -> VideoLM:
    """The checkpoint, ready to run in lock-step."""
    return assemble(checkpoint, device=torch.device(options.device), dtype=DTYPES[options.dtype], attention="sdpa")


def store_threshold(checkpoint: Checkpoint, path: Path, threshold: float) -> None:
    """Write the checkpoint again, with another threshold. Raises RecipeError for one that is not in a folder."""
    if not path.is_dir():
        raise RecipeError(f"{path}: is not a folder, so no threshold can be stored in it; leave --calibrate out")
    write_checkpoint(replace(checkpoint, spec=replace(checkpoint.spec, silence_threshold=threshold)), path)


def calibrate(model: VideoLM, clips: Sequence[ClipFile], features: Sequence[Tensor], options: Options) -> list[Trial]:
    """The scores of every threshold of the grid, without questions."""
    jobs = [Job(seen[:, : model.num_frame_tokens]) for seen in features]
    runs = sweep(model, jobs, batch=options.batch, window_tokens=options.window_tokens)
    said = [
        {threshold: remarks(run, clip.clip.fps) for threshold, run in by.items()}
        for clip, by in zip(clips, runs, strict=True)
    ]
    return try_thresholds([true_events(clip.clip) for clip in clips], said, GRID)


def run_clips(
    model: VideoLM, clips: Sequence[ClipFile], features: Sequence[Tensor], options: Options, *, label: str = "run"
) -> list[ClipResult]:
    """Show every clip to a stream of its own, and run it once more with its true replies in place.

    features: T × 10 × F each, of which a decoder that takes one token a frame gets the first.
    """
    seen = [tensor[:, : model.num_frame_tokens] for tensor in features]
    asked = [asked_at(clip.clip) for clip in clips]
    jobs = [
        Job(tensor, {frame: q.question for frame, q in questions.items()}, model.silence_threshold)
        for tensor, questions in zip(seen, asked, strict=True)
    ]
    runs = run_free(model, jobs, options, label)

    def with_true_replies(index: int) -> Forced:
        return force(model, clips[index].clip, seen[index], model.silence_threshold)

    # On a GPU the scores, which are computed on the CPU, would take as long as the passes: they go on side by side.
    with ThreadPoolExecutor(4 if options.device.startswith("cuda") else 1) as pool:
        made = pool.map(with_true_replies, range(len(clips)))
        forced = list(tqdm(made, desc=f"{label}, true replies", total=len(clips), unit="clip"))
    return [to_result(*one) for one in zip(clips, runs, asked, forced, strict=True)]


def run_free(model: VideoLM, jobs: Sequence[Job], options: Options, label: str) -> list[FreeRun]:
    """Every clip, by a stream of its own. Raises StreamError for a window that is too small."""
    if options.when_full == "window":
        return free_run_many(model, jobs, batch=options.batch, window_tokens=options.window_tokens, label=label)
    runs = []
    for job in tqdm(jobs, desc=label, unit="clip"):
        stream = model.open_stream(
            silence_threshold=job.threshold, window_tokens=options.window_tokens, when_full=options.when_full
        )
        runs.append(free_run(stream, model.connect(job.features_TNF), job.questions))
    return runs


def asked_at(clip: Clip) -> dict[int, ClipQuestion]:
    """The questions of a clip by the frame after which they are asked; those behind the last frame are left out."""
    questions = {math.floor(q.time_s * clip.fps): q for q in clip.questions}
    return {frame: q for frame, q in questions.items() if frame < clip.num_frames}


def remarks(run: FreeRun, fps: float) -> list[ScoredEvent]:
    """What was said unasked, read back; a remark without words is none."""
    return [read(u.text, u.frame / fps) for u in run.said if u.question is None and u.text.strip()]


def to_result(file: ClipFile, run: FreeRun, asked: dict[int, ClipQuestion], forced: Forced) -> ClipResult:
    """One clip's runs beside its truth."""
    clip = file.clip
    answers = [
        ScoredAnswer(u.frame / clip.fps, u.question, u.text.strip(), asked[u.frame].answer, asked[u.frame].kind)
        for u in run.said
        if u.question is not None
    ]
    return ClipResult(
        clip=file.path.stem,
        group=clip.group or clip.split or "clips",
        fps=clip.fps,
        seconds=clip.num_frames / clip.fps,
        said=remarks(run, clip.fps),
        true=true_events(clip),
        answers=answers,
        silence_probs=run.silence_probs,
        metrics=forced.metrics,
        of_remarks=forced.of_remarks,
        forced_probs=forced.silence_probs,
        forced_silent=forced.silent,
        unseen=clip.unseen,
        traits=clip.traits,
    )
