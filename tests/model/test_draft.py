"""Guessed words are what was said before, and change nothing but the number of passes."""

from pathlib import Path

import pytest
import torch

from model.assembly import open_checkpoint
from model.draft import MAX_CONTEXTS, Drafter
from model.stream import Stream, StreamOptions

GOLDEN = Path(__file__).parents[1] / "golden"


def test_what_followed_last_is_guessed_by_the_longest_context():
    drafter = Drafter(3)
    assert drafter.guess([]) == []
    drafter.note([1, 2, 3, 4, 5])
    assert drafter.guess([]) == [1, 2, 3]
    assert drafter.guess([1, 2]) == [3, 4, 5]
    assert drafter.guess([9, 4]) == [5]
    assert drafter.guess([9, 5]) == []
    drafter.note([1, 2, 7])
    assert drafter.guess([1]) == [2, 7]
    assert drafter.guess([8, 2, 3]) == [4, 5]
    assert drafter.guess([8, 2]) == [7]


def test_its_memory_is_bounded():
    drafter = Drafter(6)
    for reply in range(2000):
        drafter.note([reply * 10 + word for word in range(10)])
    assert len(drafter._following) == MAX_CONTEXTS
    assert drafter.guess([]) == [19990, 19991, 19992, 19993, 19994, 19995]


@pytest.fixture(scope="module")
def model():
    return open_checkpoint(GOLDEN)


def talk(model, draft_tokens: int, *, cut_after: int) -> tuple[list[list[str]], list[int], int]:
    """The pieces of several replies, the last cut off; the cache's lengths after each; and the passes they took."""
    options = StreamOptions(0.0, 420, max_reply_tokens=12, draft_tokens=draft_tokens)
    stream, said, lengths, passes = Stream(model.engine, model.grammar, options), [], [], 0
    read = model.engine.read

    def count(*args):
        nonlocal passes
        passes += 1
        return read(*args)

    torch.manual_seed(1)
    tokens_ND = model.connect(torch.randn(1, 10, 48))[0]
    for number in range(12):
        stream.observe(tokens_ND)
        if number % 4 == 3:
            stream.ask("And then?")
        model.engine.read = count
        reply = stream.reply()
        pieces = [piece for piece, _ in zip(reply, range(cut_after if number % 3 == 2 else 99), strict=False)]
        reply.close()  # type: ignore[attr-defined]
        del model.engine.read
        said.append(pieces)
        lengths.append(stream.num_tokens)
        assert 0 < len(stream.reply_ids) <= 12
    return said, lengths, passes


@pytest.mark.parametrize("cut_after", [1, 4])
def test_replies_are_the_same_in_fewer_passes(model, cut_after):
    plain, lengths, passes = talk(model, 0, cut_after=cut_after)
    drafted, drafted_lengths, drafted_passes = talk(model, 5, cut_after=cut_after)
    assert drafted == plain
    assert drafted_lengths == lengths
    assert drafted_passes < passes
