"""The measurement measures what it says, and leaves the model as it was."""

from pathlib import Path

import pytest
import torch

from model.bench import BACKLOG_FRAMES, MIN_SAMPLES, REPLY_EVERY, Bencher, Timing
from model.checkpoint import open_checkpoint
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


def test_everything_is_measured_and_the_model_is_as_it_was(model):
    before, parts = decide(model), []
    bench = Bencher(model, window_tokens=1024, samples=6, max_seconds=0.01).measure((300, 1024), parts.append)
    assert decide(model) == before
    assert parts == [
        "first frame",
        "300 tokens in the cache",
        "1,024 tokens in the cache",
        "frames and replies",
        "backlog",
    ]
    assert [at.num_tokens for at in bench.at_length] == [300, 1024]
    for at in bench.at_length:
        for timing in (at.silent_frame, at.decoder_frame, at.token):
            assert MIN_SAMPLES <= timing.count <= 6
            assert 0 < timing.p50_ms <= timing.p95_ms <= timing.p99_ms
        assert at.decoder_frame.p50_ms < at.silent_frame.p50_ms
    assert bench.mixed.count == REPLY_EVERY
    assert bench.mixed_fps > 0
    assert bench.backlog.p50_ms > bench.at_length[0].silent_frame.p50_ms
    assert bench.cache_bytes > 0
    assert bench.peak_bytes is None


def test_a_model_that_fails_is_left_as_it_was(model):
    before = decide(model)
    with pytest.raises(StreamError, match="window_tokens = 64"):
        Bencher(model, window_tokens=64).measure(())
    assert decide(model) == before


def test_streams_are_filled_to_the_length_that_is_asked_for_or_the_window(model):
    bencher = Bencher(model, window_tokens=1024)
    with bencher._decided():
        for wanted in (0, 200, 900):
            num_tokens = bencher._open(filled=wanted).num_tokens
            assert wanted <= num_tokens < wanted + 16 * (model.num_frame_tokens + 1) + 100
        assert bencher._open(filled=5000).num_tokens <= 1024


def test_timings_are_in_milliseconds():
    assert Timing.of([0.001, 0.002, 0.003]) == Timing(3, pytest.approx(2.0), pytest.approx(2.9), pytest.approx(2.98))
    assert BACKLOG_FRAMES == 20
