"""Many streams in lock-step say and decide what each would by itself, token for token, whatever stands beside it."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from model.assembly import open_checkpoint
from model.errors import StreamError
from model.grammar import GrammarSpec
from model.videolm import VideoLM
from train.scoring.freerun import FreeRun, free_run
from train.scoring.lockstep import Job, free_run_many, whole_text

GOLDEN = Path(__file__).parents[1] / "golden"
FACTS = json.loads((GOLDEN / "golden.json").read_text())
SPECS = {
    "10 tokens": GrammarSpec(),
    "1 token": GrammarSpec(num_frame_tokens=1, has_interval=False),
    "per frame": GrammarSpec(is_per_frame=True),
    "1 token per frame": GrammarSpec(num_frame_tokens=1, has_interval=False, is_per_frame=True),
}


def with_grammar(model: VideoLM, spec: GrammarSpec) -> VideoLM:
    """The same model under another grammar."""
    return VideoLM(
        name=model.name, engine=model.engine, encoder=model.encoder,
        grammar=model.grammar.with_spec(spec), fps=model.fps, silence_threshold=model.silence_threshold,
    )  # fmt: skip


@pytest.fixture(scope="module")
def models() -> dict[str, VideoLM]:
    golden = open_checkpoint(GOLDEN)
    chat = open_checkpoint(GOLDEN.with_name("golden_proassist") / "i5" / "checkpoint")
    return {name: with_grammar(golden, spec) for name, spec in SPECS.items()} | {"chat": chat}


def alone(model: VideoLM, job: Job, **options: int) -> FreeRun:
    stream = model.open_stream(silence_threshold=job.threshold, **options)
    return free_run(stream, model.connect(job.features_TNF), job.questions, next_batch=lambda: 3)


def check_equal(together: FreeRun, by_itself: FreeRun, atol: float = 1e-4) -> None:
    assert together.said == by_itself.said
    assert together.silence_probs == pytest.approx(by_itself.silence_probs, abs=atol)


def test_all_golden_streams_at_once():
    model = open_checkpoint(GOLDEN)
    tensors = load_file(GOLDEN / "golden.safetensors")
    live = FACTS["live"]
    jobs = [
        Job(tensors[f"live{facts['clip']}.features"], {int(f): q for f, q in facts["queries"].items()}, facts["theta"])
        for facts in live
    ]
    for facts, run in zip(live, free_run_many(model, jobs, batch=3), strict=True):
        assert run.silence_probs == pytest.approx(facts["interval_prob"], abs=1e-4)
        assert [(u.frame, u.question, list(u.ids), u.text) for u in run.said] == [
            (e["frame"], e["query"], e["output_ids"], e["text"]) for e in facts["events"]
        ]


jobs = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.dictionaries(st.integers(0, 8), st.sampled_from(["What?", "What am I holding in my hand now?"]), max_size=3),
        st.floats(0.0, 1.0),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("name", [*SPECS, "chat"])
@settings(max_examples=5, deadline=None)
@given(jobs=jobs, batch=st.integers(1, 4), max_reply_tokens=st.integers(1, 6), seed=st.integers(0, 99))
def test_random_streams(models, name, jobs, batch, max_reply_tokens, seed):
    model = models[name]
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        Job(2 * torch.randn(frames, model.num_frame_tokens, 48, generator=generator), questions, threshold)
        for frames, questions, threshold in jobs
    ]
    together = free_run_many(model, drawn, batch=batch, max_reply_tokens=max_reply_tokens)
    for job, run in zip(drawn, together, strict=True):
        # Random weights make some streams ill-conditioned: with seed 35 a lone stream's 0.351 itself moves by 0.0004
        # with the number of frames that are read together.
        check_equal(run, alone(model, job, max_reply_tokens=max_reply_tokens), atol=5e-3)


@pytest.mark.parametrize("name", [*SPECS, "chat"])
def test_windows_that_slide(models, name):
    """Short windows, long clips, much talk: every row evicts, again and again, as a lone stream does."""
    model = models[name]
    generator = torch.Generator().manual_seed(1)
    frames = 50 if model.num_frame_tokens == 10 else 80
    drawn = [
        Job(2 * torch.randn(frames + 9 * k, model.num_frame_tokens, 48, generator=generator), {20: "What?"}, threshold)
        for k, threshold in enumerate((0.0, 1.0))
    ]
    options = {"window_tokens": 300, "max_reply_tokens": 4}
    for job, run in zip(drawn, free_run_many(model, drawn, batch=2, **options), strict=True):
        check_equal(run, alone(model, job, **options))


def test_what_does_not_fit_is_refused(models):
    model = models["10 tokens"]
    job = Job(torch.randn(3, 10, 48), {1: "why " * 200}, 0.5)
    with pytest.raises(StreamError, match="window_tokens = 99"):
        free_run_many(model, [job], batch=1, window_tokens=99)
    with pytest.raises(StreamError, match="shorten it"):
        free_run_many(model, [job], batch=1)
    assert free_run_many(model, [], batch=1) == []


def test_an_incomplete_character_is_not_spoken(models):
    grammar = models["10 tokens"].grammar
    ids = grammar.ids("a ☃")
    assert whole_text(grammar, [*ids, grammar.eos_id]) == grammar.text(ids)
    assert not whole_text(grammar, ids[:-1]).endswith("\ufffd")
    assert whole_text(grammar, []) == ""
