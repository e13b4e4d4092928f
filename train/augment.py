"""Random changes to batches of frames on the device they lie on: light, colour, zoom, shift, noise."""

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(
    frames_B3SS: Tensor, uv_BO2: Tensor | None, generator: torch.Generator, *, alike: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Changed uint8 frames, and the points `uv` (0–1, x then y) where they have moved to.

    Each frame of the batch is changed by its own draw, or with `alike` all by the same one (one camera, one light):
    zoom 0.92–1.2, shift up to 6 %, brightness, contrast and channel gains of up to 25 %, a little noise.
    """
    draws = 1 if alike else len(frames_B3SS)
    frames, matrix_B23 = _move(frames_B3SS.to(torch.float32), generator, draws)
    _shade(frames, generator, draws)
    moved = None
    if uv_BO2 is not None:
        # affine_grid maps output to input coordinates; points go the other way.
        scale_B11, shift_B12 = matrix_B23[:, :1, :1], matrix_B23[:, None, :, 2]
        moved = ((uv_BO2 * 2 - 1) - shift_B12) / scale_B11 / 2 + 0.5
    return frames.clamp_(0, 255).round_().to(torch.uint8), moved


def _move(frames: Tensor, generator: torch.Generator, draws: int) -> tuple[Tensor, Tensor]:
    device = frames.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(draws, *shape, generator=generator, device=device) * (high - low) + low

    zoom = 1 / uniform(0.92, 1.2)
    shift = uniform(-0.12, 0.12, 2)
    matrix = torch.zeros(len(frames), 2, 3, device=device)
    matrix[:, 0, 0] = matrix[:, 1, 1] = zoom
    matrix[:, :, 2] = shift
    grid = F.affine_grid(matrix, list(frames.shape), align_corners=False)
    return F.grid_sample(frames, grid, padding_mode="border", align_corners=False), matrix


def _shade(frames: Tensor, generator: torch.Generator, draws: int) -> None:
    """Change 0–255 frames in place; they are large, and every pass over them counts."""
    device = frames.device

    def around_one(spread: float, channels: int) -> Tensor:
        draw = torch.rand(draws, channels, 1, 1, generator=generator, device=device)
        return 1 + (draw * 2 - 1) * spread

    mean = frames.mean(dim=(1, 2, 3), keepdim=True)
    contrast, brightness, gains = around_one(0.25, 1), around_one(0.25, 1), around_one(0.12, 3)
    # ((frames − mean) · contrast + mean · brightness) · gains
    frames.mul_(contrast * gains).add_(mean * (brightness - contrast) * gains)
    frames.add_(torch.randn(frames.shape, generator=generator, device=device), alpha=0.015 * 255)
