"""Pixels in: pictures of any size and layout become the square uint8 frames that a vision encoder takes."""

import cv2
import numpy as np
import torch
from torch import Tensor

from model.errors import FrameError


def to_rgb(pixels: np.ndarray) -> np.ndarray:
    """The same picture as H×W×3 uint8.

    pixels: H×W (grey), H×W×1, H×W×3 (RGB) or H×W×4 (RGBA, alpha dropped); uint8, uint16 (scaled down), or float in 0–1.
    Raises FrameError for anything else.
    """
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or 0 in pixels.shape:
        raise FrameError(f"a picture of shape {pixels.shape}: expected height × width × 1, 3 or 4 channels")
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return (pixels >> 8).astype(np.uint8)
    if np.issubdtype(pixels.dtype, np.floating):
        return (np.nan_to_num(pixels).clip(0, 1) * 255).round().astype(np.uint8)
    raise FrameError(f"a picture of {pixels.dtype} values: expected uint8, uint16 or float in 0–1")


def letterbox(pixels: np.ndarray, size: int) -> np.ndarray:
    """A 3×size×size uint8 frame: the longer side scaled to `size`, the rest padded with black, centred.

    pixels: whatever `to_rgb` takes. A picture that is already size×size comes through untouched.
    """
    picture = to_rgb(pixels)
    height, width = picture.shape[:2]
    scale = size / max(height, width)
    if scale != 1.0:
        new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
        shrinking = scale < 1.0
        picture = cv2.resize(
            picture,
            (new_width, new_height),
            interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR,
        )
        height, width = picture.shape[:2]
    square = np.zeros((size, size, 3), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = picture
    return np.ascontiguousarray(square.transpose(2, 0, 1))


def stretch(pixels: np.ndarray, size: int) -> np.ndarray:
    """A 3×size×size uint8 frame: the whole picture, its sides scaled each by itself, bilinearly and unsmoothed.

    pixels: whatever `to_rgb` takes. A picture that is already size×size comes through untouched.
    """
    picture = to_rgb(pixels)
    if picture.shape[:2] != (size, size):
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(picture.transpose(2, 0, 1))


def normalize(frames_u8: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """B×3×S×S uint8 → float32, (value / 255 − mean) / std for each channel."""
    pixels = frames_u8.to(torch.float32, copy=True)
    for channel, (m, s) in enumerate(zip(mean, std, strict=True)):  # numbers, not tensors: a GPU is not waited for
        pixels[:, channel].mul_(1 / (255 * s)).sub_(m / s)
    return pixels
