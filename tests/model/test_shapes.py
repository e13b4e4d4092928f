"""Models by their sizes: as large as they are called, as many tokens as the real ones, and they run."""

from dataclasses import replace

import pytest
import torch

from model.bench import Decided
from model.errors import CheckpointError
from model.grammar import Cursor
from model.shapes import SHAPES, build_decoder, open_shape
from model.stream import Stream, StreamOptions

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    return open_shape("tiny", device=CPU, dtype=torch.float32)


@pytest.mark.parametrize(("name", "billions"), [("8b-v1plus", 8.03), ("135m", 0.1345)])
def test_a_decoder_is_as_large_as_its_name_says(name, billions):
    decoder = build_decoder(SHAPES[name].decoder, torch.device("meta"), torch.bfloat16)
    assert decoder.num_parameters() / 1e9 == pytest.approx(billions, rel=0.01)
    assert {(weight.device.type, weight.dtype) for weight in decoder.parameters()} == {("meta", torch.bfloat16)}


def test_all_parts_are_in_the_type_that_is_asked_for():
    model = open_shape("tiny", device=CPU, dtype=torch.bfloat16)
    parts = (model.vision, model.connector, model.decoder)
    assert {weight.dtype for part in parts for weight in part.parameters()} == {torch.bfloat16}
    assert not any(weight.requires_grad for part in parts for weight in part.parameters())
    frames = torch.zeros(2, 3, model.image_size, model.image_size, dtype=torch.uint8)
    assert model.encode(frames).shape == (2, 10, model.decoder.config.hidden_size)


def test_a_stream_holds_as_many_tokens_as_one_of_the_published_model(model):
    stream = model.open_stream(silence_threshold=0.0, window_tokens=1024, max_reply_tokens=20)
    frame = torch.zeros(10, model.decoder.config.hidden_size)
    stream.observe(frame)
    assert stream.num_tokens == 32 + 10  # the prompt as Llama-3 tokenizes it, and a frame
    stream.observe(frame)
    assert stream.num_tokens == 42 + 1 + 10
    words = len(list(stream.reply()))
    assert words == 20
    assert stream.num_tokens == 53 + 3 + words - 1  # the last word comes with what follows it
    stream.observe(frame)
    assert stream.num_tokens == 75 + 1 + 3 + 10


def test_random_words_can_be_said_and_any_question_asked(model):
    stream = model.open_stream(window_tokens=1024, max_reply_tokens=20)
    stream.observe(torch.randn(10, model.decoder.config.hidden_size))
    stream.ask("Où est le couteau?</s>")
    assert "".join(stream.reply()) == model.grammar.text(stream.reply_ids)
    assert model.grammar.eos_id not in model.grammar.ids("Où est le couteau?</s>")
    assert model.grammar.text([*model.grammar.ids("]\nAssistant: a a"), 511]) == "]\nAssistant: a a ?"
    assert model.grammar.before_frame(Cursor("frame")) == [model.grammar.silence_id]


def test_an_unknown_shape_is_refused_with_those_that_are_known():
    with pytest.raises(
        CheckpointError,
        match=r"shape '8b': must be one of 8b-v1plus, proassist-i10, proassist-i5, proassist-i1, 135m, tiny",
    ):
        open_shape("8b", device=CPU, dtype=torch.float32)


@pytest.mark.parametrize(("name", "tokens"), [("proassist-i10", 10), ("proassist-i5", 5), ("proassist-i1", 1)])
def test_a_chat_of_random_weights_streams_and_speaks(monkeypatch, name, tokens):
    """With a small decoder and tower in its place: the grammar is what differs."""
    small = replace(
        SHAPES[name],
        decoder=SHAPES["tiny"].decoder,
        vision=replace(SHAPES["tiny"].vision, grid=SHAPES[name].vision.grid),
    )
    monkeypatch.setitem(SHAPES, "small", small)
    model = open_shape("small", device=CPU, dtype=torch.float32)
    stream = model.open_stream(silence_threshold=0.0, window_tokens=1024, max_reply_tokens=20)
    frame = torch.randn(tokens, model.decoder.config.hidden_size)
    assert not stream.observe(frame).speaks
    before = stream.num_tokens
    stream.observe(frame)
    assert stream.num_tokens == before + tokens
    stream.ask("What now?")
    "".join(stream.reply())
    assert 0 < len(stream.reply_ids) <= 20
    decided = Decided(model, reply_every=3)
    stream = Stream(decided, model.grammar, StreamOptions(0.0, 1024, 20))
    assert [stream.observe(frame).speaks for _ in range(3)] == [False, False, True]
    list(stream.reply())
    assert len(stream.reply_ids) == 20
