"""Rendered clips on disk: `clip_*.npy` (frames) beside `clip_*.json` (what happens in them)."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.recipe import RecipeError


@dataclass(frozen=True)
class ClipFile:
    """One clip. meta: its description, with events, questions and per-frame labels."""

    path: Path
    meta: dict

    @property
    def num_frames(self) -> int:
        """Frames in the clip."""
        return int(self.meta["num_frames"])

    def frames(self) -> np.ndarray:
        """T×S×S×3 uint8, memory-mapped."""
        return np.load(self.path, mmap_mode="r")


def list_clips(folder: Path) -> list[ClipFile]:
    """All whole clips in `folder`, in order of their names. Raises RecipeError if there is none."""
    clips = [
        ClipFile(path.with_suffix(".npy"), json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(folder.glob("clip_*.json"))
        if path.with_suffix(".npy").is_file()
    ]
    if not clips:
        raise RecipeError(f"{folder}: holds no clips; make some first (python -m train tabletop, or prepare)")
    return clips
