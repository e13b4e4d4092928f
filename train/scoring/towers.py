"""The vision towers of several checkpoints: each distinct one is opened once, and sees each clip once."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from tqdm import tqdm

from model.checkpoint import Checkpoint
from model.errors import CheckpointError
from model.vision import VisionTower, open_vision
from train.clips import ClipFile
from train.features import encode_frames
from train.recipe import RecipeError


def tower_key(checkpoint: Checkpoint) -> str:
    """The same for checkpoints whose towers compute the same; how many of its tokens are used does not matter."""
    digest = hashlib.sha256(repr(replace(checkpoint.spec.vision, grid=3)).encode())
    for name, tensor in sorted(checkpoint.vision.items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def open_tower(checkpoint: Checkpoint, device: torch.device) -> VisionTower:
    """The checkpoint's tower with all ten tokens; a decoder that takes one gets the first of them."""
    tower = open_vision(replace(checkpoint.spec.vision, grid=3))
    if checkpoint.vision:
        try:
            tower.load_state_dict({k: v.to(tower.state_dict()[k].dtype) for k, v in checkpoint.vision.items()})
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(f"{checkpoint.spec.name}: its vision tower does not fit: {error}") from error
    return tower.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def encode_once(tower: VisionTower, clips: Sequence[ClipFile]) -> list[Tensor]:
    """Features of each clip, T × 10 × F, float16, on the CPU. Raises RecipeError for clips of another size."""
    features = []
    for clip in tqdm(clips, desc="encode", unit="clip"):
        frames = clip.frames()
        if frames.shape[1:] != (tower.spec.image_size, tower.spec.image_size, 3):
            raise RecipeError(
                f"{clip.path}: frames of {'×'.join(map(str, frames.shape[1:]))}, but the checkpoint sees squares of "
                f"{tower.spec.image_size} pixels; render or prepare the clips at that size"
            )
        pixels = torch.from_numpy(frames.copy()).permute(0, 3, 1, 2).contiguous()
        features.append(encode_frames(tower, pixels).to("cpu", torch.float16))
    return features
