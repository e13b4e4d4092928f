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


def test_a_camera_turns_the_picture_and_its_points_alike():
    frames = torch.zeros(16, 3, 90, 100, dtype=torch.uint8)  # no multiple of a JPEG block
    frames[:, :, 30:36, 60:66] = 255
    uv = torch.tensor([[[63 / 100, 33 / 90]]]).expand(16, 1, 2)
    changed, moved = augment(frames, uv, torch.Generator().manual_seed(5), has_camera_faults=True)
    assert moved is not None
    assert changed.shape == frames.shape
    light = changed.float().mean(1) - changed.float().mean(1).amin((1, 2), keepdim=True)
    light = (light - light.amax((1, 2), keepdim=True) / 2).clamp(min=0)
    rows, columns = torch.arange(90) + 0.5, torch.arange(100) + 0.5
    found = torch.stack(((light.sum(1) * columns).sum(1) / 100, (light.sum(2) * rows).sum(1) / 90), 1)
    found /= light.sum((1, 2))[:, None]
    assert (found - moved[:, 0]).abs().max() < 0.012  # a pixel
    assert (moved[:, 0] - uv[:, 0]).abs().max() > 0.05
    turned = torch.atan2(moved[:, 0, 1] - 0.5, moved[:, 0, 0] - 0.5)
    assert turned.std() > 0.02


def test_a_camera_does_not_change_what_a_picture_shows_on_the_whole():
    generator = torch.Generator().manual_seed(6)
    smooth = F.interpolate(torch.rand(8, 3, 6, 6, generator=generator) * 160 + 40, size=(96, 96), mode="bilinear")
    changed, _ = augment(smooth.to(torch.uint8), None, generator, has_camera_faults=True)
    for before, after in zip(smooth, changed.float(), strict=True):
        alike = torch.corrcoef(
            torch.stack((before.mean(0)[16:80, 16:80].flatten(), after.mean(0)[16:80, 16:80].flatten()))
        )
        assert alike[0, 1] > 0.5
        assert 40 < after.mean() < 220


def test_a_grey_picture_keeps_its_light_whatever_its_saturation():
    grey = torch.full((32, 3, 48, 48), 128, dtype=torch.uint8)
    changed, _ = augment(grey, None, torch.Generator().manual_seed(7), has_camera_faults=True)
    plain, _ = augment(grey, None, torch.Generator().manual_seed(7))
    assert float(changed.float().mean()) == pytest.approx(float(plain.float().mean()), rel=0.1)
    rims = changed[:, :, [0, -1]].float().mean((1, 2, 3)) / changed.float().mean((1, 2, 3))
    assert rims.min() > 0.9  # blur does not draw a frame round it
