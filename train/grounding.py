"""Tunes the vision tower on rendered frames: which object is where, which one is acted on, what the hand does.

The labels go through the same pooled tokens that the decoder will get, by one linear layer a token, so that what the
tower learns can be read there. The heads are thrown away. BatchNorm statistics stay as they were published.

Shapes: B frames, O objects of a clip, V vocabulary of objects, N tokens (CLS, then a G×G grid).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from model.vision import VisionTower
from train.augment import augment
from train.clips import ClipFile
from train.recipe import VisionPart
from train.schedule import Schedule

NUM_PHASES = 4


@dataclass(frozen=True)
class FrameSet:
    """All frames of some clips on one device, with their labels.

    frames: list of T×3×S×S uint8 by clip. index: (clip, frame) of each of M frames. uv M×O×2 in 0–1; object M×O,
    the vocabulary index of each, −1 where there is none or it is not visible. acted M, −1 for none. phase M.
    """

    frames: list[Tensor]
    index_M2: Tensor
    uv_MO2: Tensor
    object_MO: Tensor
    acted_M: Tensor
    phase_M: Tensor
    num_objects: int


def load_frames(clips: list[ClipFile], device: torch.device) -> FrameSet:
    """Copy the clips' frames to `device` and tabulate their labels."""
    vocabulary = clips[0].meta["vocabulary"]
    most = max(len(c.meta["objects"]) for c in clips)
    frames, index, uvs, objects, acted, phase = [], [], [], [], [], []
    for number, clip in enumerate(tqdm(clips, desc="load frames", unit="clip")):
        frames.append(torch.from_numpy(clip.frames().copy()).to(device).permute(0, 3, 1, 2).contiguous())
        names = [vocabulary.index(name) for name in clip.meta["objects"]]
        labels = clip.meta["frames"]
        for t in range(clip.num_frames):
            points = labels["uv"][t]
            padding = most - len(points)
            uvs.append([p[:2] for p in points] + [[-1.0, -1.0]] * padding)
            objects.append([n if p[2] else -1 for n, p in zip(names, points, strict=True)] + [-1] * padding)
            index.append((number, t))
        acted += labels["acted"]
        phase += labels["phase"]
    return FrameSet(
        frames,
        torch.tensor(index),
        torch.tensor(uvs, device=device),
        torch.tensor(objects, device=device),
        torch.tensor(acted, device=device),
        torch.tensor(phase, device=device),
        len(vocabulary),
    )


class GroundingHeads(nn.Module):
    """One linear layer a question: present and acted-on objects in each cell, and for the whole picture."""

    def __init__(self, width: int, num_objects: int) -> None:
        super().__init__()
        self.cell_present = nn.Linear(width, num_objects)
        self.cell_acted = nn.Linear(width, num_objects)
        self.present = nn.Linear(width, num_objects)
        self.acted = nn.Linear(width, num_objects + 1)
        self.phase = nn.Linear(width, NUM_PHASES)


def cell_targets(uv_BO2: Tensor, object_BO: Tensor, num_objects: int, grid: int) -> Tensor:
    """B × G² × V: 1 where an object's centre lies in a cell of the picture."""
    inside_BO = (object_BO >= 0) & ((uv_BO2 >= 0) & (uv_BO2 < 1)).all(-1)
    cell_BO = (uv_BO2.clamp(0, 0.9999) * grid).long()
    flat_BO = (cell_BO[..., 1] * grid + cell_BO[..., 0]) * num_objects + object_BO.clamp(min=0)
    targets = torch.zeros(len(uv_BO2), grid * grid * num_objects, device=uv_BO2.device)
    targets.scatter_reduce_(1, flat_BO, inside_BO.float(), reduce="amax")
    return targets.view(len(uv_BO2), grid * grid, num_objects)


def grounding_loss(
    tokens_BND: Tensor, heads: GroundingHeads, cells_BGV: Tensor, acted_B: Tensor, phase_B: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """The sum of the heads' losses, and shares right by head."""
    cls_BD, grid_BGD = tokens_BND[:, 0], tokens_BND[:, 1:]
    num_objects = cells_BGV.shape[-1]
    acted_one_hot = F.one_hot(acted_B.clamp(min=0), num_objects) * (acted_B >= 0)[:, None]
    acted_cells = cells_BGV * acted_one_hot[:, None]
    acted_class = torch.where(acted_B >= 0, acted_B, num_objects)
    present_B = cells_BGV.amax(1)
    acted_logits, phase_logits, present_logits = heads.acted(cls_BD), heads.phase(cls_BD), heads.present(cls_BD)
    bce = F.binary_cross_entropy_with_logits
    loss = (
        4 * bce(heads.cell_present(grid_BGD), cells_BGV)
        + 4 * bce(heads.cell_acted(grid_BGD), acted_cells)
        + bce(present_logits, present_B)
        + F.cross_entropy(acted_logits, acted_class)
        + 0.5 * F.cross_entropy(phase_logits, phase_B)
    )
    is_acted = acted_B >= 0
    right = (acted_logits.argmax(-1) == acted_class).float()
    shares = {
        "acted": float(right[is_acted].mean()) if is_acted.any() else 1.0,
        "present": float(((present_logits > 0) == (present_B > 0)).float().mean()),
        "phase": float((phase_logits.argmax(-1) == phase_B).float().mean()),
    }
    return loss, shares


def tune_vision(tower: VisionTower, train: FrameSet, val: FrameSet, part: VisionPart, *, seed: int) -> dict[str, float]:
    """Tune all of the tower's weights in place; returns the shares right on unseen clips."""
    device = train.uv_MO2.device
    generator = torch.Generator(device).manual_seed(seed)
    heads = GroundingHeads(tower.feature_width, train.num_objects).to(device)
    tower.to(device).requires_grad_(True).eval()  # eval keeps BatchNorm's statistics
    parameters = [*tower.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(
        [
            {"params": list(tower.parameters()), "lr": part.learning_rate},
            {"params": list(heads.parameters()), "lr": 3 * part.learning_rate},
        ],
        weight_decay=1e-4,
    )
    order = torch.empty(0, dtype=torch.long)
    with tqdm(total=part.tune_steps, desc="tune vision", unit="step") as bar:
        for step in Schedule(optimizer, part.tune_steps, part.tune_seconds, warmup_share=0.05):
            if len(order) < part.batch_frames:
                order = torch.randperm(len(train.index_M2))
            picked, order = order[: part.batch_frames], order[part.batch_frames :]
            loss, shares = _forward(tower, heads, train, picked, generator)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            if step % 20 == 0:
                bar.set_postfix({"loss": f"{float(loss):.3f}"} | {k: f"{v:.2f}" for k, v in shares.items()})
            bar.update()
    tower.requires_grad_(False)
    return _score(tower, heads, val, part.batch_frames)


def _forward(
    tower: VisionTower,
    heads: GroundingHeads,
    data: FrameSet,
    picked: Tensor,
    generator: torch.Generator | None,
) -> tuple[Tensor, dict[str, float]]:
    frames = torch.stack([data.frames[c][t] for c, t in data.index_M2[picked].tolist()])
    picked = picked.to(data.uv_MO2.device)
    uv = data.uv_MO2[picked]
    if generator is not None:
        frames, moved = augment(frames, uv, generator)
        uv = uv if moved is None else moved
    with torch.autocast(frames.device.type, torch.bfloat16, enabled=frames.is_cuda):
        tokens = tower(frames)
    cells = cell_targets(uv, data.object_MO[picked], data.num_objects, tower.spec.grid)
    return grounding_loss(tokens.float(), heads, cells, data.acted_M[picked], data.phase_M[picked])


@torch.inference_mode()
def _score(tower: VisionTower, heads: GroundingHeads, data: FrameSet, batch: int) -> dict[str, float]:
    scores = [_forward(tower, heads, data, picked, None)[1] for picked in torch.arange(len(data.index_M2)).split(batch)]
    return {name: sum(s[name] for s in scores) / len(scores) for name in scores[0]}
