"""A checkpoint tells its own world from another one; the limit is learned from clips that were held out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.assembly import open_checkpoint
from model.checkpoint import read_checkpoint, write_checkpoint
from model.engine import Encoder
from model.errors import CheckpointError
from model.world import WORLD_FILE, OwnWorld, learn_world, read_world, write_world
from train.cli import main
from train.clip import Clip
from train.own_world import AVERAGED_FRAMES, moments

GOLDEN = Path(__file__).parents[1] / "golden"


def features(count: int, num_axes: int, *, width: int = 64, seed: int = 0, off: float = 0.0) -> torch.Tensor:
    """Frames that lie near a subspace; off: how far from it along one more direction."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(7)))[0]
    cls = 5 * torch.randn(count, num_axes, generator=generator) @ basis[:num_axes] + 2 + off * basis[num_axes]
    return (cls + 0.1 * torch.randn(count, width, generator=generator))[:, None]


def test_what_lies_far_from_the_subspace_is_strange():
    world = learn_world(features(400, 8), limit=0.0, num_axes=8)
    torch.testing.assert_close(world.axes_KF @ world.axes_KF.T, torch.eye(8), atol=1e-5, rtol=0)
    familiar, strange = (
        world.strangeness(features(100, 8, seed=1)),
        world.strangeness(features(100, 8, seed=2, off=3.0)),
    )
    assert familiar.max() < strange.min() - 1
    frame = features(1, 8, seed=3, off=2.0)
    off = (frame[0, 0] - world.mean_F) - world.axes_KF.T @ (world.axes_KF @ (frame[0, 0] - world.mean_F))
    assert float(world.strangeness(frame)) == pytest.approx(float(off.square().sum().log()), abs=1e-3)


def test_it_is_kept_with_the_checkpoint(tmp_path):
    world = learn_world(features(400, 8, width=48), limit=1.5, num_axes=8)
    write_checkpoint(replace(read_checkpoint(GOLDEN), world=world), tmp_path)
    found = read_world(tmp_path)
    assert found is not None
    assert found.limit == 1.5
    torch.testing.assert_close(found.axes_KF, world.axes_KF, atol=1e-3, rtol=0)
    model = open_checkpoint(tmp_path)
    frames = torch.randint(0, 256, (3, 3, 96, 96), dtype=torch.uint8)
    seen = model.look(frames)
    assert seen.strangeness_B is not None
    torch.testing.assert_close(seen.strangeness_B, found.strangeness(model.vision(frames)))
    torch.testing.assert_close(seen.tokens_BNE, model.encode(frames))
    write_checkpoint(replace(read_checkpoint(tmp_path), world=None), tmp_path)
    assert read_world(tmp_path) is None
    assert open_checkpoint(tmp_path).look(frames).strangeness_B is None


def test_a_damaged_one_is_refused(tmp_path):
    write_checkpoint(read_checkpoint(GOLDEN), tmp_path)
    (tmp_path / WORLD_FILE).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"world\.safetensors: cannot be read"):
        read_checkpoint(tmp_path)


BAD_WORLDS = {
    "no numbers": (torch.full((48,), torch.nan), torch.zeros(1, 48), 1.0),
    "no axes": (torch.zeros(48), torch.zeros(0, 48), 1.0),
    "other axes": (torch.zeros(48), torch.zeros(1, 47), 1.0),
    "no limit": (torch.zeros(48), torch.zeros(1, 48), float("nan")),
    "no end": (torch.zeros(48), torch.zeros(1, 48), float("inf")),
}


@pytest.mark.parametrize("world", BAD_WORLDS.values(), ids=BAD_WORLDS.keys())
def test_one_that_cannot_be_is_refused(tmp_path, world):
    write_checkpoint(read_checkpoint(GOLDEN), tmp_path)
    write_world(OwnWorld(*world), tmp_path)
    with pytest.raises(CheckpointError, match=r"world\.safetensors: cannot be read"):
        read_checkpoint(tmp_path)


def test_one_of_another_tower_is_refused(tmp_path):
    write_checkpoint(read_checkpoint(GOLDEN), tmp_path)
    write_world(OwnWorld(torch.zeros(47), torch.zeros(1, 47), 1.0), tmp_path)
    with pytest.raises(CheckpointError, match="features 47 wide, the tower's are 48"):
        open_checkpoint(tmp_path)


def test_moments_are_means_of_the_last_frames():
    world = OwnWorld(torch.zeros(4), torch.zeros(1, 4), 0.0)
    features_TNF = torch.rand(50, 1, 4) + 0.5
    (means,) = moments(world, [features_TNF])
    single = world.strangeness(features_TNF)
    for at in (0, 5, AVERAGED_FRAMES, 49):
        expected = single[max(0, at + 1 - AVERAGED_FRAMES) : at + 1].mean()
        assert float(means[at]) == pytest.approx(float(expected), abs=1e-4)


def write_clips(folder: Path, num_clips: int, seed: int, shade: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for index in range(num_clips):
        picture = np.zeros((40, 96, 96, 3), np.uint8)
        picture[:, rng.integers(0, 60) :, :, :] = rng.integers(shade, shade + 60, (40, 1, 1, 3))
        np.save(folder / f"clip_{index}.npy", picture)
        clip = Clip(name=f"clip_{index}", fps=2.0, num_frames=40, events=[], questions=[])
        (folder / f"clip_{index}.json").write_text(clip.to_json())
    return folder


def test_the_command_learns_it_and_says_what_it_is_worth(tmp_path, capsys):
    write_checkpoint(read_checkpoint(GOLDEN), tmp_path / "checkpoint")
    own, held_out = write_clips(tmp_path / "own", 40, 0, 20), write_clips(tmp_path / "held", 10, 1, 20)
    other = write_clips(tmp_path / "other", 5, 2, 190)
    command = ["world", str(tmp_path / "checkpoint"), "--clips", str(own), "--held-out", str(held_out)]
    assert main([*command, "--others", str(other)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'checkpoint'}: limit ")
    assert "of 400 moments are strange" in lines[1]
    assert read_world(tmp_path / "checkpoint") is not None
    assert main(["world", str(tmp_path / "checkpoint"), "--clips", str(other), "--held-out", str(held_out)]) == 2
    assert "frames are too few" in capsys.readouterr().err


def test_an_encoder_without_a_world_says_nothing_of_it():
    model = open_checkpoint(GOLDEN)
    encoder = Encoder(model.vision, model.connector)
    assert encoder.encode(torch.zeros(1, 3, 96, 96, dtype=torch.uint8)).strangeness_B is None
