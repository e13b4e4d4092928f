"""The three ways of inference on a tiny decoder: what lies in the cache, what is passed, what is written down."""

import json
import math

import pytest
import torch

from model.assembly import open_checkpoint
from model.shapes import SHAPES, Shape, build_decoder
from model.stream import Stream, StreamOptions
from tests.train.test_training import GOLDEN
from train.cli import main
from train.ways import WAYS, Glue, Plan, measure

CPU = torch.device("cpu")
TINY = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip


@pytest.fixture(scope="module")
def golden():
    return open_checkpoint(GOLDEN)


class Counted:
    """Frames, and the number of passes of a decoder."""

    def __init__(self, decoder, frame_tokens: int) -> None:
        self.passes = self.frames = 0
        self._size = (frame_tokens, decoder.config.hidden_size)
        self.hook = decoder.register_forward_hook(self._count)

    def _count(self, *_: object) -> None:
        self.passes += 1

    def frame(self) -> torch.Tensor:
        self.frames += 1
        return torch.randn(self._size)


@pytest.mark.parametrize("num_frames", [20, 23])
@pytest.mark.parametrize("way", WAYS)
def test_each_way_passes_what_it_must(golden, way, num_frames):
    plan = Plan(num_frames, 10, speak_every=5, reply_tokens=4, glue=Glue.of(golden.grammar))
    counted = Counted(golden.decoder, 10)
    measured = measure(way, golden.decoder, counted.frame, plan, max_seconds=60)
    counted.hook.remove()
    replies, warm = num_frames // 5, 4
    by_way = {
        "streaming": warm + 2 * 4 + num_frames + replies * 4,
        "per-frame": warm + 2 * 3 + num_frames + replies * 3,
        "interleaved": warm * 5 + num_frames * 5,
    }
    assert counted.passes == by_way[way] + 2  # one each time, for the cache to get its memory
    assert measured.frames_done == num_frames == counted.frames - warm
    assert measured.fps == pytest.approx(num_frames / measured.seconds)
    assert measured.p50_ms <= measured.p95_ms
    taken_back = plan.glue.closing + 3 if way == "interleaved" and num_frames == 23 else 0
    assert measured.cache_tokens == plan.capacity(way) - taken_back
    width = 2 * golden.decoder.config.num_hidden_layers * golden.decoder.config.num_key_value_heads
    width *= golden.decoder.config.hidden_size // golden.decoder.config.num_attention_heads
    assert measured.cache_gib * 2**30 == plan.capacity(way) * width * 4


def test_streaming_fills_the_cache_as_a_stream_does(golden):
    plan = Plan(12, 10, speak_every=4, reply_tokens=5, glue=Glue.of(golden.grammar))
    options = StreamOptions(silence_threshold=0.0, window_tokens=1024, max_reply_tokens=5)
    stream = Stream(golden.engine, golden.grammar, options)
    for frame in range(12):
        stream.observe(torch.randn(10, 64))
        if plan.is_due(frame):
            "".join(stream.reply())
    assert len(stream.reply_ids) == 5  # random frames never end a sentence of this model
    measured = measure("streaming", golden.decoder, lambda: torch.randn(10, 64), plan, max_seconds=60)
    assert measured.cache_tokens == stream.num_tokens


def test_time_runs_out_and_nothing_is_extrapolated(golden):
    plan = Plan(5000, 10, speak_every=20, reply_tokens=4, glue=Glue(5, 1, 3, 3))
    decoder = build_decoder(TINY, CPU, torch.float32)
    measured = measure("interleaved", decoder, lambda: torch.randn(10, 64), plan, max_seconds=0.5)
    assert 2 < measured.frames_done < 1000
    assert measured.seconds < 1.0
    assert measured.cache_tokens < 40 * measured.frames_done


@pytest.mark.parametrize("tokens", [1, 10])
def test_the_command_writes_its_figures(tmp_path, monkeypatch, capsys, tokens):
    monkeypatch.setitem(SHAPES, "135m", Shape(TINY, SHAPES["135m"].vision))
    arguments = ["ways", "--shape", "135m", "--minutes", "0.05", "--frame-tokens", str(tokens), "--speak-every", "4",
                 "--reply-tokens", "3", "--device", "cpu", "--out", str(tmp_path)]  # fmt: skip
    assert main([*arguments, *(["--with-vision"] if tokens == 10 else [])]) == 0
    report = json.loads((tmp_path / "ways.json").read_text())
    assert [way["way"] for way in report["ways"]] == list(WAYS)
    assert all(way["frames_done"] == 6 and math.isfinite(way["fps"]) for way in report["ways"])
    interleaved, per_frame, streaming = (way["cache_tokens"] for way in report["ways"])
    assert streaming == interleaved < per_frame
    assert "13.5 fps, 18.2 GB" in (tmp_path / "ways.md").read_text()
    assert (tmp_path / "ways.png").read_bytes()[:4] == b"\x89PNG"
    assert "streaming" in capsys.readouterr().out
    assert main([*arguments, "--reply-tokens", "0"]) == 2


def test_the_command_takes_a_checkpoint(tmp_path):
    arguments = ["ways", "--checkpoint", str(GOLDEN), "--minutes", "0.1", "--speak-every", "4", "--reply-tokens", "3"]
    assert main([*arguments, "--device", "cpu", "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "ways.json").read_text())["plan"]["frame_tokens"] == 10
