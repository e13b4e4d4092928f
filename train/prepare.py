"""The `prepare` command of `python -m train`: a user's own recordings become clips for training and validation.

Every clip is written whole or not at all, and one that is there already is left alone, so that a broken run goes on
where it stopped. Clips of an earlier run that are no longer wanted are removed, those of anything else never.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from train.clip import Clip
from train.recordings.footage import Footage, probe, sample
from train.recordings.plan import ClipPlan, Shot, doubts, plan_clips, said_after
from train.recordings.record import Readout, RecordingsError, Spoken, refuse_all
from train.recordings.source import read_source

SPLITS = ("train", "val")


class NoRoom(RecordingsError):
    """The clips do not fit on the disk, or cannot be written there."""

    exit_code = 3


@dataclass(frozen=True)
class Summary:
    """What `prepare` did. removed: clips of an earlier run. seconds, remarks, questions: of all clips together."""

    clips: int
    val_clips: int
    seconds: float
    remarks: int
    questions: int
    made: int
    removed: int

    def __str__(self) -> str:
        clips = f"{self.clips} clips, {self.val_clips} of them for validation"
        if self.clips == 1:
            clips = "1 clip alone, for training and for validation"
        text = f"{clips}; {self.seconds / 60:.1f} minutes, {self.remarks} remarks, {self.questions} questions"
        text += f"; {self.made} written"
        return text + (f", {self.removed} of an earlier run removed" if self.removed else "")


def run(arguments: argparse.Namespace) -> int:
    """Prepare what the command line names; warnings go to stderr."""
    summary = prepare(
        arguments.source,
        arguments.out,
        fps=arguments.fps,
        size=arguments.size,
        val_share=arguments.val_share,
        seed=arguments.seed,
        warn=lambda text: tqdm.write(f"warning: {text}", file=sys.stderr),
    )
    print(f"{arguments.out}: {summary}")
    return 0


def prepare(
    source: Path,
    out: Path,
    *,
    fps: float = 2.0,
    size: int = 384,
    val_share: float = 0.2,
    seed: int = 0,
    warn: Callable[[str], None] = lambda text: None,
) -> Summary:
    """Write out/{train,val}/clip_NNN.npy (T×S×S×3 uint8) and .json; see train/recordings for what a source may be.

    Nothing is written if the source has a mistake: RecordingsError has a line for each. NoRoom if the disk is full.
    """
    _check(fps, size, val_share)
    reading = read_source(source)
    shots = _look_through(reading)
    for text in [*reading.warnings, *(doubt for shot in shots for doubt in doubts(shot, fps))]:
        warn(text)
    plans = plan_clips(shots, fps=fps, size=size, val_share=val_share, seed=seed)
    present = _present(plans, out, size)
    missing = [plan for plan in plans if not present.get((plan.split, plan.name))]
    _check_room(missing, size, out)
    try:
        removed = _remove_others(plans, out)
        _write(missing, out, fps, size, warn)
    except OSError as error:
        raise NoRoom(f"{error.filename or out}: cannot be written: {error.strerror}") from None
    return _summarize(plans, len(missing), removed)


def _check(fps: float, size: int, val_share: float) -> None:
    mistakes = []
    if not 0 < fps <= 30:
        mistakes.append(f"--fps {fps:g}: must be above 0 and at most 30")
    if not 32 <= size <= 1024:
        mistakes.append(f"--size {size}: must be 32 to 1024")
    if not 0 <= val_share < 1:
        mistakes.append(f"--val-share {val_share:g}: must be at least 0 and below 1")
    refuse_all(mistakes)


def _look_through(reading: Readout) -> list[Shot]:
    shots, mistakes = [], []
    for recording in tqdm(reading.recordings, desc="look", unit="video", leave=False):
        try:
            shots.append(Shot(recording, probe(recording.video)))
        except RecordingsError as error:
            mistakes.append(str(error))
    refuse_all(mistakes)
    return shots


def _present(plans: Sequence[ClipPlan], out: Path, size: int) -> dict[tuple[str, str], bool]:
    """Of each planned clip whose file is there: whether it is that clip. Raises RecordingsError if it is another's."""
    present, mistakes = {}, []
    for plan in plans:
        path = out / plan.split / f"{plan.name}.json"
        if path.is_file():
            made_from = _made_from(path)
            if made_from is None:
                mistakes.append(f"{path}: was not made by `prepare`; name another folder with --out")
            present[plan.split, plan.name] = made_from == plan.clip.made_from and path.with_suffix(".npy").is_file()
        elif path.with_suffix(".npy").exists() and not _are_frames(path.with_suffix(".npy"), len(plan.frames), size):
            mistakes.append(f"{path.with_suffix('.npy')}: has no description, and may be yours; move it, or delete it")
    refuse_all(mistakes)
    return present


def _are_frames(path: Path, most: int, size: int) -> bool:
    """Whether a file without a description can be what a run left that was killed: frames of a clip, `most` at most."""
    try:
        shape, dtype = (frames := np.load(path, mmap_mode="r")).shape, frames.dtype
    except (OSError, ValueError, EOFError):
        return False
    return dtype == np.uint8 and shape[1:] == (size, size, 3) and shape[0] <= most


def _made_from(path: Path) -> str | None:
    """What a clip's description says of its making; None if it was not made here."""
    try:
        meta: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return meta.get("made_from") if isinstance(meta, dict) else None


def _check_room(plans: Sequence[ClipPlan], size: int, out: Path) -> None:
    needed = sum(len(plan.frames) for plan in plans) * size * size * 3
    folder = next(f for f in (out.absolute(), *out.absolute().parents) if f.is_dir())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise NoRoom(
            f"{folder}: the clips need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; make room, or name another "
            "folder with --out"
        )


def _remove_others(plans: Sequence[ClipPlan], out: Path) -> int:
    """Remove the clips of an earlier run, and drafts of a broken one; returns how many clips went."""
    wanted = {(plan.split, plan.name) for plan in plans}
    removed = 0
    for split in SPLITS:
        for draft in (out / split).glob(".clip_*.draft"):
            draft.unlink()
        for path in sorted((out / split).glob("clip_*.json")):
            if (split, path.stem) not in wanted and _made_from(path) is not None:
                path.unlink()
                path.with_suffix(".npy").unlink(missing_ok=True)
                removed += 1
    return removed


def _write(plans: Sequence[ClipPlan], out: Path, fps: float, size: int, warn: Callable[[str], None]) -> None:
    by_video = groupby(plans, key=lambda plan: plan.footage)
    with tqdm(total=sum(len(plan.frames) for plan in plans), desc="prepare", unit="frame") as bar:
        for footage, wanted in by_video:
            told: list[str] = []
            for plan, frames in _take(footage, list(wanted), fps, size, told.append):
                if len(frames) < len(plan.frames) and not told:
                    at_s = (plan.frames.start + len(frames)) / fps
                    told.append(f"{footage.path}: the picture ends at {at_s:.1f} s of {footage.end_s:.1f} s")
                if len(frames):
                    _write_clip(plan, frames, out, fps)
                bar.update(len(plan.frames))
            for text in told:
                warn(text)


def _take(
    footage: Footage, plans: list[ClipPlan], fps: float, size: int, warn: Callable[[str], object]
) -> Iterator[tuple[ClipPlan, np.ndarray]]:
    """Each plan with its frames, fewer where the video ends early; it is decoded once, up to the last of them."""
    frames = sample(footage, fps, size, warn)
    for wanted, group in groupby(plans, key=lambda plan: plan.frames):
        taken = np.empty((len(wanted), size, size, 3), np.uint8)
        count = 0
        for number, frame in frames:
            if number in wanted:
                taken[count] = frame
                count += 1
            if number + 1 == wanted.stop:
                break
        yield from ((plan, taken[:count]) for plan in group)


def _write_clip(plan: ClipPlan, frames: np.ndarray, out: Path, fps: float) -> None:
    folder = out / plan.split
    folder.mkdir(parents=True, exist_ok=True)
    path, draft, draft_of_frames = (
        folder / name for name in (f"{plan.name}.json", f".{plan.name}.draft", f".{plan.name}.frames.draft")
    )
    clip = plan.clip if len(frames) == len(plan.frames) else _shortened(plan.clip, len(frames))
    with draft_of_frames.open("wb") as file:
        np.save(file, frames)
    draft.write_text(clip.to_json(indent=1), encoding="utf-8")
    path.unlink(missing_ok=True)  # a clip counts only with its description
    draft_of_frames.replace(path.with_suffix(".npy"))
    draft.replace(path)


def _shortened(clip: Clip, num_frames: int) -> Clip:
    """The description of a clip that ends early, without what is said behind its end."""
    events = [e for e in clip.events if said_after(Spoken(e.time_s, ""), clip.fps) < num_frames]
    questions = [q for q in clip.questions if said_after(Spoken(q.time_s, "", "?"), clip.fps) < num_frames]
    return clip.model_copy(update={"num_frames": num_frames, "events": events, "questions": questions})


def _summarize(plans: Sequence[ClipPlan], made: int, removed: int) -> Summary:
    clips = {plan.name: plan for plan in plans}.values()
    return Summary(
        clips=len(clips),
        val_clips=sum(plan.split == "val" for plan in plans),
        seconds=sum(plan.clip.num_frames / plan.clip.fps for plan in clips),
        remarks=sum(len(plan.clip.events) for plan in clips),
        questions=sum(len(plan.clip.questions) for plan in clips),
        made=made,
        removed=removed,
    )
