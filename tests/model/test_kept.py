"""Quantized weights that are kept on disk give back the decoder they were made of, or are made anew."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from model import kept, weights
from model.decoder import bare_decoder
from model.engine import GraphEngine
from model.errors import CheckpointError
from model.fused import FusedDecoder

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SIZES = {"vocab_size": 211, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}


@pytest.fixture(params=[False, True], ids=["own head", "tied head"])
def decoder_folder(request, tmp_path) -> Path:
    torch.manual_seed(8)
    config = LlamaConfig(**SIZES, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=request.param)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "decoder")
    return tmp_path / "decoder"


def opened(folder: Path) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(folder).eval().requires_grad_(False)


def placed(root: Path, folder: Path, weight_format: str = "int8") -> Path:
    return kept.place(root, "org/a model", weight_format, torch.float32, [folder])


def kept_in(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.name != kept.LOCK)


@pytest.mark.parametrize("weight_format", ["int8", "int4", "fp8"])
def test_a_kept_decoder_reads_as_the_one_it_was_made_of(decoder_folder, weight_format, tmp_path) -> None:
    made = GraphEngine(opened(decoder_folder), DEVICE, [(1, 1)], weight_format)
    folder = placed(tmp_path / "kept", decoder_folder, weight_format)
    assert kept.load(folder, DEVICE) is None
    assert kept.save(folder, made.tensors(), [decoder_folder])
    tensors = kept.load(folder, DEVICE)
    bare = bare_decoder(decoder_folder, dtype=torch.float32)
    again = GraphEngine(bare, DEVICE, [(1, 1)], weight_format, tensors)
    again_made = again.tensors()
    assert all(torch.equal(tensor, again_made[name]) for name, tensor in made.tensors().items())
    assert torch.equal(made.embed([3, 4]), again.embed([3, 4]))
    readings = []
    for engine in (made, again):
        cache = engine.make_cache(64)
        rows = torch.sin(torch.arange(20 * 128, device=DEVICE).float()).view(20, 128)
        readings.append(engine.read(cache, rows, [3, 19], 7) + engine.read(cache, rows[:1], [0], 7))
    assert readings[0] == readings[1]


def test_other_files_have_another_place_and_old_ones_go(decoder_folder, tmp_path) -> None:
    root = tmp_path / "kept"
    first = placed(root, decoder_folder)
    assert placed(root, decoder_folder) == first
    assert placed(root, decoder_folder, "int4") != first
    assert kept.place(root, "other", "int8", torch.float32, [decoder_folder]).name.startswith("other-")
    tensors = {"embedding": torch.zeros(2, 2)}
    assert kept.save(first, tensors, [decoder_folder])
    shutil.copytree(decoder_folder, tmp_path / "another")  # of the same name: a fine-tune has its recipe's
    elsewhere = placed(root, tmp_path / "another")
    assert kept.save(elsewhere, tensors, [tmp_path / "another"])
    weights_file = decoder_folder / "model.safetensors"
    save_file(load_file(weights_file), weights_file, metadata={"format": "pt"})
    os.utime(weights_file, ns=(1, 1))
    second = placed(root, decoder_folder)
    assert second != first
    assert kept.save(second, tensors, [decoder_folder])
    assert kept_in(root) == sorted([second, elsewhere])
    fourth = placed(root, decoder_folder, "int4")
    assert kept.save(fourth, tensors, [decoder_folder])  # one at a time is kept of a checkpoint
    assert kept_in(root) == sorted([fourth, elsewhere])
    (root / kept.DRAFT).mkdir()  # of a start that was killed
    assert kept.save(fourth, tensors, [decoder_folder])
    assert not (root / kept.DRAFT).exists()


def test_what_is_damaged_is_made_anew_with_one_line(decoder_folder, tmp_path, caplog) -> None:
    folder = placed(tmp_path / "kept", decoder_folder)
    kept.save(folder, {"embedding": torch.zeros(100, 2)}, [decoder_folder])
    part = folder / "part-00.safetensors"
    part.write_bytes(part.read_bytes()[:-8])
    assert kept.load(folder, DEVICE) is None
    assert [record.message for record in caplog.records] == [f"{folder}: damaged; the decoder is quantized anew"]
    assert not folder.exists()


def test_kept_weights_that_lack_a_layer_are_refused(decoder_folder) -> None:
    tensors = FusedDecoder(opened(decoder_folder), DEVICE, "int8").tensors()
    del tensors["1.down.scales"]
    with pytest.raises(CheckpointError, match=r"lacks 1\.down\.scales"):
        FusedDecoder(bare_decoder(decoder_folder, dtype=torch.float32), DEVICE, "int8", tensors)


def test_a_disk_that_cannot_be_written_does_not_stop_the_start(decoder_folder, tmp_path, caplog) -> None:
    root = tmp_path / "file"
    root.write_text("in the way")
    assert not kept.save(placed(root, decoder_folder), {"embedding": torch.zeros(2, 2)}, [decoder_folder])
    assert "each start quantizes the weights anew" in caplog.text
    assert root.read_text() == "in the way"


def test_what_was_kept_of_removed_weights_goes_with_them(decoder_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ONLOOKER_DATA", str(tmp_path / "data"))
    folder = placed(weights.quantized_dir(), decoder_folder)
    kept.save(folder, {"embedding": torch.zeros(2, 2)}, [decoder_folder])
    half_done = folder.with_name(kept.DRAFT)
    half_done.mkdir()
    weights.remove("smollm2-135m-instruct")
    assert json.loads((folder / "manifest.json").read_text())["files"]
    assert not half_done.exists()
    shutil.rmtree(decoder_folder)
    weights.remove("smollm2-135m-instruct")
    assert not folder.exists()


def test_while_one_process_keeps_something_another_goes_without(decoder_folder, tmp_path) -> None:
    root = tmp_path / "kept"
    folder, tensors = placed(root, decoder_folder), {"embedding": torch.zeros(2, 2)}
    root.mkdir()
    with FileLock(root / kept.LOCK):
        assert not kept.save(folder, tensors, [decoder_folder])
    assert kept.save(folder, tensors, [decoder_folder])


def test_folders_with_odd_names_have_a_place(decoder_folder, tmp_path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    decoder_folder.rename(odd)
    folder = kept.place(tmp_path / "kept", "../" + "n" * 300, "int8", torch.float32, [odd])
    assert kept.load(folder, DEVICE) is None
    assert folder.parent == tmp_path / "kept"
    assert kept.save(folder, {"embedding": torch.zeros(2, 2)}, [odd])
    assert kept.load(folder, DEVICE) is not None
