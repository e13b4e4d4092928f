"""Random changes to batches of frames on the device they lie on: light, colour, zoom, shift, noise; a camera's faults.

Shapes: B frames, S side in pixels, O points a frame.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_TURN_RAD = math.radians(12)
_BLUR_TAPS = 9
_LUMA = (0.299, 0.587, 0.114)
# How coarsely JPEG's own example tables (ITU-T T.81, annex K) keep a block of 8 × 8, by row plus column: about.
_LUMA_STEPS, _CHROMA_STEPS = (14.0, 7.0), (18.0, 12.0)


def augment(
    frames_B3SS: Tensor,
    uv_BO2: Tensor | None,
    generator: torch.Generator,
    *,
    alike: bool = False,
    has_camera_faults: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Changed uint8 frames, and the points `uv` (0–1, x then y) where they have moved to.

    Each frame of the batch is changed by its own draw, or with `alike` all by the same one (one camera, one light):
    zoom 0.92–1.2, shift up to 6 %, brightness, contrast and channel gains of up to 25 %, a little noise.
    has_camera_faults: also tilted by up to 12°, with other gamma and saturation, and half of them out of focus or
    moved during the exposure, half of them through JPEG of a low quality.
    """
    draws = 1 if alike else len(frames_B3SS)
    turn_rad = MAX_TURN_RAD if has_camera_faults else 0.0
    frames, matrix_B23 = _move(frames_B3SS.to(torch.float32), generator, draws, turn_rad)
    if has_camera_faults:
        _recolour(frames, generator, draws)
    _shade(frames, generator, draws)
    if has_camera_faults:
        frames = _compress(_blur(frames, generator, draws), generator, draws)
    moved = None
    if uv_BO2 is not None:
        # affine_grid maps output to input coordinates; points go the other way.
        back_B22, shift_B12 = torch.linalg.inv(matrix_B23[:, :, :2]), matrix_B23[:, None, :, 2]
        moved = (uv_BO2 * 2 - 1 - shift_B12) @ back_B22.transpose(1, 2) / 2 + 0.5
    return frames.clamp_(0, 255).round_().to(torch.uint8), moved


def _uniform(generator: torch.Generator, draws: int, low: float, high: float, *shape: int) -> Tensor:
    return torch.rand(draws, *shape, generator=generator, device=generator.device) * (high - low) + low


def _move(frames: Tensor, generator: torch.Generator, draws: int, turn_rad: float) -> tuple[Tensor, Tensor]:
    zoom = 1 / _uniform(generator, draws, 0.92, 1.2)
    shift = _uniform(generator, draws, -0.12, 0.12, 2)
    turn = _uniform(generator, draws, -turn_rad, turn_rad) if turn_rad else torch.zeros_like(zoom)
    matrix = torch.zeros(len(frames), 2, 3, device=frames.device)
    matrix[:, 0, 0] = matrix[:, 1, 1] = zoom * turn.cos()
    matrix[:, 1, 0] = zoom * turn.sin()
    matrix[:, 0, 1] = -matrix[:, 1, 0]
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


def _recolour(frames: Tensor, generator: torch.Generator, draws: int) -> None:
    """Another gamma and saturation, in place."""
    gamma = _uniform(generator, draws, -0.4, 0.4, 1, 1, 1).exp()
    frames.clamp_(0, 255).div_(255).pow_(gamma).mul_(255)
    saturation = _uniform(generator, draws, 0.4, 1.4, 1, 1, 1)
    grey = _luma(frames)  # before the frames are changed in place
    frames.mul_(saturation).add_(grey * (1 - saturation))


def _luma(frames: Tensor) -> Tensor:
    weights = torch.tensor(_LUMA, device=frames.device)[:, None, None]
    return (frames * weights).sum(1, keepdim=True)


def _blur(frames: Tensor, generator: torch.Generator, draws: int) -> Tensor:
    """Half of the frames: out of focus both ways, or drawn out one way; by one width for the batch, to any degree."""
    sigma_px = float(_uniform(generator, 1, 0.5, 2.5))
    half = _BLUR_TAPS // 2
    taps = torch.arange(_BLUR_TAPS, device=frames.device) - half
    kernel = torch.softmax(-(taps.float() ** 2) / (2 * sigma_px**2), 0)
    across = kernel.view(1, 1, 1, -1).expand(3, 1, 1, -1)
    along = across.transpose(2, 3)
    way = int(_uniform(generator, 1, 0, 4))
    blurred = frames
    if way != 0:
        blurred = F.conv2d(F.pad(blurred, (half, half, 0, 0), mode="replicate"), across, groups=3)
    if way != 1:
        blurred = F.conv2d(F.pad(blurred, (0, 0, half, half), mode="replicate"), along, groups=3)
    degree = _uniform(generator, draws, -1.0, 1.0, 1, 1, 1).clamp(min=0)
    return torch.lerp(frames, blurred, degree)


def _compress(frames: Tensor, generator: torch.Generator, draws: int) -> Tensor:
    """Half of the frames as JPEG gives them back: blocks of 8 × 8 in coarse steps, colour at half the resolution."""
    coarseness = _uniform(generator, draws, -2.0, 2.0, 1, 1, 1, 1, 1)
    device, (height, width) = frames.device, frames.shape[2:]
    whole = F.pad(frames, (0, -width % 16, 0, -height % 16), mode="replicate")
    luma = _luma(whole)
    chroma = F.avg_pool2d((whole[:, ::2] - luma) * torch.tensor([0.713, 0.564], device=device)[:, None, None], 2)
    place = torch.arange(8, device=device)
    basis = torch.cos((2 * place[None] + 1) * place[:, None] * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)

    def coarse(plane: Tensor, steps: tuple[float, float]) -> Tensor:
        blocks = plane.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)  # … rows, columns, 8, 8
        step = (steps[0] + steps[1] * (place[:, None] + place[None])) * coarseness.clamp(min=1e-3)
        found = ((basis @ blocks @ basis.T) / step).round_().mul_(step)
        return (basis.T @ found @ basis).transpose(3, 4).reshape(plane.shape)

    luma = coarse(luma, _LUMA_STEPS)
    red, blue = coarse(chroma, _CHROMA_STEPS).repeat_interleave(2, 2).repeat_interleave(2, 3).split(1, 1)
    red, blue = luma + red / 0.713, luma + blue / 0.564
    green = (luma - _LUMA[0] * red - _LUMA[2] * blue) / _LUMA[1]
    compressed = torch.cat((red, green, blue), 1)[..., :height, :width]
    return torch.where((coarseness > 0).view(-1, 1, 1, 1), compressed, frames)
