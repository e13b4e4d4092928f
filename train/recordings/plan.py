"""Which clips are made of recordings, and what stands in their descriptions. Pure."""

import hashlib
import itertools
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from train.clip import Clip, ClipEvent, ClipQuestion, ClipSource
from train.recordings.cutting import choose_silent, choose_val, cut
from train.recordings.footage import Footage
from train.recordings.record import Recording, Spoken

CLOSE_S = 1.0
MAX_DOUBTS = 5


@dataclass(frozen=True)
class Shot:
    """A recording and its video, looked through."""

    recording: Recording
    footage: Footage


@dataclass(frozen=True)
class ClipPlan:
    """A clip to be made. frames: of its video, on the grid. split: "train" or "val". clip: its description."""

    footage: Footage
    frames: range
    split: str
    clip: Clip

    @property
    def name(self) -> str:
        """Its files' stem."""
        return self.clip.name


def plan_clips(shots: Sequence[Shot], *, fps: float, size: int, val_share: float, seed: int) -> list[ClipPlan]:
    """The clips of all recordings, video after video; one alone is planned twice, for training and for validation.

    The same arguments give the same plan. A clip's description is that of the simulated world's clips without labels of
    frames, with "source" (video and start) and "made_from", which changes with whatever would change the clip.
    """
    chosen: list[tuple[Shot, range, list[Spoken]]] = []
    for shot in shots:
        spoken, whole = shot.recording.spoken, shot.footage.frames(fps)
        parts = cut(len(whole), fps, [s.time_s - whole.start / fps for s in spoken])
        clips = [whole[part.start : part.stop] for part in parts]
        said = [[s for s in spoken if said_after(s, fps) in frames] for frames in clips]
        rng = random.Random(f"{seed} {shot.footage.path.name}")
        chosen += [(shot, clips[i], said[i]) for i in choose_silent([not words for words in said], rng)]
    val = choose_val([not said for _, _, said in chosen], val_share, random.Random(f"{seed} val"))
    plans = []
    for number, (shot, frames, said) in enumerate(chosen):
        for split in ("train", "val") if len(chosen) == 1 else ("val" if number in val else "train",):
            clip = describe(f"clip_{number:03d}", split, shot.footage, frames, said, fps=fps, size=size)
            plans.append(ClipPlan(shot.footage, frames, split, clip))
    return plans


def said_after(spoken: Spoken, fps: float) -> int:
    """The frame after which it is said: the first after an event, the last before a question (train/dialogue.py)."""
    return math.floor(spoken.time_s * fps) + (spoken.question is None)


def describe(
    name: str, split: str, footage: Footage, frames: range, said: Sequence[Spoken], *, fps: float, size: int
) -> Clip:
    """The description of one clip; times in it count from its first frame."""
    start_s = frames.start / fps

    def clip_s(spoken: Spoken) -> float:
        return max(0.0, round(spoken.time_s - start_s, 3))

    clip = Clip(
        name=name,
        split=split,
        fps=fps,
        num_frames=len(frames),
        events=[ClipEvent(time_s=clip_s(s), text=s.text) for s in said if s.question is None],
        questions=[
            ClipQuestion(time_s=clip_s(s), question=s.question, answer=s.text, kind="present")
            for s in said
            if s.question is not None
        ],
        source=ClipSource(video=footage.path.name, start_s=round(start_s, 3)),
    )
    made_from = json.dumps([clip.to_json(), footage.num_bytes, footage.first_s, footage.end_s, size])
    return clip.model_copy(update={"made_from": hashlib.sha256(made_from.encode()).hexdigest()[:16]})


def doubts(shot: Shot, fps: float) -> list[str]:
    """What looks off about a recording, a line each, the first five of them."""
    spoken, end_s, whole = shot.recording.spoken, shot.footage.end_s, shot.footage.frames(fps)
    if not spoken:
        return [f"{shot.footage.path}: nothing is said in it; it will be learned as silence"]
    lines = [
        f"{s.where}: {s.text!r} at {s.time_s:g} s is too close to the end of {shot.footage.path.name}, or behind it "
        f"({end_s:.1f} s), and is left out"
        for s in spoken
        if said_after(s, fps) >= whole.stop
    ]
    lines += [
        f"{s.where}: {s.text!r} at {s.time_s:g} s is before the picture of {shot.footage.path.name}, which begins at "
        f"{shot.footage.first_s:.1f} s, and is left out"
        for s in spoken
        if said_after(s, fps) < whole.start
    ]
    remarks = [s for s in spoken if s.question is None]
    lines += [
        f"{after.where}: {after.text!r} follows the remark before it by {after.time_s - before.time_s:.1f} s; "
        f"remarks should be {CLOSE_S:g} s apart"
        for before, after in itertools.pairwise(remarks)
        if after.time_s - before.time_s < CLOSE_S
    ]
    more = [f"{shot.footage.path}: … and {len(lines) - MAX_DOUBTS} more warnings"] if len(lines) > MAX_DOUBTS else []
    return lines[:MAX_DOUBTS] + more
