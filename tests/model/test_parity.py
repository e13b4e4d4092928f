"""Everything the reference computed on the golden model, by the public API, to 1e-4 and token for token.

$ONLOOKER_GOLDEN names another folder of the same form, $ONLOOKER_GRAMMAR and $ONLOOKER_TOKENIZER another
tokenizer's cases.
"""

import json
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.assembly import open_checkpoint, open_tokenizer
from model.grammar import AssistantTurn, Grammar, GrammarSpec, StreamTurn, Turn, UserTurn
from model.videolm import VideoLM
from train.objective import embed_dialogues, streaming_loss
from train.scoring.freerun import FreeRun, Said, free_run
from train.scoring.metrics import stream_metrics

GOLDEN = Path(os.environ.get("ONLOOKER_GOLDEN", Path(__file__).parents[1] / "golden"))
FACTS = json.loads((GOLDEN / "golden.json").read_text())
NUM_CONVERSATIONS, NUM_LIVE = len(FACTS["conversations"]), len(FACTS["live"])


@pytest.fixture(scope="module")
def model() -> VideoLM:
    return open_checkpoint(GOLDEN)


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "golden.safetensors")


def to_turns(dialogue: list[dict]) -> list[Turn]:
    turns: list[Turn] = []
    for message in dialogue:
        if message["role"] == "stream":
            turns.append(StreamTurn(message["num_frames"], message["learn"]))
        elif message["role"] == "user":
            turns.append(UserTurn(message["content"]))
        else:
            turns.append(AssistantTurn(message["content"], message.get("learn", True)))
    return turns


def dialogue_logits(model: VideoLM, ids: list[int], features: torch.Tensor) -> torch.Tensor:
    embeds = embed_dialogues(
        model.decoder, model.connector, torch.tensor([ids]), [features], model.grammar.placeholder_id
    )
    return model.decoder(inputs_embeds=embeds).logits


def test_vision_features_and_tokens(model, tensors):
    features = model.vision(tensors["vision.frames_u8"])
    torch.testing.assert_close(features, tensors["vision.features"], atol=1e-4, rtol=0)
    torch.testing.assert_close(model.encode(tensors["vision.frames_u8"]), tensors["vision.tokens"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("index", range(NUM_CONVERSATIONS))
def test_rendered_dialogue(model, index):
    facts = FACTS["conversations"][index]
    rendered = model.grammar.render(to_turns(facts["dialogue"]))
    assert rendered.text == facts["text"]
    assert rendered.input_ids == facts["input_ids"]
    assert rendered.labels == facts["labels"]


@pytest.mark.parametrize("index", range(NUM_CONVERSATIONS))
def test_losses(model, tensors, index):
    facts = FACTS["conversations"][index]
    logits = dialogue_logits(model, facts["input_ids"], tensors[f"conv{index}.features"])
    is_frame = torch.tensor([facts["input_ids"]]) == model.grammar.placeholder_id
    for tau, loss in facts["loss"].items():
        got = streaming_loss(logits, torch.tensor([facts["labels"]]), is_frame, float(tau))
        assert float(got) == pytest.approx(loss, abs=1e-4)


@pytest.mark.parametrize("index", range(NUM_CONVERSATIONS))
def test_metrics(model, tensors, index):
    facts = FACTS["conversations"][index]
    ids, features = facts["input_ids"], tensors[f"conv{index}.features"]
    logits = dialogue_logits(model, ids, features)[0]
    grammar = model.grammar
    rendered = grammar.render(to_turns(facts["dialogue"]))

    def look_ahead(num_tokens: int, first_frame: int, count: int) -> torch.Tensor:
        step = [grammar.interval_id] + [grammar.placeholder_id] * grammar.spec.num_frame_tokens
        extended = ids[:num_tokens] + step * count
        out = dialogue_logits(model, extended, features[: first_frame + count])[0]
        return out[num_tokens - 1 + len(step) :: len(step)]

    for threshold, expected in facts["stream_evaluate"].items():
        got = stream_metrics(rendered, logits, grammar, float(threshold), look_ahead)
        values = (got.lm_ppl, got.time_diff_frames, got.fluency, got.lm_correctness)
        assert values == pytest.approx(expected, rel=1e-4, abs=1e-4)


def check_live(model: VideoLM, facts: dict, run: FreeRun, cache_len: int) -> None:
    assert run.silence_probs == pytest.approx(facts["interval_prob"], abs=1e-4)
    expected = [Said(e["frame"], e["query"], tuple(e["output_ids"]), e["text"]) for e in facts["events"]]
    assert run.said == expected
    assert {e["trigger_id"] for e in facts["events"]} <= {None, model.grammar.speak_id}
    assert cache_len == facts["cache_len"]


@pytest.mark.parametrize("index", range(NUM_LIVE))
@pytest.mark.parametrize("mode", ["one by one", "batched"])
def test_live(model, tensors, index, mode):
    facts = FACTS["live"][index]
    tokens = model.connect(tensors[f"live{facts['clip']}.features"])
    queries = {int(frame): text for frame, text in facts["queries"].items()}
    rng = random.Random(index)
    for _ in range(1 if mode == "one by one" else 3):
        stream = model.open_stream(silence_threshold=facts["theta"])
        run = free_run(stream, tokens, queries, next_batch=lambda: 1 if mode == "one by one" else rng.randint(1, 20))
        check_live(model, facts, run, stream.num_tokens)


@pytest.mark.parametrize("index", range(NUM_LIVE))
def test_live_saved_and_loaded(model, tensors, index, tmp_path):
    facts = FACTS["live"][index]
    tokens = model.connect(tensors[f"live{facts['clip']}.features"])
    queries = {int(frame): text for frame, text in facts["queries"].items()}
    stream = model.open_stream(silence_threshold=facts["theta"])
    probs, said = [], []
    for start in range(0, len(tokens), 5):
        part = {q - start: text for q, text in queries.items() if start <= q < start + 5}
        run = free_run(stream, tokens[start : start + 5], part, next_batch=lambda: 1)
        probs += run.silence_probs
        said += [replace(u, frame=u.frame + start) for u in run.said]
        model.save_stream(stream, tmp_path / "stream.safetensors")
        stream = model.load_stream(tmp_path / "stream.safetensors")
    check_live(model, facts, FreeRun(probs, said), stream.num_tokens)


def test_given_grammar_cases():
    """Cases for any tokenizer; without any given, the golden ones in the same form."""
    tokenizer = os.environ.get("ONLOOKER_TOKENIZER", str(GOLDEN / "base"))
    given = os.environ.get("ONLOOKER_GRAMMAR")
    cases = json.loads(Path(given).read_text()) if given else FACTS["conversations"]
    opened = open_tokenizer(tokenizer)
    specs = {"live1+": GrammarSpec(), "live1": GrammarSpec(num_frame_tokens=1, has_interval=False)}
    assert cases
    for case in cases:
        grammar = Grammar(opened, specs[case.get("version", "live1+")])
        rendered = grammar.render(to_turns(case["dialogue"]))
        assert rendered.text == case["text"]
        assert rendered.input_ids == case["input_ids"]
        assert rendered.labels == case["labels"]
