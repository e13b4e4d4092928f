"""What is said of a reply while it is written, and in which order."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.runtime.messages import Words
from assistant.voice.lines import STALE_S, Lines, Sentence
from assistant.voice.phrases import LONG_CHARS, Phrases
from assistant.voice.telling import Teller


def phrases_of(*pieces: str) -> list[str]:
    phrases = Phrases()
    said = [phrase for piece in pieces for phrase in phrases.add(piece)]
    return [*said, *filter(None, [phrases.rest()])]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("You cut it. Then you wash it.", ["You cut it.", "Then you wash it."]),
        ("First you fill the pot, then you wait, then you stir. Good.",
         ["First you fill the pot,", "then you wait, then you stir.", "Good."]),
        ("It is 3.5 cm, about.", ["It is 3.5 cm,", "about."]),
        ("Well, yes. No.", ["Well, yes.", "No."]),
        ("Dr. Smith vs. Mr. J. Doe at 5 p.m. today. Done!", ["Dr. Smith vs. Mr. J. Doe at 5 p.m. today.", "Done!"]),
        ("1. Take the pan.\n2. Heat it.", ["1. Take the pan.", "2. Heat it."]),
        ('He said "stop." Then he went.', ['He said "stop."', "Then he went."]),
        ("Really?! Yes… I think so.", ["Really?!", "Yes…", "I think so."]),
        ("水を入れます。次に待ちます。", ["水を入れます。", "次に待ちます。"]),
        ("no end", ["no end"]),
        ("  \n ", []),
        ("It is a red cup – the one that you held before.", ["It is a red cup –", "the one that you held before."]),
    ],
)  # fmt: skip
def test_a_reply_is_said_clause_first_then_sentence_by_sentence(text: str, expected: list[str]):
    assert phrases_of(text) == expected


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet="ab ,.;!?\n3–", max_size=120), data=st.data())
def test_how_a_reply_is_written_does_not_change_what_is_said(text: str, data: st.DataObject):
    """Piece by piece the same words come out, none lost, none twice."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert "".join("".join(phrases_of(*pieces)).split()) == "".join(text.split())
    assert phrases_of(*text) == phrases_of(*pieces) == phrases_of(text)


def test_a_sentence_without_an_end_is_cut_where_it_breathes():
    said = phrases_of("You start. " + "and then you do this one more thing, " * 12)
    assert len(said) > 2
    assert all(len(phrase) <= LONG_CHARS + 40 for phrase in said)


def words(text: str, *, final: bool = False, query_id: int | None = 1, reply_id: int = 1, **about) -> Words:
    return Words(reply_id, text, final, 2.0, query_id, None, 0.1, **about)


def test_an_answer_is_said_while_it_is_written_and_a_remark_when_it_is_whole():
    said: list[str] = []
    teller = Teller(lambda line: said.append(line.text))
    teller.hear(words("You hold a cup. It"))
    assert said == ["You hold a cup."]
    teller.hear(words(" is"))
    teller.hear(words("You cut it. Now", query_id=None, reply_id=2))
    teller.hear(words(" red."))
    teller.hear(words("", final=True))
    assert said == ["You hold a cup.", "It is red."]
    teller.hear(words("", final=True, query_id=None, reply_id=2))
    assert said[2:] == ["You cut it. Now"]


@pytest.mark.parametrize("about", [{"cut": True}, {"unheard": True}], ids=["cut", "unheard"])
def test_what_is_not_to_be_heard_is_not_said(about: dict[str, bool]):
    said: list[str] = []
    teller = Teller(lambda line: said.append(line.text))
    teller.hear(words("You cut it.", query_id=None))
    teller.hear(words("", final=True, query_id=None, **about))
    assert said == []


def test_an_answer_that_was_muted_is_not_taken_up_in_its_middle():
    said: list[str] = []
    is_muted = False
    teller = Teller(lambda line: said.append(line.text), lambda: is_muted)
    teller.hear(words("One is here. Two "))
    is_muted = True
    teller.hear(words("is there. "))
    is_muted = False
    teller.hear(words("Three is gone.", final=True))
    teller.hear(words("Four.", final=True, reply_id=2))
    assert said == ["One is here.", "Four."]


def test_answers_overtake_remarks_and_keep_their_order():
    lines = Lines()
    for text, is_answer in (("r1", False), ("a1", True), ("r2", False), ("a2", True)):
        lines.put(Sentence(text, 0.0, is_answer))
    assert [line.text for line in lines.take_many(9, timeout_s=0)] == ["a1", "a2", "r1", "r2"]


def test_a_full_queue_drops_its_oldest_remark_and_counts_it():
    lines = Lines()
    lines.put(Sentence("old", 0.0))
    for number in range(lines.capacity):
        lines.put(Sentence(f"a{number}", 0.0, is_answer=True))
    assert lines.num_dropped == 1
    assert [line.text for line in lines.take_many(99, timeout_s=0)] == [f"a{n}" for n in range(lines.capacity)]


def test_a_remark_grows_stale_an_answer_does_not():
    long_ago_s = time.monotonic() - STALE_S - 0.1
    assert Sentence("r", 0.0, since_s=long_ago_s).is_stale
    assert not Sentence("a", 0.0, is_answer=True, since_s=long_ago_s).is_stale
    assert not Sentence("r", 0.0).is_stale
