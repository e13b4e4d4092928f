"""What a checkpoint's own world looks like, so that it can tell when it is shown another one.

A model that was trained in a small world names the things of that world wherever it is. The tower's features of that
world lie near a subspace of few dimensions; what lies far from it was not there (after "ViM", Wang et al., CVPR 2022:
the residual of principal components). `python -m train world` learns subspace and limit.

Shapes: M frames, N tokens a frame, F feature width, K axes.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.errors import CheckpointError

WORLD_FILE = "world.safetensors"
NUM_AXES = 128


@dataclass(frozen=True, eq=False)
class OwnWorld:
    """mean_F, axes_KF (orthonormal): of the features of CLS tokens. limit: above this strangeness, on average over some
    seconds, it is another world."""

    mean_F: Tensor
    axes_KF: Tensor
    limit: float

    def strangeness(self, features_MNF: Tensor) -> Tensor:
        """M × float32: the logarithm of each frame's squared distance from the subspace."""
        off_MF = features_MNF[:, 0].to(torch.float32) - self.mean_F
        inside_MK = off_MF @ self.axes_KF.T
        return (off_MF.square().sum(-1) - inside_MK.square().sum(-1)).clamp(min=1e-6).log()

    def to(self, device: torch.device) -> "OwnWorld":
        """The same there."""
        return OwnWorld(self.mean_F.to(device), self.axes_KF.to(device), self.limit)


def learn_world(features_MNF: Tensor, limit: float, num_axes: int = NUM_AXES) -> OwnWorld:
    """The subspace of these frames, which should be of many arrangements: at least ten times as many as axes."""
    cls_MF = features_MNF[:, 0].to(torch.float32)
    mean_F = cls_MF.mean(0)
    _, _, axes = torch.linalg.svd(cls_MF - mean_F, full_matrices=False)
    return OwnWorld(mean_F, axes[:num_axes].contiguous(), limit)


def write_world(world: OwnWorld, folder: Path) -> None:
    """Into a checkpoint's folder; float16, 0.3 MB."""
    draft = folder / f".{WORLD_FILE}.draft"
    tensors = {"mean": world.mean_F.half().cpu(), "axes": world.axes_KF.half().cpu()}
    save_file(tensors, draft, metadata={"limit": repr(world.limit)})
    draft.replace(folder / WORLD_FILE)


def read_world(folder: Path) -> OwnWorld | None:
    """Of a checkpoint's folder; None where nothing of the kind was learned. Raises CheckpointError."""
    path = folder / WORLD_FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            limit = float(file.metadata()["limit"])
            mean_F, axes_KF = file.get_tensor("mean").float(), file.get_tensor("axes").float()
        if mean_F.ndim != 1 or axes_KF.ndim != 2 or not len(axes_KF) or axes_KF.shape[1] != len(mean_F):
            raise ValueError(f"mean of {tuple(mean_F.shape)} and axes of {tuple(axes_KF.shape)} numbers")
        if not (math.isfinite(limit) and mean_F.isfinite().all() and axes_KF.isfinite().all()):
            raise ValueError("some of its numbers are none")
        return OwnWorld(mean_F, axes_KF, limit)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}; get the checkpoint again, or delete it") from error
