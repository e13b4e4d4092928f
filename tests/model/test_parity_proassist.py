"""Everything ProAssist's own code computed on golden models of 1 and 5 tokens a frame: to 1e-4 and token for token.

$ONLOOKER_GOLDEN_PROASSIST names another folder: a golden model in it, or several in folders of their own.
"""

import json
import os
import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.assembly import open_checkpoint
from model.grammar import AssistantTurn, Grammar, StreamTurn, Turn, UserTurn
from model.stream import Stream
from model.videolm import VideoLM
from train.objective import embed_dialogues, streaming_loss

GOLDEN = Path(os.environ.get("ONLOOKER_GOLDEN_PROASSIST", Path(__file__).parents[1] / "golden_proassist"))
MODELS = {path.parent.name: path.parent for path in sorted(GOLDEN.glob("**/golden.json"))}
FACTS = {name: json.loads((folder / "golden.json").read_text()) for name, folder in MODELS.items()}


class Golden:
    """One golden model: its facts, its tensors, and the checkpoint as opened here."""

    def __init__(self, folder: Path) -> None:
        self.facts = json.loads((folder / "golden.json").read_text())
        self.tensors = load_file(folder / "golden.safetensors")
        self.model: VideoLM = open_checkpoint(folder / "checkpoint")

    def tokens(self, index: int) -> torch.Tensor:
        return self.model.encode(self.tensors[f"s{index}.frames"])


@cache
def golden_of(name: str) -> Golden:
    return Golden(MODELS[name])


def each(key: str):
    """Every model's every dialogue or stream."""
    cases = [(name, index) for name, facts in FACTS.items() for index in range(len(facts[key]))]
    return pytest.mark.parametrize(("name", "index"), cases)


def with_prompt(grammar: Grammar, prompt: str) -> Grammar:
    return grammar.with_spec(replace(grammar.spec, system_prompt=prompt))


def to_turns(conversation: list[dict]) -> tuple[str, list[Turn]]:
    """The system prompt, and the turns after it."""
    prompt, turns = "", []
    for message in conversation:
        if message["role"] == "frames":
            turns.append(StreamTurn(message["end"] - message["start"], message.get("learn", True)))
        elif message["role"] == "system":
            prompt = message["content"]
        else:
            turns.append((UserTurn if message["role"] == "user" else AssistantTurn)(message["content"]))
    return prompt, turns


def test_there_are_golden_models():
    assert MODELS


@each("dialogues")
def test_vision_features_and_tokens(name, index):
    golden = golden_of(name)
    frames, tensors = golden.tensors[f"d{index}.frames"], golden.tensors
    torch.testing.assert_close(golden.model.vision(frames), tensors[f"d{index}.features"], atol=1e-4, rtol=0)
    torch.testing.assert_close(golden.model.encode(frames), tensors[f"d{index}.tokens"], atol=1e-4, rtol=0)


@each("dialogues")
def test_rendered_dialogue_and_loss(name, index):
    golden = golden_of(name)
    facts, model = golden.facts["dialogues"][index], golden.model
    prompt, turns = to_turns(facts["conversation"])
    rendered = with_prompt(model.grammar, prompt).render(turns)
    assert rendered.text == facts["text"]
    assert rendered.input_ids == facts["input_ids"]
    assert rendered.labels == facts["labels"]
    ids, placeholder = torch.tensor([facts["input_ids"]]), model.grammar.placeholder_id
    embeds = embed_dialogues(model.decoder, model.connector, ids, [golden.tensors[f"d{index}.features"]], placeholder)
    logits = model.decoder(inputs_embeds=embeds).logits
    loss = streaming_loss(logits, torch.tensor([facts["labels"]]), ids == placeholder, 1.0)
    assert float(loss) == pytest.approx(facts["loss"], abs=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_special_ids(name):
    golden = golden_of(name)
    grammar, ids = golden.model.grammar, golden.facts["ids"]
    assert (grammar.placeholder_id, grammar.silence_id) == (ids["image"], ids["w2t_target"])
    assert (grammar.eos_id, grammar.speak_id) == (ids["eos"], ids["bor"])
    assert grammar.spec.num_frame_tokens == golden.facts["num_frame_tokens"]


class Told:
    """What a stream did, in the golden form."""

    def __init__(self) -> None:
        self.probs: list[float] = []
        self.events: list[tuple[int, list[int], str]] = []
        self.lengths: list[int] = []


def show(stream: Stream, frames: torch.Tensor, facts: dict, told: Told, batch: int) -> None:
    """Show up to `batch` of the next frames, up to the next message; reply if the stream wants to."""
    frame = len(told.probs)
    for message in facts["messages"].get(str(frame), []):
        if message["role"] == "user":
            stream.ask(message["content"])
    later = [int(number) for number in facts["messages"] if int(number) > frame]
    stop = min([frame + batch, len(frames), *later])
    before = stream.num_tokens
    decisions = stream.observe_many(frames[frame:stop])
    told.probs += [decision.silence_prob for decision in decisions]
    step = len(frames[0])
    told.lengths += [stream.num_tokens - step * k for k in reversed(range(len(decisions)))]
    assert stream.num_tokens > before
    if decisions[-1].speaks:
        text = "".join(stream.reply())
        told.events.append((len(told.probs) - 1, stream.reply_ids, text))
        told.lengths[-1] = stream.num_tokens


def open_stream(golden: Golden, facts: dict) -> Stream:
    (prompt,) = [m["content"] for m in facts["messages"]["0"] if m["role"] == "system"]
    return golden.model.open_stream(
        silence_threshold=facts["threshold"], window_tokens=4096, max_reply_tokens=100, system_prompt=prompt
    )


def check(told: Told, facts: dict) -> None:
    assert told.probs == pytest.approx(facts["silence_probs"], abs=1e-4)
    assert told.events == [(event["frame"], event["ids"], event["text"]) for event in facts["events"]]
    assert told.lengths == facts["lengths"]


@each("streams")
@pytest.mark.parametrize("mode", ["one by one", "batched"])
def test_stream(name, index, mode):
    golden, rng = golden_of(name), random.Random(index)
    facts, frames = golden.facts["streams"][index], golden.tokens(index)
    for _ in range(1 if mode == "one by one" else 3):
        stream, told = open_stream(golden, facts), Told()
        while len(told.probs) < len(frames):
            show(stream, frames, facts, told, 1 if mode == "one by one" else rng.randint(1, 16))
        check(told, facts)


@each("streams")
def test_stream_saved_and_loaded(name, index, tmp_path):
    golden = golden_of(name)
    facts, frames = golden.facts["streams"][index], golden.tokens(index)
    stream, told = open_stream(golden, facts), Told()
    while len(told.probs) < len(frames):
        show(stream, frames, facts, told, 1)
        golden.model.save_stream(stream, tmp_path / "stream.safetensors")
        stream = golden.model.load_stream(tmp_path / "stream.safetensors")
    check(told, facts)
