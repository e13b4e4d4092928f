"""Vision features, encoded once and reused in every epoch (VideoLLM-online, section 3.4), kept as files by clip."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from model.tensors import first_line
from model.vision import VisionTower
from train.augment import augment
from train.clips import ClipFile, refuse_measuring
from train.recipe import RecipeError

ENCODE_AGAIN = "run `python -m train encode` again"
BATCH_FRAMES = 64
"""Frames of a pass; on a GPU of every pass, padded if need be: cuDNN plans anew, for seconds, at each new shape."""


@torch.inference_mode()
def encode_clips(
    tower: VisionTower,
    clips: Sequence[ClipFile],
    *,
    views: int = 1,
    seed: int = 0,
    has_camera_faults: bool = False,
) -> Iterator[list[Tensor]]:
    """For each clip its `views` feature tensors, frames × N × F, float16, on the tower's device.

    The first view is the clip as it is; each further one is augmented, all its frames by the same draw,
    with `has_camera_faults` as `train.augment` says. Raises RecipeError for clips that are for measuring only.
    """
    refuse_measuring(clips)
    device = next(tower.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    for clip in tqdm(clips, desc="encode", unit="clip"):
        frames = torch.from_numpy(clip.frames().copy()).to(device).permute(0, 3, 1, 2)
        by_view = []
        for view in range(views):
            seen = frames
            if view:
                seen, _ = augment(frames, None, generator, alike=True, has_camera_faults=has_camera_faults)
            by_view.append(encode_frames(tower, seen).to(torch.float16))
        yield by_view


@torch.inference_mode()
def encode_frames(tower: VisionTower, frames_T3SS: Tensor) -> Tensor:
    """Features of any number of frames, T × N × F, in passes of one size."""
    device = next(tower.parameters()).device
    parts = []
    for part in frames_T3SS.split(BATCH_FRAMES):
        if device.type == "cuda":
            shown = torch.cat((part, part.new_zeros(BATCH_FRAMES - len(part), *part.shape[1:])))
        else:
            shown = part
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            parts.append(tower(shown)[: len(part)])
    return torch.cat(parts)


def save_features(by_view: Sequence[Tensor], path: Path) -> None:
    """Write one clip's views to `path`."""
    save_file({str(view): tensor.cpu().contiguous() for view, tensor in enumerate(by_view)}, path)


def read_tensors(path: Path, remedy: str) -> dict[str, Tensor]:
    """What a file of an earlier stage holds. Raises RecipeError with the remedy where it is gone or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RecipeError(f"{path}: cannot be read: {first_line(error)}; {remedy}") from None


class FeatureFile(Sequence[Tensor]):
    """One clip's views in a file, each read when it is asked for; only the first `num_tokens` tokens of each frame.

    num_frames, width: of every view. Raises RecipeError for a file that is damaged, or does not hold that.
    """

    def __init__(self, path: Path, num_tokens: int, num_frames: int) -> None:
        self._path, self._num_tokens = path, num_tokens
        try:
            with safe_open(path, framework="pt") as file:
                self._num_views = len(file.keys())
                shapes = [tuple(file.get_slice(str(view)).get_shape()) for view in range(self._num_views)]
        except (OSError, SafetensorError) as error:
            raise RecipeError(f"{path}: cannot be read: {first_line(error)}; {ENCODE_AGAIN}") from None
        self.width = shapes[0][-1] if shapes else 0
        for shape in shapes or [()]:
            if len(shape) != 3 or shape[0] != num_frames or shape[1] < num_tokens or shape[2] != self.width:
                wanted = f"{num_frames} frames × {num_tokens} or more tokens × features"
                raise RecipeError(f"{path}: holds {shape or 'nothing'}, not {wanted}; {ENCODE_AGAIN}")

    def __len__(self) -> int:
        return self._num_views

    def __getitem__(self, view):
        if not -self._num_views <= view < self._num_views:
            raise IndexError(view)
        with safe_open(self._path, framework="pt") as file:
            return file.get_slice(str(view % self._num_views))[:, : self._num_tokens]
