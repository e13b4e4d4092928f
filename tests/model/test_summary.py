"""A full window that begins anew from the model's own summary: constant, grammatical, and saved with the stream."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from model.assembly import open_checkpoint
from model.cache import KVRing
from model.engine import PlainEngine, Reading
from model.grammar import Cursor
from model.stream import Stream, StreamOptions
from model.summary import QUESTION, SummarizingStream, make_stream
from model.videolm import VideoLM

GOLDEN = Path(__file__).parents[1] / "golden"
WINDOW = 600
CHAT = GOLDEN.with_name("golden_proassist") / "i5" / "checkpoint"


@pytest.fixture(scope="module", params=[GOLDEN, CHAT], ids=["videollm-online", "proassist"])
def model(request) -> VideoLM:
    return open_checkpoint(request.param)


def frames(model: VideoLM, count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return model.connect(torch.randn(count, model.num_frame_tokens, 48, generator=generator))


def summarizing(model: VideoLM, eviction="rotate") -> SummarizingStream:
    stream = model.open_stream(
        silence_threshold=0.0, window_tokens=WINDOW, max_reply_tokens=8, eviction=eviction, when_full="summary"
    )
    assert isinstance(stream, SummarizingStream)
    return stream


def until_summed_up(stream: SummarizingStream, seen: torch.Tensor) -> int:
    """Show frames one by one until a summary has been written; how many have been seen with the one behind it."""
    for number, frame in enumerate(seen, start=1):
        before = stream.num_tokens
        stream.observe(frame)
        if stream.num_tokens < before:
            return number
    raise AssertionError("no summary was written")


def test_a_full_window_begins_anew_from_the_question_and_its_answer(model):
    stream = summarizing(model)
    seen = frames(model, 200)
    count = until_summed_up(stream, seen)
    assert stream.summary
    assert stream.num_frames_kept in (1, 2)  # the one behind it; a chat model is shown the one before it again
    step = len(model.grammar.before_frame(Cursor("frame"))) + model.num_frame_tokens
    turn = len(model.grammar.ids(QUESTION)) + 8 + 2 * step + 20
    assert stream.kept_tokens < stream.num_tokens <= stream.kept_tokens + turn
    most = 0
    for _ in range(3):  # and again and again
        count += until_summed_up(stream, seen)
        most = max(most, stream.num_tokens)
    assert most <= stream.kept_tokens + turn


def test_what_remains_is_what_the_decoder_would_have_seen_from_the_start(model):
    """With the kept positions computed anew, the next decision is that of a cache which never held more."""
    stream = summarizing(model, "recompute")
    seen = frames(model, 200)
    count = until_summed_up(stream, seen)
    engine = PlainEngine(model.decoder)
    cache = engine.make_cache(WINDOW)
    rows_TE = stream.export()["history"]
    opening = engine.embed(model.grammar.before_frame(stream.cursor))
    closing = engine.embed(model.grammar.before_decision)
    shown = torch.cat((rows_TE, opening, seen[count], closing))
    expected = engine.read(cache, shown, [len(shown) - 1], model.grammar.silence_id)[0]
    assert stream.observe(seen[count]).silence_prob == pytest.approx(expected.watched_prob, abs=1e-4)


def test_saved_and_loaded_it_goes_on_as_if_nothing_had_been(model, tmp_path):
    stream, seen = summarizing(model), frames(model, 400)
    count = until_summed_up(stream, seen)
    model.save_stream(stream, tmp_path / "stream")
    again = model.load_stream(tmp_path / "stream")
    assert isinstance(again, SummarizingStream)
    for frame in seen[count : count + 120]:
        assert again.observe(frame).silence_prob == pytest.approx(stream.observe(frame).silence_prob, abs=1e-5)
    assert again.num_tokens == stream.num_tokens
    assert again.summary == stream.summary


def test_questions_that_wait_are_answered_first(model):
    seen = frames(model, 200)
    count = until_summed_up(summarizing(model), seen)
    stream = summarizing(model)
    for frame in seen[: count - 1]:
        stream.observe(frame)
    stream.ask("What am I doing?")
    before = stream.num_tokens
    stream.observe(seen[count - 1])
    assert stream.num_tokens > before
    assert not stream.summary


class Speechless(PlainEngine):
    """Ends every reply before its first word."""

    def __init__(self, model: VideoLM) -> None:
        super().__init__(model.decoder)
        self._eos = model.grammar.eos_id

    def read(self, cache: KVRing, embeds_TE: torch.Tensor, wanted: Sequence[int], watched_id: int) -> list[Reading]:
        readings = super().read(cache, embeds_TE, wanted, watched_id)
        return [reading._replace(winner=self._eos, other=self._eos) for reading in readings]


def test_a_model_that_has_no_answer_slides_its_window(model, caplog):
    options = StreamOptions(0.0, WINDOW, max_reply_tokens=8, when_full="summary")
    stream = make_stream(Speechless(model), model.grammar, options)
    plain = Stream(Speechless(model), model.grammar, StreamOptions(0.0, WINDOW, max_reply_tokens=8))
    for frame in frames(model, 200):
        assert stream.observe(frame) == plain.observe(frame)
    assert (stream.num_tokens, stream.marks()) == (plain.num_tokens, plain.marks())
    assert [record.message for record in caplog.records] == [
        f"the model has no answer to {QUESTION!r}: the window slides"
    ]


@pytest.mark.parametrize("window", [300, 420])
def test_a_small_window_sums_up_no_more_often_than_it_fills(model, window):
    stream = model.open_stream(silence_threshold=0.0, window_tokens=window, max_reply_tokens=8, when_full="summary")
    times = 0
    for frame in frames(model, 150):
        before = stream.num_tokens
        stream.observe(frame)
        times += stream.num_tokens < before
        assert all(stream.kept_tokens < end <= stream.num_tokens for end in stream.marks().frame_ends)
    step = len(model.grammar.before_frame(Cursor("frame"))) + model.num_frame_tokens
    assert 0 < times <= 150 * step / (window / 4)
