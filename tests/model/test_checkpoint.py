"""Both checkpoint formats, there and back, and what is said when one is damaged."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.assembly import open_checkpoint, open_tokenizer
from model.checkpoint import Checkpoint, read_checkpoint, write_checkpoint, write_reference
from model.decoder import open_decoder, tied_names
from model.errors import CheckpointError, StreamError
from model.vision import VisionSpec, open_vision

GOLDEN = Path(__file__).parents[1] / "golden"
PROASSIST = GOLDEN.with_name("golden_proassist") / "i5"


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


@pytest.fixture
def rounds(tmp_path) -> Path:
    """ProAssist's checkpoint after two rounds of training: the golden one, and one before it."""
    shutil.copytree(PROASSIST, tmp_path / "rounds")
    folder = tmp_path / "rounds" / "checkpoint"
    (folder / "adapter_0").mkdir()
    shutil.copy(folder / "adapter_config.json", folder / "adapter_0")
    generator = torch.Generator().manual_seed(0)
    earlier = {
        name: tensor + 0.02 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in load_file(folder / "adapter_model.safetensors").items()
        if ".lora_" in name
    }
    save_file(earlier, folder / "adapter_0" / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def test_adapters_of_several_rounds_are_merged_in_order(rounds):
    decoder = open_checkpoint(rounds).decoder
    weight = load_file(PROASSIST / "Meta-Llama-3-tiny" / "model.safetensors")
    for folder in (rounds / "adapter_0", rounds):
        tensors = load_file(folder / "adapter_model.safetensors")
        for layer in range(3):
            name = f"model.layers.{layer}.mlp.up_proj"
            up, down = (tensors[f"base_model.model.{name}.lora_{side}.weight"] for side in "BA")
            weight[f"{name}.weight"] = weight[f"{name}.weight"] + 2.0 * up @ down  # alpha 32 over r 16
    for layer in range(3):
        got = decoder.model.layers[layer].mlp.up_proj.weight
        torch.testing.assert_close(got, weight[f"model.layers.{layer}.mlp.up_proj.weight"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("write", [write_checkpoint, write_reference])
def test_a_checkpoint_of_several_rounds_comes_through_both_formats(rounds, tmp_path, write):
    before, folder = read_checkpoint(rounds), tmp_path / "again"
    write(before, folder)
    after = read_checkpoint(folder)
    assert replace(after.spec, name=before.spec.name) == before.spec
    for one, other in zip((before.lora, *before.earlier_loras, before.connector),
                          (after.lora, *after.earlier_loras, after.connector), strict=True):  # fmt: skip
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


BEYOND = {
    "use_img_cls_token": (False, "only True is known here"),
    "img_sep_token": (",", "only '' is known here"),
    "img_patch_token_size": (4, "must be 0, 2 or 3"),
    "use_pose": (True, "only False is known here"),
}


@pytest.mark.parametrize(("key", "value", "message"), [(key, *rest) for key, rest in BEYOND.items()])
def test_a_proassist_checkpoint_of_another_making_is_refused(rounds, key, value, message):
    config = json.loads((rounds / "config.json").read_text())
    (rounds / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(CheckpointError, match=rf"config\.json: {key} = .*{message}"):
        read_checkpoint(rounds)


OTHER_LORA = {
    "use_rslora": True,
    "use_dora": True,
    "alpha_pattern": {"q_proj": 4},
    "rank_pattern": {"q_proj": 4},
    "layers_to_transform": [0],
    "bias": "all",
    "fan_in_fan_out": True,
    "modules_to_save": ["mm_projector", "lm_head"],
    "peft_type": "LOHA",
    "r": "16",
    "lora_alpha": None,
    "target_modules": [],
}


@pytest.mark.parametrize(("key", "value"), OTHER_LORA.items())
@pytest.mark.parametrize("where", [".", "adapter_0"])
def test_lora_of_another_kind_is_refused(rounds, where, key, value):
    if where != "." and key == "modules_to_save":
        value = ["lm_head"]
    path = rounds / where / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    if where != "." and key == "modules_to_save":  # an earlier round's connector is another one's by now
        return
    with pytest.raises(CheckpointError):
        read_checkpoint(rounds)


WRONG_JSON = ["null", "[]", '"x"', "1", "{", "[" * 100_000]


@pytest.mark.parametrize("text", WRONG_JSON, ids=range(len(WRONG_JSON)))
@pytest.mark.parametrize("file", ["config.json", "adapter_config.json", "adapter_0/adapter_config.json"])
def test_what_is_no_description_is_refused_by_its_name(rounds, file, text):
    (rounds / file).write_text(text)
    with pytest.raises(CheckpointError, match=re.escape(file)):
        read_checkpoint(rounds)


@pytest.mark.parametrize("name", ["adapter_2", "adapter_00", "adapter_01"])
def test_rounds_without_order_are_refused(rounds, name):
    shutil.copytree(rounds / "adapter_0", rounds / name)
    with pytest.raises(CheckpointError, match="without a gap"):
        read_checkpoint(rounds)
    shutil.rmtree(rounds / name)
    (rounds / "adapter_1").mkdir()
    with pytest.raises(CheckpointError, match=r"adapter_1: earlier rounds are folders"):
        read_checkpoint(rounds)


@pytest.mark.parametrize("name", ["model.lm_head.weight", "model.binary_decision_head.weight"])
def test_tensors_that_would_be_left_out_are_refused(rounds, name):
    path = rounds / "adapter_model.safetensors"
    save_file({**load_file(path), f"base_model.{name}": torch.zeros(2)}, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="holds more than LoRA and a connector"):
        read_checkpoint(rounds)


def test_numbers_that_are_none_are_refused(rounds):
    path = rounds / "adapter_0" / "adapter_model.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values()))[0, 0] = torch.nan
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(rounds))}: .*lora_A.* holds numbers that are none"):
        open_checkpoint(rounds)


def test_a_word_is_no_end_of_sequence(rounds):
    config = json.loads((rounds / "config.json").read_text())
    (rounds / "config.json").write_text(json.dumps(config | {"eos_token": "a"}))
    with pytest.raises(CheckpointError, match="has no token 'a'"):
        open_checkpoint(rounds)


def test_a_proassist_checkpoint_needs_its_special_tokens(rounds):
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(GOLDEN / "base" / file, rounds.parent / "Meta-Llama-3-tiny")
    with pytest.raises(CheckpointError, match=r"has no token '<\|"):
        open_checkpoint(rounds)


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


LESS: dict[str, tuple[Callable[[Checkpoint], Checkpoint], str]] = {
    "half the connector": (
        lambda c: replace(c, connector=without_last(c.connector)),
        "connector does not fit: missing",
    ),
    "no connector": (lambda c: replace(c, connector={}), "connector does not fit: missing .* and 1 more"),
    "a wide connector": (
        lambda c: replace(c, connector=twice_as_wide(c.connector)),
        "connector .*another shape",
    ),
    "an unknown one": (lambda c: replace(c, connector=c.connector | {"9.bias": torch.zeros(1)}), "unknown 9.bias"),
    "no LoRA": (lambda c: replace(c, lora={}), "LoRA weights do not fit the decoder: missing .* more"),
    "a wide LoRA": (lambda c: replace(c, lora=twice_as_wide(c.lora)), "LoRA weights do not fit the decoder: size mism"),
    "a connector of no numbers": (
        lambda c: replace(c, connector={name: tensor * torch.nan for name, tensor in c.connector.items()}),
        "connector: .* holds numbers that are none",
    ),
    "LoRA unsaid": (lambda c: replace(c, spec=replace(c.spec, lora=None)), "holds LoRA weights, but no description"),
}


def without_last(tensors):
    return {name: tensors[name] for name in sorted(tensors)[:-1]}


def twice_as_wide(tensors):
    return {name: torch.cat((tensor, tensor), -1) for name, tensor in tensors.items()}


@pytest.mark.parametrize(("change", "message"), LESS.values(), ids=LESS.keys())
def test_tensors_that_do_not_fit_are_named_with_their_folder(golden, tmp_path, change, message):
    write_checkpoint(change(golden), tmp_path / "less")
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(tmp_path / 'less'))}: .*{message}") as refused:
        open_checkpoint(tmp_path / "less")
    assert len(str(refused.value).splitlines()) == 1


def test_a_reference_checkpoint_whose_tensors_do_not_fit_is_refused(golden, tmp_path):
    shutil.copytree(GOLDEN, tmp_path, dirs_exist_ok=True)
    for kind, message in (("half the connector", "connector does not fit"), ("no LoRA", "LoRA weights do not fit")):
        write_reference(LESS[kind][0](golden), tmp_path / "adapter")
        with pytest.raises(CheckpointError, match=message):
            open_checkpoint(tmp_path)


def test_a_tower_without_some_of_its_tensors_is_refused(golden, tmp_path):
    shutil.copytree(GOLDEN / "vision", tmp_path / "vision")
    weights = tmp_path / "vision" / "model.safetensors"
    save_file(without_last(load_file(weights)), weights, metadata={"format": "pt"})
    spec = replace(golden.spec, vision=replace(golden.spec.vision, name=str(tmp_path / "vision")))
    write_checkpoint(replace(golden, spec=spec), tmp_path / "less")
    with pytest.raises(CheckpointError, match="1 of its tensors are missing"):
        open_checkpoint(tmp_path / "less")
    timm = VisionSpec("timm", "tf_efficientnet_lite0", "", 32)
    write_checkpoint(replace(golden, spec=replace(spec, vision=timm)), tmp_path / "less")
    with pytest.raises(CheckpointError, match="holds no vision tower"):
        open_checkpoint(tmp_path / "less")
    tower = open_vision(timm).state_dict()
    write_checkpoint(replace(golden, spec=replace(spec, vision=timm), vision=without_last(tower)), tmp_path / "less")
    with pytest.raises(CheckpointError, match="its vision tower does not fit: missing trunk"):
        open_checkpoint(tmp_path / "less")
    save_file({"a": torch.zeros(1)}, tmp_path / "timm.safetensors")
    with pytest.raises(CheckpointError, match=r"timm.safetensors: .* does not fit: missing"):
        open_vision(replace(timm, weights=str(tmp_path / "timm.safetensors")))


def test_a_base_with_tensors_of_another_shape_or_a_damaged_tokenizer_is_one_line(golden, tmp_path):
    shutil.copytree(GOLDEN / "base", tmp_path / "base")
    weights = tmp_path / "base" / "model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in sorted(tensors) if "mlp" in name)
    save_file(tensors | {name: torch.zeros(3, 3)}, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="cannot be loaded") as refused:
        open_decoder(tmp_path / "base", dtype=torch.float32, attention="sdpa")
    assert len(str(refused.value).splitlines()) == 1
    (tmp_path / "base" / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="base: its tokenizer cannot be loaded") as refused:
        open_tokenizer(tmp_path / "base")
    assert len(str(refused.value).splitlines()) == 1


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
    elif kind == "no table":
        spec.write_text('"golden"')
    elif kind == "no weights":
        weights.unlink()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("half a weights file", "weights.safetensors: cannot be read"),
        ("no JSON", "onlooker.json: cannot be read"),
        ("no table", "onlooker.json: cannot be read"),
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
    name = next(name for name in golden.lora if ".lora_" in name)
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
