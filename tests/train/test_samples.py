"""What is learned from a clip: wrong words put right, refusals, thinned-out silence, and the losses of decisions."""

import math
import random

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from model.grammar import IGNORE_ID, AssistantTurn, StreamTurn, UserTurn
from model.summary import QUESTION
from tests.train.test_training import GOLDEN, make_sampler, open_checkpoint
from train.dialogue import MAX_SUMMED_UP, NOTHING_YET, SORRY, Annotation, Utterance, mislead, refuse, sum_up, to_turns
from train.objective import cross_entropies, streaming_loss, summed_loss
from train.recipe import ObjectivePart

REMARKS = ("You reach.", "You pick up.", "You put down.", "You wait.")
ANNOTATION = Annotation(30, tuple(Utterance(4 + 6 * i, text) for i, text in enumerate(REMARKS)))
GRAMMAR = open_checkpoint(GOLDEN).grammar


def num_frames(turns) -> int:
    return sum(turn.num_frames for turn in turns if isinstance(turn, StreamTurn))


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 100_000), num_remarks=st.integers(0, 14))
def test_a_summary_tells_what_was_said_before_it_and_may_stand_for_it(seed, num_remarks):
    remarks = [Utterance(1 + 2 * i, f"You do {i}.") for i in range(num_remarks)]
    asked = Utterance(29, "It is red.", question="What colour is it?")
    annotation, kept = sum_up(Annotation(30, (*remarks, asked)), random.Random(seed))
    assert len(kept) == annotation.num_frames
    assert num_frames(to_turns(annotation)) == annotation.num_frames
    (summary,) = [u for u in annotation.utterances if u.question == QUESTION]
    at = kept[summary.frame] if summary.frame or len(kept) == 30 else kept[1] - 1 if len(kept) > 1 else 28
    told = [u.text for u in remarks if u.frame <= at]
    assert summary.text == (" ".join(told[-MAX_SUMMED_UP:]) or NOTHING_YET)
    later = [u for u in (*remarks, asked) if u.frame > at]
    after = [u for u in annotation.utterances if u.frame > summary.frame]
    if len(kept) == 30:
        assert after == later
        assert [u.text for u in annotation.utterances if u.frame < summary.frame] == told
    else:
        assert summary.frame == 0
        assert kept == [0, *range(at + 1, 30)]
        expected = later if len(told) <= MAX_SUMMED_UP else [u for u in later if u.question is None]
        assert [(kept[u.frame], u.text) for u in after] == [(u.frame, u.text) for u in expected]


def test_clips_without_a_free_frame_have_no_summary():
    annotation = Annotation(2, (Utterance(1, "You do it."),))
    assert sum_up(annotation, random.Random(1)) == (annotation, [0, 1])


def test_a_share_of_the_dialogues_sums_up():
    features = [[torch.randn(30, 10, 48)] for _ in range(8)]
    sampler = make_sampler([ANNOTATION] * 8, features, GRAMMAR, batch_clips=8, summary_prob=1.0)
    assert all(QUESTION in GRAMMAR.text(row) for row in sampler.batch(0).input_ids_BT.tolist())


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_one_remark_goes_wrong_and_is_never_learned(seed):
    turns = to_turns(ANNOTATION)
    wronged = mislead(turns, random.Random(seed))
    assert num_frames(wronged) == 30
    said = [t for t in wronged if isinstance(t, AssistantTurn)]
    assert said[-1] == AssistantTurn(REMARKS[-1])
    unlearned = [t.text for t in said if not t.learn]
    corrected = [t.text.removeprefix(SORRY) for t in said if t.text.startswith(SORRY)]
    learned = [t.text.removeprefix(SORRY) for t in said if t.learn]
    assert len(unlearned) <= 1
    assert len({*REMARKS} - {*learned}) <= 1
    assert all(text in REMARKS for text in corrected)
    if not unlearned:  # it was left out: the frame at which it was due is not learned as silence
        first = next(i for i, (a, b) in enumerate(zip(turns, wronged, strict=False)) if a != b)
        assert wronged[first] == StreamTurn(turns[first].num_frames, turns[first].num_frames - 1)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_several_remarks_go_wrong_in_one_dialogue(seed):
    annotation = Annotation(60, tuple(Utterance(6 * k, f"You do {k}.") for k in range(1, 9)))
    wronged = mislead(to_turns(annotation), random.Random(seed), most=4)
    assert num_frames(wronged) == 60
    said = [turn for turn in wronged if isinstance(turn, AssistantTurn)]
    assert said[-1] == AssistantTurn("You do 8.")
    learned = {turn.text.removeprefix(SORRY) for turn in said if turn.learn}
    assert learned <= {u.text for u in annotation.utterances}
    assert 0 <= 8 - len(learned) <= 4
    assert sum(not turn.learn for turn in said) <= 4
    assert all(
        0 <= turn.num_frames * (turn.learn is True) + (turn.learn is not True) * int(turn.learn) <= turn.num_frames
        for turn in wronged
        if isinstance(turn, StreamTurn)
    )


def test_more_than_one_remark_does_go_wrong():
    turns = to_turns(ANNOTATION)
    counts = {sum(not t.learn for t in mislead(turns, random.Random(seed), most=3) if isinstance(t, AssistantTurn))
              for seed in range(100)}  # fmt: skip
    assert counts == {0, 1, 2, 3}


def test_all_ways_of_going_wrong_occur():
    turns = to_turns(ANNOTATION)
    kinds = set()
    for seed in range(300):
        said = [t for t in mislead(turns, random.Random(seed)) if isinstance(t, AssistantTurn)]
        wrong = [t.text for t in said if not t.learn]
        kinds.add(("none" if not wrong else "empty" if not wrong[0] else "other", len(said)))
    assert kinds == {("none", 3), ("none", 4), ("empty", 4), ("empty", 5), ("other", 4), ("other", 5)}


def test_too_few_remarks_are_left_alone():
    turns = to_turns(Annotation(10, (Utterance(4, "You wait."),)))
    assert mislead(turns, random.Random(0)) == turns


def test_refusals_have_frames_or_none():
    bare, dark = refuse(0, random.Random(0)), refuse(3, random.Random(0))
    assert [type(turn) for turn in bare] == [UserTurn, AssistantTurn]
    assert dark[0] == StreamTurn(3, 2)


def test_robust_samples_have_as_many_features_as_frames():
    features = [[torch.randn(30, 10, 48)]] * 4
    sampler = make_sampler([ANNOTATION] * 4, features, GRAMMAR, batch_clips=4, robust_prob=1.0)
    for step in range(8):
        batch = sampler.batch(step)
        assert int((batch.input_ids_BT == GRAMMAR.placeholder_id).sum()) == 10 * len(batch.features_MNF)
        assert len(batch.features_MNF) <= 16


def test_shares_of_a_batch_make_up_the_batch():
    features = [[torch.full((30, 10, 48), float(clip))] for clip in range(8)]
    sampler = make_sampler([ANNOTATION] * 8, features, GRAMMAR, batch_clips=6, slide_prob=0.5)
    whole = sampler.batch(3)
    shares = [sampler.batch(3, rank=rank, num_ranks=3) for rank in range(3)]
    assert sum(len(s.input_ids_BT) for s in shares) == 6
    assert sum(int((s.labels_BT != IGNORE_ID).sum()) for s in shares) == int((whole.labels_BT != IGNORE_ID).sum())
    assert sorted(v for s in shares for v in s.features_MNF.mean((1, 2)).tolist()) == sorted(
        whole.features_MNF.mean((1, 2)).tolist()
    )


def test_silence_can_be_thinned_out_and_speech_stays():
    features = [[torch.randn(30, 10, 48)]] * 4
    full = make_sampler([ANNOTATION] * 4, features, GRAMMAR, batch_clips=4).batch(0)
    part = ObjectivePart(silence_share=0.25)
    thin = make_sampler([ANNOTATION] * 4, features, GRAMMAR, batch_clips=4, objective=part).batch(0)

    def count(batch, is_silence: bool) -> int:
        labels = batch.labels_BT[batch.decides_BT]
        return int(((labels == GRAMMAR.silence_id) == is_silence).sum())

    assert count(full, False) == count(thin, False) == 16
    assert 0.15 < count(thin, True) / count(full, True) < 0.35
    assert not (thin.decides_BT & (thin.labels_BT == IGNORE_ID)).any()


def test_losses_of_decisions():
    torch.manual_seed(0)
    logits, labels = torch.randn(12, 7), torch.randint(0, 7, (12,))
    decides = torch.arange(12) < 8
    each = F.cross_entropy(logits, labels, reduction="none")
    words, decisions = each[8:].sum(), each[:8]

    def summed(part: ObjectivePart):
        losses, is_silence = cross_entropies(logits, labels), labels == labels[0]
        return summed_loss(losses, is_silence, decides, int(decides.sum()), part)

    total, count = summed(ObjectivePart(tau=2.0))
    torch.testing.assert_close(total, words + 2 * decisions.sum())
    assert count == 12
    assert streaming_loss(logits[None], labels[None], decides[None], 2.0) == pytest.approx(float(total) / 12)

    total, count = summed(ObjectivePart(loss="ohem", ohem_share=0.3))
    torch.testing.assert_close(total, words + decisions.topk(3).values.sum())
    assert count == 4 + 3

    total, count = summed(ObjectivePart(loss="focal", focal_gamma=2.0))
    torch.testing.assert_close(total, words + ((1 - torch.exp(-decisions)) ** 2 * decisions).sum())
    assert count == 12

    part = ObjectivePart(silence_weight=0.1)
    total, _ = summed(part)
    is_silence = decides & (labels == labels[0])
    assert float(total) == pytest.approx(float(each[~is_silence].sum() + 0.1 * each[is_silence].sum()), abs=1e-5)
    assert math.isfinite(float(total))
