"""The policy, on simulated days, says about as much an hour as it was asked to, evenly, and the best of it."""

from bisect import bisect
from itertools import pairwise

import pytest

from assistant.mind.policy import FLOOR_OF_OWN, Policy
from tests.assistant.policy_days import (
    FPS,
    HOUR,
    HOURS,
    OWN,
    PROMISES,
    THRESHOLD,
    Day,
    Player,
    by_hour,
    day,
    make_day,
    most_within,
    play,
    uneven,
    wish,
)

# ---- the promise -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("name", ["busy", "wants 300", "wants 5", "mixed", "gusts", "doubles", "halves"])
def test_the_promise_is_kept_over_the_day(name, promise):
    remarks = play(name, promise)
    assert len(remarks) == pytest.approx(promise * HOURS, rel=0.2)
    assert most_within(remarks, HOUR) <= 1.5 * promise


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("name", ["busy", "wants 300", "wants 5", "doubles", "halves"])
def test_and_evenly_where_the_day_is_even(name, promise):
    remarks = play(name, promise)
    assert all(0.6 * promise <= count <= 1.4 * promise for count in by_hour(remarks))
    waits = [b - a for a, b in pairwise(remarks)]
    assert max(waits) < 4 * HOUR / promise


def test_the_days_are_what_they_are_said_to_be():
    assert day("wants 300").num_wanted / HOURS == pytest.approx(300, rel=0.05)
    assert day("wants 5").num_wanted / HOURS == pytest.approx(5, rel=0.5)
    assert len(play("busy", None)) > 1.5 * 60 * HOURS  # what the model says by itself


@pytest.mark.parametrize("promise", [0.5, 1, 2, 3, 120])
def test_small_and_large_promises(promise):
    remarks = play("wants 300", promise)
    assert len(remarks) == pytest.approx(promise * HOURS, rel=0.2, abs=1)
    assert remarks[0] < HOUR // 12, "the first one waits for the budget"
    assert most_within(remarks, HOUR) <= max(2, 1.5 * promise)


def test_none_at_all():
    assert play("busy", 0) == []


@pytest.mark.parametrize(("promise", "share"), [(6, 0.94), (20, 0.88), (60, 0.7)])
@pytest.mark.parametrize("name", ["busy", "wants 300"])
def test_the_best_are_said(name, promise, share):
    """share: mean rank of what was said among all events; 0.5 is by chance, 1 − promise / 600 with foresight."""
    ranked = sorted(day(name).peaks.values())
    begins = sorted(day(name).peaks)
    ranks = [
        bisect(ranked, max(day(name).peaks[at] for at in begins[bisect(begins, index - 8) : bisect(begins, index)]))
        for index in play(name, promise)
    ]
    assert sum(ranks) / len(ranks) / len(ranked) > share


@pytest.mark.parametrize("promise", PROMISES)
def test_still_hours_stay_still(promise):
    assert play("still", promise) == []
    noisy = make_day(lambda _: 0, uneven, noise=lambda rng: rng.expovariate(100))  # reaches 0.1 in 8 hours
    assert len(Player(Policy(wish(promise), THRESHOLD)).play(noisy)) <= 2


@pytest.mark.parametrize("promise", PROMISES)
def test_a_still_morning_is_made_up_for_by_one_hours_worth_without_a_burst(promise):
    remarks = play("still morning", promise)
    before, after = by_hour(remarks)[:4], by_hour(remarks)[4:]
    assert sum(before) == 0
    assert 4 * promise <= sum(after) <= 5 * promise + 1
    assert most_within(remarks, HOUR) <= 1.5 * promise
    assert most_within(remarks, HOUR // 6) <= max(4, 0.4 * promise)


def test_the_floor():
    """Events that stand out, but far below what the model would say, are not said however long it is silent."""
    low = make_day(lambda _: 60, lambda rng, _: FLOOR_OF_OWN * OWN * rng.uniform(0.5, 0.99), noise=lambda _: 1e-5)
    assert Player(Policy(wish(20), THRESHOLD)).play(low) == []
    high = make_day(lambda _: 60, lambda rng, _: FLOOR_OF_OWN * OWN * rng.uniform(1.1, 1.5), noise=lambda _: 1e-5)
    assert len(Player(Policy(wish(20), THRESHOLD)).play(high)) == pytest.approx(20 * HOURS, rel=0.2)


def test_what_the_model_says_is_never_noise():
    """Where most frames have high scores, the median is no noise; the floor stays at the model's own threshold."""
    always = make_day(lambda _: 0, uneven, noise=lambda rng: rng.uniform(0.2, 0.9))
    assert len(Player(Policy(wish(20), THRESHOLD)).play(always)) == pytest.approx(20 * HOURS, rel=0.2)


@pytest.mark.parametrize("promise", [*PROMISES, 300])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.24])
def test_the_frames_of_an_event_cost_one_remark(promise, share):
    """Events a mean interval apart, a share of it long, each frame better than all before; no gap is set."""
    interval, spoken_of = HOUR // promise, []
    scores = [0.001] * (20 * interval)
    for begin in range(0, len(scores), interval):
        for at in range(begin, begin + max(2, int(share * interval))):
            scores[at] = 0.4 + 0.5 * at / len(scores)
    remarks = Player(Policy(wish(promise, min_gap_s=0), THRESHOLD)).play(Day(scores, {}))
    spoken_of = [index // interval for index in remarks]
    assert len(spoken_of) > 15
    assert len(spoken_of) == len(set(spoken_of))


def test_an_event_that_does_not_end_is_spoken_of_again():
    scores = [1e-3] * 600 + [0.9] * HOUR
    assert 15 < len(Player(Policy(wish(20), THRESHOLD)).play(Day(scores, {}))) < 31


def test_a_pause_of_the_stream_earns_nothing():
    with_pause, without = Policy(wish(20), THRESHOLD), Policy(wish(20), THRESHOLD)
    busy = day("busy")
    Player(without).play(busy, 0, 4 * HOUR)
    Player(with_pause).play(busy, 0, 4 * HOUR)
    assert most_within(Player(with_pause, start_s=1000 + 3 * 3600).play(busy, 4 * HOUR, 5 * HOUR), HOUR) <= 25
    assert len(with_pause.export(0)["remarks_ago_s"]) == pytest.approx(20, abs=5)


# ---- auto ------------------------------------------------------------------------------------------------------


def test_auto_is_the_model_itself():
    wanted = [index for index in range(len(day("busy").scores)) if day("busy").speaks(index)]
    assert play("busy", None, min_gap_s=0, repeat_after_s=0) == wanted


def test_auto_with_a_gap():
    remarks = play("busy", None, min_gap_s=30)
    assert min(b - a for a, b in pairwise(remarks)) == 30 * FPS
    assert all(day("busy").speaks(index) for index in remarks)
