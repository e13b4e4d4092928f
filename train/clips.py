"""Rendered clips on disk: `clip_*.npy` (frames) beside `clip_*.json` (what happens in them)."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.clip import Clip, read_clip
from train.recipe import RecipeError


@dataclass(frozen=True)
class ClipFile:
    """One clip: the file of its frames, and its description."""

    path: Path
    clip: Clip

    @property
    def num_frames(self) -> int:
        """Frames in the clip."""
        return self.clip.num_frames

    def frames(self) -> np.ndarray:
        """T×S×S×3 uint8, memory-mapped. Raises RecipeError for a file that is damaged, or another clip's."""
        try:
            frames = np.load(self.path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise RecipeError(f"{self.path}: cannot be read: {error}; make the clip again") from None
        is_right = frames.ndim == 4 and frames.dtype == np.uint8 and frames.shape[3] == 3
        if not is_right or len(frames) != self.num_frames:
            shape = f"{self.num_frames} × side × side × 3 bytes"
            raise RecipeError(f"{self.path}: holds {frames.dtype} {frames.shape}, not {shape}; make the clip again")
        return frames


def list_clips(folder: Path) -> list[ClipFile]:
    """All whole clips in `folder`, in order of their names. Raises RecipeError if there is none."""
    clips = [
        ClipFile(path.with_suffix(".npy"), read_clip(path))
        for path in sorted(folder.glob("clip_*.json"))
        if path.with_suffix(".npy").is_file()
    ]
    if not clips:
        raise RecipeError(f"{folder}: holds no clips; make some first (python -m train tabletop, or prepare)")
    return clips


def share(clips: list[ClipFile], rank: int, num_ranks: int) -> list[ClipFile]:
    """This process's part of the clips; where there are more processes than clips, some get the same one."""
    return clips[rank::num_ranks] or [clips[rank % len(clips)]]


def refuse_measuring(clips: Iterable[ClipFile]) -> None:
    """Raises RecipeError if one is for measuring only: what has been trained on measures nothing."""
    for clip in clips:
        if clip.clip.measuring_only:
            raise RecipeError(f"{clip.path}: is for measuring only, not to be trained on; give it to `evaluate` alone")
