"""Decoders of several families run on the ring; towers of several libraries give one kind of features."""

from dataclasses import replace

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from model.attention import GROUPED_SDPA
from model.decoder import append, make_ring, resolve_attention
from model.errors import CheckpointError, MissingDependency
from model.vision import VisionSpec, open_vision

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def make(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    llama3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 64}  # fmt: skip
    model = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
        "llama3": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=llama3)),
        "smollm": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True)),
        "mistral": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=None, head_dim=8)),
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
        "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=8)),
    }[family]()
    model.set_attn_implementation(resolve_attention("auto", torch.device("cpu")))
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("family", ["llama", "llama3", "smollm", "mistral", "qwen2", "qwen3"])
def test_family_streams_rolls_back_and_evicts(family):
    decoder = make(family)
    rows = torch.randn(40, 32)
    ring = make_ring(decoder, 64)
    append(decoder, ring, rows[:25], [24])
    ring.rollback(20)
    streamed = torch.cat([append(decoder, ring, row[None], [0]) for row in rows[20:]])
    decoder.set_attn_implementation("eager")
    at_once = decoder(inputs_embeds=rows[None]).logits[0, 20:]
    decoder.set_attn_implementation(GROUPED_SDPA)
    torch.testing.assert_close(streamed, at_once, atol=1e-4, rtol=1e-4)

    ring.evict(5, 17)
    expected = make_ring(decoder, 64)
    append(decoder, expected, torch.cat((rows[:5], rows[17:])), [0])
    kept = ring.num_tokens
    assert kept == expected.num_tokens == 28
    torch.testing.assert_close(
        ring.rings[0].keys[:, :, :kept], expected.rings[0].keys[:, :, :kept], atol=1e-5, rtol=1e-4
    )


def test_decoders_whose_positions_cannot_slide_are_refused():
    absolute = GPT2LMHeadModel(GPT2Config(vocab_size=97, n_embd=32, n_layer=1, n_head=2, n_positions=64))
    with pytest.raises(CheckpointError, match="no rotary position"):
        make_ring(absolute, 64)
    dynamic = LlamaForCausalLM(
        LlamaConfig(**SHAPE, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0})
    )
    with pytest.raises(CheckpointError, match="dynamic rotary scaling"):
        make_ring(dynamic, 64)


def test_flash_attention_is_asked_for_and_missing():
    with pytest.raises(MissingDependency, match="flash-attn"):
        resolve_attention("flash_attention_2", torch.device("cpu"))
    assert resolve_attention("auto", torch.device("cpu")) == GROUPED_SDPA
    with pytest.raises(CheckpointError, match="must be one of"):
        resolve_attention("fast", torch.device("cpu"))


@pytest.mark.parametrize(
    ("library", "name", "size", "width"),
    [
        ("open_clip", "ViT-S-16-alt", 224, 384),
        ("open_clip", "ViT-B-16-SigLIP", 224, 768),
        ("timm", "tf_efficientnet_lite0", 96, 1280),
        ("timm", "vit_tiny_patch16_224", 224, 192),
    ],
)
@pytest.mark.parametrize("grid", [0, 3])
def test_towers_give_cls_and_grid(library, name, size, width, grid):
    tower = open_vision(VisionSpec(library, name, "", size, grid=grid))
    frames = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    with torch.inference_mode():
        tokens = tower(frames)
        assert tokens.shape == (2, 1 + grid**2, width)
        torch.testing.assert_close(tower(frames[1:]), tokens[1:], atol=1e-4, rtol=1e-3)
    assert tower.feature_width == width


def test_spatial_tokens_follow_the_picture_row_by_row():
    """A convolutional tower with identity weights would be the picture itself; its mean colour by cell must be."""
    tower = open_vision(VisionSpec("timm", "tf_efficientnet_lite0", "", 96))
    spatial = torch.arange(81.0).view(1, 1, 9, 9).repeat(1, 4, 1, 1)
    tokens = tower.pool(spatial.mean((2, 3)), spatial)[0, :, 0]
    assert tokens.tolist() == [40.0, 10.0, 13.0, 16.0, 37.0, 40.0, 43.0, 64.0, 67.0, 70.0]


def test_folded_towers_see_the_same():
    torch.manual_seed(0)
    pictures = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    for name in ("tf_efficientnet_lite0", "test_vit"):
        tower = open_vision(VisionSpec("timm", name, "", 160 if name == "test_vit" else 96, layer_norm=True))
        for module in tower.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        seen = pictures if name != "test_vit" else torch.nn.functional.pad(pictures, (32, 32, 32, 32))
        with torch.inference_mode():
            before = tower(seen)
            tower.fold()
            after = tower(seen)
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in tower.modules())
        torch.testing.assert_close(after, before, atol=1e-3, rtol=1e-3)


def test_cells_of_a_plain_picture_differ_by_their_place_alone():
    spec = VisionSpec("timm", "tf_efficientnet_lite0", "", 96, layer_norm=True)
    plain, marked = open_vision(spec), open_vision(replace(spec, grid_positions=True))
    marked.load_state_dict(plain.state_dict())
    features, flat = torch.randn(2, 1280), torch.randn(2, 1280, 1, 1).expand(2, 1280, 3, 3)
    before, after = plain.pool(features, flat), marked.pool(features, flat)
    assert torch.equal(before[:, 0], after[:, 0])
    codes = (after - before)[:, 1:]
    assert torch.allclose(codes[0], codes[1], atol=1e-5)
    distances = torch.cdist(codes[0], codes[0]) + torch.eye(9) * 1e9
    assert float(distances.min()) > 10
    assert float(before[:, 1:].var(dim=1).max()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (VisionSpec("open_clip", "ViT-nonsense", "", 224), "open_clip knows no such model"),
        (VisionSpec("open_clip", "ViT-S-16-alt", "", 384), "vision.image_size = 384"),
        (VisionSpec("timm", "resnet_nonsense", "", 224), "timm knows no such model"),
        (VisionSpec("timm", "tf_efficientnet_lite0", "/no/such/file", 96), "neither a named weight nor a file"),
        (VisionSpec("transformers", "/no/such/folder", "", 96), "cannot be loaded"),
        (VisionSpec("keras", "vgg", "", 96), "vision.library = 'keras'"),  # type: ignore[arg-type]
    ],
)
def test_bad_vision_specs_say_what_is_wrong(spec, message):
    with pytest.raises(CheckpointError, match=message):
        open_vision(spec)
