"""Tunes the vision tower on rendered frames: which thing is where, which one is acted on and what is brought to it,
what the hand does, what is open or on.

The labels go through the same pooled tokens that the decoder will get, by one linear layer a token, so that what the
tower learns can be read there. The heads are thrown away. BatchNorm statistics stay as they were published.

Shapes: B frames, O things of a clip, V vocabulary of things, X fixtures, N tokens (CLS, then a G×G grid).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from model.vision import VisionTower
from train.augment import augment
from train.clips import ClipFile, refuse_measuring
from train.clock import SharedClock
from train.recipe import RecipeError, VisionPart
from train.schedule import Schedule
from train.tabletop.record import PHASES

WARMUP_STEPS = 200
"""A tower with fixed BatchNorm statistics does not recover from a first leap."""


@dataclass(frozen=True)
class FrameSet:
    """All M frames of some clips on one device, with their labels.

    frames: M×3×S×S uint8. uv M×O×2 in 0–1; object M×O,
    the vocabulary index of each, −1 where there is none or it is not visible. acted, target M: vocabulary indices, −1
    for none. phase M. state M×X: 1 for a fixture that is open or on, 0 if not, −1 if it is not there.
    """

    frames_M3SS: Tensor
    uv_MO2: Tensor
    object_MO: Tensor
    acted_M: Tensor
    target_M: Tensor
    phase_M: Tensor
    state_MX: Tensor
    num_objects: int

    def labels(self, picked: Tensor) -> "Labels":
        """Everything but where things are, of some frames."""
        return Labels(self.acted_M[picked], self.target_M[picked], self.phase_M[picked], self.state_MX[picked])


@dataclass(frozen=True)
class Labels:
    """What a linear layer over the CLS token should tell of B frames; as in FrameSet."""

    acted_B: Tensor
    target_B: Tensor
    phase_B: Tensor
    state_BX: Tensor


def load_frames(clips: list[ClipFile], device: torch.device) -> FrameSet:
    """Copy the clips' frames to `device` and tabulate their labels. Raises RecipeError for clips without."""
    refuse_measuring(clips)
    labelled = [(clip, clip.clip.frames) for clip in clips if clip.clip.frames is not None]
    if len(labelled) < len(clips):
        raise RecipeError(
            f"{clips[0].path.parent}: has clips without labels of their frames, as recordings are; no tower can be "
            "tuned on them; set vision.tune_seconds to 0"
        )
    vocabulary = clips[0].clip.vocabulary
    most = max(len(c.clip.objects) for c in clips)
    side = clips[0].frames().shape[1]
    frames = torch.empty(sum(c.num_frames for c in clips), 3, side, side, dtype=torch.uint8, device=device)
    uvs, objects, acted, target, phase, state = [], [], [], [], [], []
    done = 0
    for clip, labels in tqdm(labelled, desc="load frames", unit="clip"):
        frames[done : done + clip.num_frames] = torch.from_numpy(clip.frames().copy()).to(device).permute(0, 3, 1, 2)
        done += clip.num_frames
        names = [vocabulary.index(name) for name in clip.clip.objects]
        for points in labels.uv:
            padding = most - len(points)
            uvs.append([p[:2] for p in points] + [[-1.0, -1.0]] * padding)
            objects.append([n if p[2] else -1 for n, p in zip(names, points, strict=True)] + [-1] * padding)
        acted += labels.acted
        target += labels.target
        phase += labels.phase
        state += labels.states
    return FrameSet(
        frames,
        torch.tensor(uvs, device=device),
        torch.tensor(objects, device=device),
        torch.tensor(acted, device=device),
        torch.tensor(target, device=device),
        torch.tensor(phase, device=device),
        torch.tensor(state, device=device),
        len(vocabulary),
    )


class GroundingHeads(nn.Module):
    """One linear layer a question: present and acted-on things in each cell, and for the whole picture."""

    def __init__(self, width: int, num_objects: int, num_fixtures: int) -> None:
        super().__init__()
        self.cell_present = nn.Linear(width, num_objects)
        self.cell_acted = nn.Linear(width, num_objects)
        self.present = nn.Linear(width, num_objects)
        self.acted = nn.Linear(width, num_objects + 1)
        self.target = nn.Linear(width, num_objects + 1)
        self.phase = nn.Linear(width, len(PHASES))
        self.state = nn.Linear(width, num_fixtures)


def cell_targets(uv_BO2: Tensor, object_BO: Tensor, num_objects: int, grid: int) -> Tensor:
    """B × G² × V: 1 where an object's centre lies in a cell of the picture."""
    inside_BO = (object_BO >= 0) & ((uv_BO2 >= 0) & (uv_BO2 < 1)).all(-1)
    cell_BO = (uv_BO2.clamp(0, 0.9999) * grid).long()
    flat_BO = (cell_BO[..., 1] * grid + cell_BO[..., 0]) * num_objects + object_BO.clamp(min=0)
    targets = torch.zeros(len(uv_BO2), grid * grid * num_objects, device=uv_BO2.device)
    targets.scatter_reduce_(1, flat_BO, inside_BO.float(), reduce="amax")
    return targets.view(len(uv_BO2), grid * grid, num_objects)


def grounding_loss(
    tokens_BND: Tensor, heads: GroundingHeads, cells_BGV: Tensor, labels: Labels
) -> tuple[Tensor, dict[str, Tensor]]:
    """The sum of the heads' losses, and shares right by head (0-dim, on the tokens' device; NaN where none applies)."""
    cls_BD, grid_BGD = tokens_BND[:, 0], tokens_BND[:, 1:]
    num_objects = cells_BGV.shape[-1]
    is_acted = labels.acted_B >= 0
    acted_one_hot = F.one_hot(labels.acted_B.clamp(min=0), num_objects) * is_acted[:, None]
    acted_class = torch.where(is_acted, labels.acted_B, num_objects)
    target_class = torch.where(labels.target_B >= 0, labels.target_B, num_objects)
    present_BV, is_there_BX = cells_BGV.amax(1), (labels.state_BX >= 0).float()
    acted_logits, target_logits = heads.acted(cls_BD), heads.target(cls_BD)
    phase_logits, present_logits, state_logits = heads.phase(cls_BD), heads.present(cls_BD), heads.state(cls_BD)
    bce = F.binary_cross_entropy_with_logits
    state_loss_BX = bce(state_logits, labels.state_BX.clamp(min=0).float(), reduction="none")
    loss = (
        8 * bce(heads.cell_present(grid_BGD), cells_BGV)
        + 8 * bce(heads.cell_acted(grid_BGD), cells_BGV * acted_one_hot[:, None])
        + 2 * bce(present_logits, present_BV)
        + F.cross_entropy(acted_logits, acted_class)
        + 0.5 * F.cross_entropy(target_logits, target_class)
        + F.cross_entropy(phase_logits, labels.phase_B)
        + (state_loss_BX * is_there_BX).sum() / is_there_BX.sum().clamp(min=1)
    )
    right_state_BX = ((state_logits > 0) == (labels.state_BX > 0)).float() * is_there_BX
    shares = {
        "acted": _share(acted_logits.argmax(-1) == acted_class, is_acted),
        "target": _share(target_logits.argmax(-1) == target_class, labels.target_B >= 0),
        "present": ((present_logits > 0) == (present_BV > 0)).float().mean(),
        "phase": (phase_logits.argmax(-1) == labels.phase_B).float().mean(),
        "state": right_state_BX.sum() / is_there_BX.sum(),
    }
    return loss, shares


def _share(is_right_B: Tensor, counts_B: Tensor) -> Tensor:
    return (is_right_B & counts_B).sum() / counts_B.sum()


class _Grounded(nn.Module):
    """Tower and heads, from frames to their loss."""

    def __init__(self, tower: VisionTower, heads: GroundingHeads) -> None:
        super().__init__()
        self.tower, self.heads = tower, heads

    def forward(self, frames_B3SS: Tensor, cells_BGV: Tensor, labels: Labels) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast(frames_B3SS.device.type, torch.bfloat16, enabled=frames_B3SS.is_cuda):
            tokens = self.tower(frames_B3SS)
        return grounding_loss(tokens.float(), self.heads, cells_BGV, labels)


def tune_vision(
    tower: VisionTower, train: FrameSet, val: FrameSet, part: VisionPart, *, seed: int, accelerator: Accelerator
) -> dict[str, float]:
    """Tune all of the tower's weights in place; returns the shares right on unseen clips.

    Every process brings its own share of the training frames, and takes its share of each batch from them.
    """
    device = accelerator.device
    generator = torch.Generator(device).manual_seed(seed * 1000 + accelerator.process_index)
    heads = GroundingHeads(tower.feature_width, train.num_objects, train.state_MX.shape[1]).to(device)
    tower.to(device).requires_grad_(True).eval()  # eval keeps BatchNorm's statistics
    model = _Grounded(tower, heads)
    optimizer = torch.optim.AdamW(
        [
            {"params": list(tower.parameters()), "lr": part.learning_rate},
            {"params": list(heads.parameters()), "lr": 3 * part.learning_rate},
        ],
        weight_decay=1e-4,
        fused=device.type == "cuda",
    )
    shared, optimizer = accelerator.prepare(model, optimizer)
    batch = max(1, part.batch_frames // accelerator.num_processes)
    schedule = Schedule(optimizer, part.tune_steps, part.tune_seconds, warmup_share=0.05,
                        warmup_steps=WARMUP_STEPS, agree=SharedClock(accelerator).agree)  # fmt: skip
    order = torch.empty(0, dtype=torch.long, device=device)
    with tqdm(total=part.tune_steps, desc="tune vision", unit="step", disable=not accelerator.is_main_process) as bar:
        for step in schedule:
            if len(order) < batch:
                order = torch.randperm(len(train.frames_M3SS), generator=generator, device=device)
            picked, order = order[:batch], order[batch:]
            loss, shares = shared(*_batch(train, picked, tower.spec.grid, generator, part.augment == "camera"))
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % 50 == 0:
                bar.set_postfix({"loss": f"{float(loss):.3f}"} | {k: f"{float(v):.2f}" for k, v in shares.items()})
            bar.update()
    tower.requires_grad_(False)
    return _score(model, val, batch)


def _batch(
    data: FrameSet,
    picked: Tensor,
    grid: int,
    generator: torch.Generator | None = None,
    has_camera_faults: bool = False,
) -> tuple[Tensor, Tensor, Labels]:
    """Some frames, augmented if there is a generator, the things in their cells, and their labels."""
    frames, uv = data.frames_M3SS[picked], data.uv_MO2[picked]
    if generator is not None:
        frames, moved = augment(frames, uv, generator, has_camera_faults=has_camera_faults)
        uv = uv if moved is None else moved
    return frames, cell_targets(uv, data.object_MO[picked], data.num_objects, grid), data.labels(picked)


@torch.inference_mode()
def _score(model: _Grounded, data: FrameSet, batch: int) -> dict[str, float]:
    everything = torch.arange(len(data.frames_M3SS), device=data.frames_M3SS.device)
    scores = [model(*_batch(data, picked, model.tower.spec.grid))[1] for picked in everything.split(batch)]
    return {name: float(torch.stack([s[name] for s in scores]).nanmean()) for name in scores[0]}
