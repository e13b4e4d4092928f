"""The fused decoder and its kernels against transformers' own code; without a GPU the kernels are interpreted."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from model import engine as engines
from model import graphs
from model.assembly import open_checkpoint
from model.decoder import append, make_ring
from model.engine import GraphEngine, PlainEngine
from model.fused import is_supported
from model.stream import Stream, StreamOptions

pytestmark = pytest.mark.no_cover  # interpreted kernels take three times as long while their lines are counted

GOLDEN = Path(__file__).parents[1] / "golden"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = {"vocab_size": 211, "hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2}


def llama(**changes) -> LlamaForCausalLM:
    torch.manual_seed(5)
    sizes = SIZES | {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16} | changes
    return LlamaForCausalLM(LlamaConfig(**sizes)).eval().requires_grad_(False).to(DEVICE)


def qwen() -> Qwen2ForCausalLM:
    torch.manual_seed(6)
    config = Qwen2Config(**SIZES, num_attention_heads=4, num_key_value_heads=4)
    decoder = Qwen2ForCausalLM(config).eval().requires_grad_(False)
    for layer in decoder.model.layers:
        torch.nn.init.normal_(layer.self_attn.k_proj.bias)
    return decoder.to(DEVICE)


DECODERS = {
    "grouped": llama,
    "tied": lambda: llama(tie_word_embeddings=True),
    "narrow heads": lambda: llama(num_attention_heads=6, num_key_value_heads=1, head_dim=6),
    "scaled positions": lambda: llama(
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 1e4,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    ),
    "biases": qwen,
}


@pytest.fixture(params=DECODERS)
def decoder(request):
    return DECODERS[request.param]()


def random_rows(decoder, rows: int) -> torch.Tensor:
    return torch.randn(rows, decoder.config.hidden_size, device=DEVICE)


def test_passes_of_any_length_read_as_transformers_would(decoder) -> None:
    assert is_supported(decoder)
    expected_cache = make_ring(decoder, 300)
    script = [
        (random_rows(decoder, rows), wanted) for rows, wanted in ((37, [36]), (1, [0]), (11, [10]), (44, [10, 43]))
    ]
    expected = [append(decoder, expected_cache, rows, wanted).softmax(-1) for rows, wanted in script]
    engine = GraphEngine(decoder, torch.device(DEVICE), usual=[(1, 1), (11, 1), (44, 4)])
    cache = engine.make_cache(300)
    for (rows, wanted), probs_WV in zip(script, expected, strict=True):
        readings = engine.read(cache, rows, wanted, watched_id=7)
        assert [reading.winner for reading in readings] == probs_WV.argmax(-1).tolist()
        torch.testing.assert_close(
            [reading.watched_prob for reading in readings], probs_WV[:, 7].tolist(), atol=1e-6, rtol=1e-4
        )
    assert cache.num_tokens == expected_cache.num_tokens == 93
    for mine, theirs in zip(cache.rings, expected_cache.rings, strict=True):
        torch.testing.assert_close(mine.keys[:, :, :93], theirs.keys[:, :, :93], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(mine.values[:, :, :93], theirs.values[:, :, :93], atol=1e-5, rtol=1e-5)
        assert not mine.keys[:, :, 93:].any(), "padding was kept"


def test_the_transformers_model_still_works_and_shares_its_memory() -> None:
    decoder = llama()
    rows = random_rows(decoder, 9)
    before = append(decoder, make_ring(decoder, 20), rows, [8])
    GraphEngine(decoder, torch.device(DEVICE), usual=[])
    assert torch.equal(append(decoder, make_ring(decoder, 20), rows, [8]), before)
    attention = decoder.model.layers[0].self_attn
    assert attention.k_proj.weight.untyped_storage().data_ptr() == attention.q_proj.weight.untyped_storage().data_ptr()


def test_a_pass_longer_than_the_largest_is_cut(monkeypatch) -> None:
    monkeypatch.setattr(engines, "MAX_ROWS", 32)
    decoder = llama()
    rows, wanted = random_rows(decoder, 70), [5, 31, 32, 69]
    expected = PlainEngine(decoder).read(make_ring(decoder, 100), rows, wanted, watched_id=3)
    engine = GraphEngine(decoder, torch.device(DEVICE), usual=[])
    got = engine.read(engine.make_cache(100), rows, wanted, watched_id=3)
    assert [r.winner for r in got] == [r.winner for r in expected]
    torch.testing.assert_close([r.watched_prob for r in got], [r.watched_prob for r in expected], atol=1e-6, rtol=1e-4)


def test_attention_over_parts_of_the_cache_is_that_over_all_of_it() -> None:
    """Many parts of a cache that is short, so that some are empty; and rows that are padding."""
    from model.kernels import MAX_SPLITS, attend

    torch.manual_seed(1)
    groups, width = 3, 16
    for start, rows, count in ((0, 1, 1), (0, 5, 5), (1, 3, 2), (63, 2, 2), (64, 1, 1), (300, 7, 6)):
        keys, values = torch.randn(2, 2, 400, width, device=DEVICE)
        qkv = torch.randn(rows, (groups + 2) * 2 * width, device=DEVICE)
        out = torch.full((rows, groups * 2 * width), torch.nan, device=DEVICE)
        attend(qkv, keys, values, torch.tensor([start, count], device=DEVICE), 0.3, 64 * MAX_SPLITS, out)
        queries = qkv[:, : groups * 2 * width].view(rows, 2, groups, width).permute(1, 2, 0, 3)
        seen = torch.arange(400, device=DEVICE) <= start + torch.arange(rows, device=DEVICE)[:, None]
        expected = torch.nn.functional.scaled_dot_product_attention(
            queries,
            keys[:, None].expand(-1, groups, -1, -1),
            values[:, None].expand(-1, groups, -1, -1),
            seen,
            scale=0.3,
        )
        expected_TX = expected.permute(2, 0, 1, 3).reshape(rows, -1)
        torch.testing.assert_close(out[:count], expected_TX[:count], atol=1e-5, rtol=1e-4)


def test_kernels_round_where_transformers_rounds() -> None:
    """In 16 bits, against transformers' own modules, but for the order of a sum."""
    from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

    from model.kernels import add_rms_norm, rotate_and_store, silu_and_multiply

    torch.manual_seed(1)

    def random(*size: int) -> torch.Tensor:
        return torch.randn(*size, device=DEVICE, dtype=torch.float16)

    norm = LlamaRMSNorm(80, 1e-5).to(DEVICE, torch.float16)
    norm.weight.data = random(80)
    x, residual, out = random(5, 80), random(5, 80), random(5, 80)
    expected_residual = residual + x
    add_rms_norm(x, residual, norm.weight.data, 1e-5, out)
    assert torch.equal(residual, expected_residual)
    torch.testing.assert_close(out, norm(expected_residual).detach(), atol=0, rtol=2e-3)

    angles = torch.randn(30, 8, device=DEVICE)
    cos, sin = (torch.cat((f(angles), f(angles)), dim=1).to(torch.float16) for f in (torch.cos, torch.sin))
    qkv = random(3, (4 + 2 * 2) * 16)
    keys, values = torch.zeros(2, 2, 30, 16, device=DEVICE, dtype=torch.float16)
    queries, new_keys, new_values = (
        part.view(3, -1, 16).transpose(0, 1)[None] for part in qkv.split((64, 32, 32), dim=1)
    )
    expected_queries, expected_keys = apply_rotary_pos_emb(queries, new_keys, cos[None, 7:10], sin[None, 7:10])
    expected_values = new_values.clone()
    rotate_and_store(qkv, cos, sin, torch.tensor([7, 2], device=DEVICE), keys, values)
    once_less = 0 if DEVICE == "cpu" else 2e-3  # compiled, two roundings in a row become one
    for got, expected in (
        (qkv[:2, :64].view(2, 4, 16).transpose(0, 1), expected_queries),
        (keys[:, 7:9], expected_keys),
    ):
        torch.testing.assert_close(got, expected[0, :, :2], atol=once_less, rtol=once_less)
    assert torch.equal(values[:, 7:9], expected_values[0, :, :2])
    assert not keys[:, 9:].any(), "padding was kept"

    gate_up, gated = random(3, 2 * 50), random(3, 50)
    silu_and_multiply(gate_up, gated)
    expected = torch.nn.functional.silu(gate_up[:, :50]) * gate_up[:, 50:]
    torch.testing.assert_close(gated, expected, atol=0, rtol=2e-3)


def test_streams_of_different_windows_share_an_engine() -> None:
    decoder = llama()
    engine, plain = GraphEngine(decoder, torch.device(DEVICE), usual=[]), PlainEngine(decoder)
    caches = [(engine.make_cache(capacity), plain.make_cache(capacity)) for capacity in (40, 90)]
    for _ in range(3):
        for fast, exact in caches:
            rows = random_rows(decoder, 7)
            (got,), (expected,) = engine.read(fast, rows, [6], 3), plain.read(exact, rows, [6], 3)
            assert got.winner == expected.winner
            assert got.watched_prob == pytest.approx(expected.watched_prob, rel=1e-4)


def test_sizes_that_are_rare_go_and_the_usual_ones_stay(monkeypatch) -> None:
    monkeypatch.setattr(graphs, "MAX_GRAPHS", 3)
    decoder = llama()
    engine = GraphEngine(decoder, torch.device(DEVICE), usual=[(1, 1)])
    cache = engine.make_cache(400)
    for rows in (1, 16, 32, 48, 16, 64):
        engine.read(cache, random_rows(decoder, rows), [rows - 1], 3)
    assert list(engine._shelves[cache]._graphs) == [(1, 1), (16, 1), (64, 1)]


def test_keys_move_down_in_place_as_they_do_without_a_kernel() -> None:
    from model.kernels import move_down

    decoder = llama()
    cache = make_ring(decoder, 400)
    append(decoder, cache, random_rows(decoder, 390), [0])
    keys, values = (buffer.clone() for buffer in cache.buffers())
    cache.evict(23, 60)
    angles = -37 * torch.cat((decoder.model.rotary_emb.inv_freq,) * 2)
    move_down(keys[:, 0], values[:, 0], angles.cos(), angles.sin(), 23, 60, 390)
    kept = slice(0, cache.num_tokens)
    torch.testing.assert_close(keys[..., kept, :], cache.buffers()[0][..., kept, :], atol=1e-6, rtol=1e-6)
    assert torch.equal(values[..., kept, :], cache.buffers()[1][..., kept, :])


@pytest.mark.parametrize("weight_format", ["int8", "fp8", "int4"])
def test_rounded_weights_read_as_transformers_would_with_those_weights(weight_format) -> None:
    sizes = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 64, "num_attention_heads": 2}
    rounded, decoder = llama(**sizes), llama(**sizes)
    engine = GraphEngine(decoder, torch.device(DEVICE), usual=[], weights=weight_format)
    assert decoder.model.layers[0].mlp.up_proj.weight.numel() == 0, "the exact weights are still there"
    for layer, fused in zip(rounded.model.layers, engine._fused._layers, strict=True):
        parts = [layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj]
        for linears, joined in (
            (parts, fused.qkv),
            ([layer.self_attn.o_proj], fused.out),
            ([layer.mlp.gate_proj, layer.mlp.up_proj], fused.gate_up),
            ([layer.mlp.down_proj], fused.down),
        ):
            rows = joined.dequantized().split([linear.out_features for linear in linears])
            for linear, weight in zip(linears, rows, strict=True):
                linear.weight.copy_(weight)
    rounded.lm_head.weight.copy_(engine._fused._head.dequantized())
    rows = random_rows(decoder, 20)
    expected = PlainEngine(rounded).read(make_ring(rounded, 40), rows, [4, 19], watched_id=3)
    got = engine.read(engine.make_cache(40), rows, [4, 19], watched_id=3)
    assert [r.winner for r in got] == [r.winner for r in expected]
    torch.testing.assert_close([r.watched_prob for r in got], [r.watched_prob for r in expected], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("eviction", ["rotate", "recompute"])
def test_a_stream_over_graphs_says_what_a_plain_one_says(eviction) -> None:
    """Frames by one and by many, questions, replies cut off, and a window that slides."""
    torch.manual_seed(2)
    golden = open_checkpoint(GOLDEN)
    grammar = golden.grammar.with_spec(replace(golden.grammar.spec, system_prompt="Hi."))
    bias_V = torch.zeros(golden.decoder.config.vocab_size)
    bias_V[grammar.silence_id] = 9.0  # mostly silent, so that frames go through together
    golden.decoder.lm_head.bias = torch.nn.Parameter(bias_V, requires_grad=False)
    options = StreamOptions(0.0, 150, max_reply_tokens=4, eviction=eviction)
    exact = GraphEngine(copy.deepcopy(golden.decoder), torch.device(DEVICE), usual=[(1, 1), (11, 1), (22, 2), (44, 4)])
    plain, fast = Stream(golden.engine, grammar, options), Stream(exact, grammar, options)
    said = []
    for count in (1, 3, 4, 4, 4, 2):
        frames_KND = golden.connect(torch.randn(count, 10, 48))
        expected, got = plain.observe_many(frames_KND), fast.observe_many(frames_KND.to(DEVICE))
        assert [d.speaks for d in got] == [d.speaks for d in expected]
        torch.testing.assert_close(
            [d.silence_prob for d in got], [d.silence_prob for d in expected], atol=1e-5, rtol=1e-3
        )
        if count == 3:
            for stream in (plain, fast):
                stream.ask("What is it?")
        if expected[-1].speaks or count == 3:
            texts = [[piece for piece, _ in zip(stream.reply(), range(3), strict=False)] for stream in (plain, fast)]
            assert texts[0] == texts[1]
            said += texts[0]
        assert (fast.num_tokens, fast.kept_tokens, fast.cursor) == (plain.num_tokens, plain.kept_tokens, plain.cursor)
    assert said
    assert fast.num_frames > len(fast.marks().frame_ends) + 1, "nothing was evicted"
