"""When the policy says nothing, whatever it is shown: quiet hours, gaps, do not disturb; and the reason it gives."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.mind.policy import FLOOR_OF_OWN, Policy, PolicySettings
from tests.assistant.policy_days import (
    FPS,
    HOUR,
    HOURS,
    NINE,
    PROMISES,
    THRESHOLD,
    Player,
    day,
    most_within,
    play,
    wish,
)

# ---- when nothing may be said ----------------------------------------------------------------------------------


@pytest.mark.parametrize("promise", [None, *PROMISES])
def test_quiet_hours_are_silent_to_the_frame_and_not_made_up_for(promise):
    remarks = play("wants 300", promise, quiet_hours=((10 * 60, 13 * 60), (16 * 60, 9 * 60 + 30)))
    allowed = [(HOUR // 2, HOUR), (4 * HOUR, 7 * HOUR)]
    assert all(any(start <= index < end for start, end in allowed) for index in remarks)
    if promise is None:
        assert set(remarks) & set(range(4 * HOUR, 4 * HOUR + 90)), "begins again at once"
        return
    assert len(remarks) == pytest.approx(3.5 * promise, rel=0.2)
    assert most_within(remarks, HOUR) <= 1.25 * promise


@pytest.mark.parametrize(
    ("quiet", "minute", "is_quiet"),
    [
        ((600, 660), 599.99, False),
        ((600, 660), 600, True),
        ((600, 660), 659.99, True),
        ((600, 660), 660, False),
        ((1320, 420), 1319.9, False),
        ((1320, 420), 1320, True),
        ((1320, 420), 0, True),
        ((1320, 420), 419.9, True),
        ((1320, 420), 420, False),
        ((0, 1440), 1439.9, True),
        ((480, 480), 479, True),
        ((480, 480), 480, True),
    ],
)
def test_the_ends_of_quiet_hours(quiet, minute, is_quiet):
    policy = Policy(PolicySettings(quiet_hours=((60, 61), quiet)), THRESHOLD)
    assert policy.why_silent(0, minute) == ("quiet hours" if is_quiet else "")
    assert policy.consider(0.1, True, 0, minute) is not is_quiet


@pytest.mark.parametrize("promise", [None, 20])
def test_do_not_disturb(promise):
    player = Player(Policy(wish(promise, do_not_disturb=True), THRESHOLD))
    assert player.play(day("wants 300"), 0, HOUR) == []
    player.policy.update(wish(promise))
    assert len(player.play(day("wants 300"), HOUR, 2 * HOUR)) >= 15
    assert promise is None or len(player.remarks) <= 25, "made up for the hour in which it was not wanted"


@pytest.mark.parametrize("promise", [None, 60])
@pytest.mark.parametrize("spoken", ["remark", "repeat", "answer"])
def test_the_gap_follows_remarks_repeats_and_answers(promise, spoken):
    policy = Policy(wish(promise, min_gap_s=20), THRESHOLD)
    assert policy.consider(0.1, True, 99, NINE)
    match spoken:
        case "remark":
            policy.note_remark("You see it.", 100)
        case "repeat":
            policy.note_repeat(100)
        case "answer":
            policy.note_answer(100)
    for half_seconds in range(1, 40):
        assert not policy.consider(0.09 - half_seconds / 1000, True, 100 + half_seconds / 2, NINE)
        assert policy.why_silent(100 + half_seconds / 2, NINE) == "gap"
    assert policy.why_silent(120, NINE) != "gap"
    assert policy.consider(0.01, True, 120, NINE)


def test_frames_that_waited_behind_a_reply():
    """Their time is before its end: with a gap they are in it, without one they are not."""
    for gap_s in (0, 1):
        policy = Policy(wish(None, min_gap_s=gap_s), THRESHOLD)
        policy.note_remark("You see it.", 100)
        assert policy.consider(0.1, True, 99, NINE) is (gap_s == 0)


@pytest.mark.parametrize("promise", PROMISES)
def test_answers_do_not_count(promise):
    policy = Policy(wish(promise), THRESHOLD)
    player = Player(policy)
    for at in range(0, HOURS * HOUR, 240):  # every two minutes
        policy.note_answer(player.start_s + at / FPS)
        player.play(day("busy"), at, at + 240)
    assert len(player.remarks) == pytest.approx(promise * HOURS, rel=0.2)


# ---- what it says about itself ---------------------------------------------------------------------------------


def test_why_it_is_silent():
    policy = Policy(wish(20), THRESHOLD)
    assert policy.why_silent(1000, NINE) == ""
    player = Player(policy)
    player.play(day("wants 300"), 0, HOUR)
    now_s = player.start_s + 3600 + 5
    assert policy.why_silent(now_s, NINE) == "rate"
    policy.note_answer(now_s - 1)
    assert policy.why_silent(now_s, NINE) == "gap"
    policy.update(wish(20, quiet_hours=((0, 1440),)))
    assert policy.why_silent(now_s, NINE) == "quiet hours"
    policy.update(wish(20, quiet_hours=((0, 1440),), do_not_disturb=True))
    assert policy.why_silent(now_s, NINE) == "do not disturb"
    policy.update(wish(None))
    assert policy.why_silent(now_s + 10, NINE) == ""


def test_after_a_still_hour_nothing_holds_it_back():
    player = Player(Policy(wish(20), THRESHOLD))
    player.play(day("still"), 0, HOUR)
    assert player.policy.why_silent(player.start_s + 3600, NINE) == ""


@pytest.mark.parametrize("promise", [6, 60])
def test_something_that_the_model_would_say_waits_only_for_a_reason(promise):
    """From when on it would speak is found by trying; above the model's own score, something holds it back."""
    player, num_open, num_held = Player(Policy(wish(promise), THRESHOLD)), 0, 0
    for at in range(0, 2 * HOUR, 97):
        player.play(day("busy"), at, at + 97)
        now_s = player.start_s + (at + 96) / FPS

        def speaks(prob: float, now_s: float = now_s) -> bool:
            copy = Policy(wish(promise), THRESHOLD)
            copy.restore(player.policy.export(now_s), now_s)
            return copy.consider(prob, False, now_s, NINE)

        reasons = ("",) if speaks(THRESHOLD - 1e-9) else ("gap", "rate")
        assert player.policy.why_silent(now_s, NINE) in reasons
        num_open += reasons == ("",)
        num_held += reasons != ("",) and speaks(0.0)
    assert num_open + num_held > 10


# ---- always ----------------------------------------------------------------------------------------------------


MINUTES = st.integers(0, 1440)
STEPS_S = st.sampled_from([0.0, 0.1, 0.5, 0.5, 0.5, 3.0, 20.0, 700.0])
SCORES = st.one_of(st.sampled_from([0.0, 0.05, 1.0]), st.floats(0, 1))
FRAMES = st.lists(st.tuples(SCORES, STEPS_S, st.sampled_from(["", "", "", "answer", "repeat"])), max_size=150)


@settings(max_examples=150, deadline=None)
@given(
    frames=FRAMES,
    promise=st.one_of(st.none(), st.floats(0, 500)),
    gap_s=st.floats(0, 100),
    quiet=st.lists(st.tuples(MINUTES, MINUTES), max_size=2),
    minute=st.floats(0, 1439),
    threshold=st.floats(0.05, 0.95),
)
def test_never(frames, promise, gap_s, quiet, minute, threshold):
    """Never within the gap, never in quiet hours, never too many an hour, never below the floor."""
    policy = Policy(PolicySettings(promise, gap_s, 0.0, tuple(quiet)), threshold)
    now_s, spoke_s, remarks_s = 5000.0, -math.inf, []
    for score, step_s, also in frames:
        now_s, minute = now_s + step_s, (minute + step_s / 60) % 1440
        if also == "answer":
            policy.note_answer(now_s)
            spoke_s = now_s
        speaks = score > 1 - threshold
        if not policy.consider(1 - score, speaks, now_s, minute):
            continue
        assert now_s - spoke_s >= gap_s
        for start, end in quiet:
            span = (end - start) % 1440 or (1440 if start == end else end - start)
            assert (minute - start) % 1440 >= span
        assert speaks if promise is None else score >= (1 - threshold) * FLOOR_OF_OWN
        spoke_s = now_s
        if also == "repeat":
            policy.note_repeat(now_s)
        else:
            policy.note_remark("You see it.", now_s)
            remarks_s.append(now_s)
    if promise is not None:
        limit = max(2, 1.5 * promise)
        assert all(sum(at_s <= other_s < at_s + 3600 for other_s in remarks_s) <= limit for at_s in remarks_s)
