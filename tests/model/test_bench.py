"""The measurement measures what it says, and leaves the model as it was."""

import time
from pathlib import Path

import pytest
import torch

from model.assembly import open_checkpoint
from model.bench import MIN_SAMPLES, REPLY_EVERY, Bencher, Timing
from model.errors import StreamError

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def model():
    return open_checkpoint(GOLDEN)


def decide(model) -> list[float]:
    pictures = torch.arange(3 * 3 * model.image_size**2).remainder(251).to(torch.uint8)
    frames = model.encode(pictures.view(3, 3, model.image_size, model.image_size))
    stream = model.open_stream(window_tokens=1024)
    return [stream.observe(frame).silence_prob for frame in frames]


def test_everything_is_measured_and_the_model_is_as_it_was(model, monkeypatch):
    monkeypatch.setattr(time, "perf_counter", time.process_time)  # what others do on this machine does not count
    before, parts = decide(model), []
    bench = Bencher(model, window_tokens=1024, samples=6, max_seconds=0.01).measure((300, 1024), parts.append)
    assert decide(model) == before
    assert parts == [
        "first frame",
        "300 tokens in the cache",
        "1,024 tokens in the cache",
        "frames and replies",
        "backlog of 20 frames",
        "backlog of 200 frames",
    ]
    assert [at.num_tokens for at in bench.at_length] == [300, 1024]
    for at in bench.at_length:
        for timing in (at.silent_frame, at.decoder_frame, at.token):
            assert MIN_SAMPLES <= timing.count <= 6
            assert 0 < timing.p50_ms <= timing.p95_ms <= timing.p99_ms
        assert at.decoder_frame.p50_ms < at.silent_frame.p50_ms
    assert bench.mixed.count == REPLY_EVERY
    assert 0 < bench.first_ms <= bench.ready_ms
    assert bench.mixed_fps > 0
    assert bench.long_backlog.p50_ms > bench.backlog.p50_ms > bench.at_length[0].silent_frame.p50_ms
    assert bench.memory.process_bytes > bench.cache_bytes
    assert (bench.memory.gpu_bytes, bench.long_run) == (None, None)
    assert bench.cache_bytes > 0
    assert bench.peak_bytes is None


def test_a_model_that_fails_is_left_as_it_was(model):
    before = decide(model)
    with pytest.raises(StreamError, match="window_tokens = 64"):
        Bencher(model, window_tokens=64).measure(())
    assert decide(model) == before


def test_streams_are_filled_to_the_length_that_is_asked_for_or_the_window(model):
    bencher = Bencher(model, window_tokens=1024)
    for wanted in (0, 200, 900):
        num_tokens = bencher._open(filled=wanted).num_tokens
        assert wanted <= num_tokens < wanted + 16 * (model.num_frame_tokens + 1) + 100
    assert bencher._open(filled=5000).num_tokens <= 1024


def test_a_long_run_is_timed_at_its_ends(model):
    seen = []
    vision = model.vision.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    parts = []
    bencher = Bencher(model, window_tokens=1024, samples=1, max_seconds=0.01)
    long_run = bencher.measure((), lambda part: parts.append((part, sum(seen))), long_run_frames=205).long_run
    vision.remove()
    name, seen_before = parts[-1]
    assert name == "long run of 205 frames"
    assert sum(seen) - seen_before == long_run.num_frames == 205
    assert long_run.first.silent_frame.count == 19  # of 20, one had a reply
    assert long_run.last.silent_frame.count == 19  # and here, too
    assert long_run.last.memory.process_bytes < long_run.first.memory.process_bytes + 50 * 2**20


def test_timings_are_in_milliseconds():
    assert Timing.of([0.001, 0.002, 0.003]) == Timing(3, pytest.approx(2.0), pytest.approx(2.9), pytest.approx(2.98))
