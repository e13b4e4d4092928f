"""Augmentation does in few passes what its description says."""

import pytest
import torch
import torch.nn.functional as F

from train.augment import augment


@pytest.mark.parametrize("alike", [False, True])
def test_changes_are_those_of_the_plain_formula(alike):
    frames = torch.randint(0, 256, (6, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    changed, moved = augment(frames, None, torch.Generator().manual_seed(2), alike=alike)
    assert moved is None
    assert changed.dtype == torch.uint8

    generator = torch.Generator().manual_seed(2)
    draws = 1 if alike else 6

    def draw(*shape: int):
        return torch.rand(draws, *shape, generator=generator)

    zoom, shift = 1 / (draw() * (1.2 - 0.92) + 0.92), draw(2) * 0.24 - 0.12
    matrix = torch.zeros(6, 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = zoom
    matrix[:, :, 2] = shift
    grid = F.affine_grid(matrix, [6, 3, 40, 40], align_corners=False)
    pictures = F.grid_sample(frames / 255, grid, padding_mode="border", align_corners=False)
    mean = pictures.mean((1, 2, 3), keepdim=True)
    contrast, brightness, gains = (1 + (draw(n, 1, 1) * 2 - 1) * s for n, s in ((1, 0.25), (1, 0.25), (3, 0.12)))
    pictures = ((pictures - mean) * contrast + mean * brightness) * gains
    pictures = pictures + torch.randn(pictures.shape, generator=generator) * 0.015
    expected = (pictures.clamp(0, 1) * 255).round()
    difference = (changed - expected).abs()
    assert difference.max() <= 1  # rounding
    assert (difference > 0).float().mean() < 0.001
