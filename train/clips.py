"""Rendered clips on disk: `clip_*.npy` (frames) beside `clip_*.json` (what happens in them)."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.dialogue import annotate_for_study
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
        ClipFile(path.with_suffix(".npy"), read_meta(path))
        for path in sorted(folder.glob("clip_*.json"))
        if path.with_suffix(".npy").is_file()
    ]
    if not clips:
        raise RecipeError(f"{folder}: holds no clips; make some first (python -m train tabletop, or prepare)")
    return clips


def read_meta(path: Path) -> dict:
    """A clip's description, with all that is learned from. Raises RecipeError."""
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        annotate_for_study(meta)
        has_rate = meta["fps"] > 0 or meta.get("snapshots")  # snapshots are moments without order
        if not (meta["num_frames"] >= 1 and has_rate):
            raise RecipeError(f"{path}: describes a clip without frames; make it again")
    except KeyError as error:
        raise RecipeError(f"{path}: describes no clip, it lacks {error}; make it again") from None
    except (TypeError, AttributeError, OverflowError):
        raise RecipeError(f"{path}: describes no clip; make it again") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}; make the clip again") from None
    return meta


def share(clips: list[ClipFile], rank: int, num_ranks: int) -> list[ClipFile]:
    """This process's part of the clips; where there are more processes than clips, some get the same one."""
    return clips[rank::num_ranks] or [clips[rank % len(clips)]]


def refuse_measuring(clips: Iterable[ClipFile]) -> None:
    """Raises RecipeError if one is for measuring only: what has been trained on measures nothing."""
    for clip in clips:
        if clip.meta.get("measuring_only"):
            raise RecipeError(f"{clip.path}: is for measuring only, not to be trained on; give it to `evaluate` alone")
