"""Both checkpoint formats, there and back, and what is said when one is damaged."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint import (
    Checkpoint,
    open_checkpoint,
    read_checkpoint,
    write_checkpoint,
    write_reference,
)
from model.decoder import open_decoder, tied_names
from model.errors import CheckpointError, StreamError

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def golden() -> Checkpoint:
    return read_checkpoint(GOLDEN)


def outputs(path: Path) -> torch.Tensor:
    model = open_checkpoint(path)
    generator = torch.Generator().manual_seed(3)
    frames = torch.randint(0, 256, (6, 3, 96, 96), dtype=torch.uint8, generator=generator)
    stream = model.open_stream(silence_threshold=0.0)
    return torch.tensor([d.silence_prob for d in stream.observe_many(model.encode(frames))])


def test_native_round_trip_gives_the_same_decisions(golden, tmp_path):
    write_checkpoint(golden, tmp_path / "native")
    again = read_checkpoint(tmp_path / "native")
    assert again.spec == golden.spec
    assert again.lora.keys() == golden.lora.keys()
    torch.testing.assert_close(outputs(tmp_path / "native"), outputs(GOLDEN), atol=1e-6, rtol=0)


def test_reference_round_trip_gives_the_same_decisions(golden, tmp_path):
    write_reference(golden, tmp_path / "adapter")
    for part in ("base", "vision"):
        shutil.copytree(GOLDEN / part, tmp_path / part)
    torch.testing.assert_close(outputs(tmp_path), outputs(GOLDEN), atol=1e-6, rtol=0)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["modules_to_save"] == ["connector"]


def test_a_tuned_tower_does_not_fit_the_reference_format(golden, tmp_path):
    tuned = replace(golden, vision={"x": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="export natively"):
        write_reference(tuned, tmp_path)


def test_a_base_without_some_of_its_tensors_is_refused_by_their_names(tmp_path):
    shutil.copytree(GOLDEN / "base", tmp_path / "base")
    weights = tmp_path / "base" / "model.safetensors"
    tensors = load_file(weights)
    gone = next(name for name in sorted(tensors) if "mlp" in name)
    save_file({name: tensor for name, tensor in tensors.items() if name != gone}, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=f"1 of its tensors are missing: .*{gone.split('layers')[1]}"):
        open_decoder(tmp_path / "base", dtype=torch.float32, attention="sdpa")


def test_a_trained_decoder_without_some_of_its_tensors_is_refused(golden, tmp_path):
    decoder = open_decoder(GOLDEN / "base", dtype=torch.float32, attention="sdpa")
    whole = {name: tensor for name, tensor in decoder.state_dict().items() if name not in tied_names(decoder)}
    checkpoint = replace(golden, decoder={name: tensor.clone() for name, tensor in whole.items()})
    write_checkpoint(checkpoint, tmp_path / "whole")
    open_checkpoint(tmp_path / "whole")
    gone = sorted(whole)[-1]
    del checkpoint.decoder[gone]
    write_checkpoint(checkpoint, tmp_path / "less")
    with pytest.raises(CheckpointError, match=f"decoder does not fit: missing {gone}"):
        open_checkpoint(tmp_path / "less")


def damage(folder: Path, kind: str) -> None:
    spec, weights = folder / "onlooker.json", folder / "weights.safetensors"
    if kind == "half a weights file":
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    elif kind == "no JSON":
        spec.write_text("{")
    elif kind == "another format":
        spec.write_text(json.dumps(json.loads(spec.read_text()) | {"format": 99}))
    elif kind == "unknown key":
        spec.write_text(json.dumps(json.loads(spec.read_text()) | {"colour": "red"}))
    elif kind == "no weights":
        weights.unlink()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("half a weights file", "weights.safetensors: cannot be read"),
        ("no JSON", "onlooker.json: cannot be read"),
        ("another format", "format must be 1"),
        ("unknown key", "colour"),
        ("no weights", "adapter_config.json: cannot be read"),
    ],
)
def test_a_damaged_checkpoint_names_its_file(golden, tmp_path, kind, message):
    write_checkpoint(golden, tmp_path)
    damage(tmp_path, kind)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path)


def test_missing_folders_unknown_dtypes_and_devices():
    with pytest.raises(CheckpointError, match="no such folder"):
        open_checkpoint("/no/such/folder")
    with pytest.raises(CheckpointError, match="dtype = 'float8'"):
        open_checkpoint(GOLDEN, dtype="float8")
    if not torch.cuda.is_available():
        with pytest.raises(CheckpointError, match="no usable CUDA GPU"):
            open_checkpoint(GOLDEN, device="cuda")


def test_lora_that_does_not_fit_is_refused(golden, tmp_path):
    name = next(iter(golden.lora))
    write_checkpoint(replace(golden, lora={k: v for k, v in golden.lora.items() if k != name}), tmp_path)
    with pytest.raises(CheckpointError, match="LoRA weights do not fit"):
        open_checkpoint(tmp_path)


def test_saved_streams_of_others_are_refused(tmp_path):
    model = open_checkpoint(GOLDEN)
    model.save_stream(model.open_stream(), tmp_path / "stream")
    model.name = "another"
    with pytest.raises(StreamError, match="saved by another model"):
        model.load_stream(tmp_path / "stream")
    (tmp_path / "stream").write_bytes(b"nothing")
    with pytest.raises(StreamError, match="cannot be read"):
        model.load_stream(tmp_path / "stream")
