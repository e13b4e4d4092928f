"""One byte a weight on a CPU: computes with the rounded weights, in any shape, and opens as any checkpoint does."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from model.assembly import open_checkpoint
from model.decoder import make_ring
from model.engine import PlainEngine, check_engine
from model.errors import CheckpointError
from model.packed import PackedLinear, pack

GOLDEN = Path(__file__).parents[1] / "golden"
CPU = torch.device("cpu")


def dequantized(packed: PackedLinear) -> torch.Tensor:
    assert isinstance(packed.weight, torch.Tensor)
    assert isinstance(packed.scales, torch.Tensor)
    return packed.weight.float() * packed.scales.float()[:, None]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("inputs", "outputs"), [(48, 100), (64, 211), (128, 256), (576, 1536)])
def test_it_multiplies_by_the_rounded_weights(inputs, outputs, bias) -> None:
    torch.manual_seed(1)
    linear = nn.Linear(inputs, outputs, bias=bias).requires_grad_(False)
    packed = PackedLinear(linear)
    assert (dequantized(packed) - linear.weight).abs().max() <= linear.weight.abs().max() / 127
    for shape in ((inputs,), (1, inputs), (2, 11, inputs)):
        x = torch.randn(shape)
        expected = nn.functional.linear(x.bfloat16().float(), dequantized(packed), linear.bias)
        torch.testing.assert_close(packed(x), expected, atol=2e-2, rtol=2e-2)
        assert packed(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("is_tied", [False, True])
def test_a_packed_decoder_reads_as_one_with_the_rounded_weights(is_tied) -> None:
    torch.manual_seed(2)
    config = LlamaConfig(vocab_size=211, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=is_tied)  # fmt: skip
    decoder = LlamaForCausalLM(config).eval().requires_grad_(False)
    exact = LlamaForCausalLM(config).eval().requires_grad_(False)
    exact.load_state_dict(decoder.state_dict())
    pack(decoder)
    linears = dict(exact.named_modules())
    for name, part in decoder.named_modules():
        if isinstance(part, PackedLinear):
            linears[name].weight = nn.Parameter(dequantized(part), requires_grad=False)
    assert not any(type(part) is nn.Linear for part in decoder.modules())
    rows = torch.randn(20, 64)
    got = PlainEngine(decoder).read(make_ring(decoder, 40), rows, [3, 19], 7)
    expected = PlainEngine(exact).read(make_ring(exact, 40), rows, [3, 19], 7)
    for one, other in zip(got, expected, strict=True):
        assert one.watched_prob == pytest.approx(other.watched_prob, rel=0.05)


def test_widths_that_the_kernel_cannot_take_stay_as_they_are() -> None:
    config = LlamaConfig(vocab_size=50, hidden_size=40, intermediate_size=96, num_hidden_layers=1,
                         num_attention_heads=2, num_key_value_heads=2)  # fmt: skip
    decoder = LlamaForCausalLM(config).eval().requires_grad_(False)
    exact = decoder.model.layers[0].mlp.down_proj.weight.clone()
    with pytest.raises(CheckpointError, match=r"weights = 'int8': only \d+% of this llama's weights can be packed"):
        pack(decoder)
    assert type(decoder.model.layers[0].mlp.up_proj) is nn.Linear  # 40 inputs
    packed = decoder.model.layers[0].mlp.down_proj
    assert isinstance(packed, PackedLinear)
    x = torch.randn(96, 3).T  # of no contiguous rows
    torch.testing.assert_close(packed(x), x @ exact.T, atol=0.05, rtol=0.05)
    assert packed(torch.zeros(0, 96)).shape == (0, 40)


def test_a_checkpoint_opens_with_it_and_decides_nearly_the_same() -> None:
    exact, packed = open_checkpoint(GOLDEN), open_checkpoint(GOLDEN, weights="int8")
    assert packed.engine.weights == "int8"
    assert isinstance(packed.decoder.model.layers[0].mlp.up_proj, PackedLinear)
    frames = exact.connect(torch.randn(40, exact.num_frame_tokens, 48, generator=torch.Generator().manual_seed(3)))
    streams = [model.open_stream(silence_threshold=0.0, window_tokens=600) for model in (exact, packed)]
    probs = torch.tensor([[stream.observe(frame).silence_prob for stream in streams] for frame in frames])
    assert (probs[:, 0] - probs[:, 1]).abs().mean() < 0.02
    assert probs[:, 0].std() > 0.05


def test_other_formats_and_graphs_are_refused_on_a_cpu() -> None:
    check_engine(CPU, kind="plain", weights="int8")
    for weights in ("int4", "fp8"):
        with pytest.raises(CheckpointError, match=rf"weights = '{weights}': needs an NVIDIA GPU.*take 'int8'"):
            check_engine(CPU, kind="auto", weights=weights)
    with pytest.raises(CheckpointError, match=r"weights = 'int8': needs an NVIDIA GPU"):
        check_engine(CPU, kind="graphs", weights="int8")
