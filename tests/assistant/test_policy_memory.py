"""What the policy remembers: what was just said, and all that counts, over other settings and a restart."""

import json
import random
from itertools import pairwise

import pytest

from assistant.mind.policy import MAX_SENTENCES, Policy, PolicySettings
from tests.assistant.policy_days import (
    FPS,
    HOUR,
    HOURS,
    PROMISES,
    THRESHOLD,
    Player,
    by_hour,
    day,
    wish,
)

# ---- repeats ---------------------------------------------------------------------------------------------------


def test_the_same_sentence():
    policy = Policy(wish(20, repeat_after_s=600), THRESHOLD)
    policy.note_remark(" You pick up the green bottle.", 100)
    assert policy.is_repeat("you pick up the GREEN bottle", 100)
    assert policy.is_repeat("You pick up, the green bottle!", 699.9)
    assert not policy.is_repeat("You pick up the green bottle.", 700)
    assert not policy.is_repeat("You pick up the red bottle.", 101)
    policy.note_remark("You pick up the green bottle.", 800)
    assert policy.is_repeat("You pick up the green bottle.", 1300)
    policy.update(wish(20, repeat_after_s=60))
    assert not policy.is_repeat("You pick up the green bottle.", 1300)


@pytest.mark.parametrize("promise", PROMISES)
def test_repeats_are_not_counted(promise):
    """Half of what is written was just said: what is left is still as much as was promised."""
    player = Player(Policy(wish(promise, repeat_after_s=1e6), THRESHOLD))
    player.policy.note_remark("Again.", 0)
    player.text_of = lambda index: "Again!" if index % 2 else f"Event {index}."
    player.play(day("busy"))
    assert player.num_repeats > 0.3 * len(player.remarks)
    assert len(player.remarks) == pytest.approx(promise * HOURS, rel=0.2)


# ---- settings and restarts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "then"), [(60, 6), (6, 60), (None, 20), (20, None)])
def test_another_promise_at_run_time(first, then):
    player = Player(Policy(wish(first), THRESHOLD))
    player.play(day("busy"), 0, 4 * HOUR)
    player.policy.update(wish(then))
    counts = by_hour(player.play(day("busy"), 4 * HOUR))
    for hours, promise in ((counts[:4], first), (counts[4:], then)):
        if promise is None:
            assert min(hours) > 60
        else:
            assert sum(hours) == pytest.approx(4 * promise, rel=0.2)
            assert max(hours) <= 1.5 * promise
            assert min(hours) >= 0.6 * promise, "held to what was said under the other promise"


@pytest.mark.parametrize("promise", [None, *PROMISES])
def test_a_restart_changes_nothing(promise):
    rng = random.Random(3)
    text_of = lambda index: f"Event {index % 9}."  # noqa: E731
    whole = Player(Policy(wish(promise), THRESHOLD), text_of=text_of)
    whole.play(day("busy"))
    player = Player(Policy(wish(promise), THRESHOLD), text_of=text_of)
    breaks = [0, 1, *sorted(rng.sample(range(2, HOURS * HOUR), 30)), *whole.remarks[5:8], HOURS * HOUR]
    for start, stop in pairwise(sorted(breaks)):
        player.play(day("busy"), start, stop)
        saved = json.dumps(player.policy.export(player.start_s + stop / FPS), allow_nan=False)
        player.policy = Policy(wish(promise), THRESHOLD)
        player.start_s = float(rng.randrange(100000))  # another clock
        player.policy.restore(json.loads(saved), player.start_s + stop / FPS)
    assert player.remarks == whole.remarks
    assert player.num_repeats == whole.num_repeats > 0


def test_the_state_is_small_and_holds_no_words():
    player = Player(Policy(PolicySettings(), THRESHOLD), text_of=lambda index: f"A secret, number {index}.")
    player.play(day("wants 300"))
    assert len(player.remarks) > 4 * MAX_SENTENCES
    state = json.dumps(player.policy.export(player.start_s))
    assert len(state) < 40_000
    assert "secret" not in state


@pytest.mark.parametrize("state", [{}, {"numbers": [1]}, {"numbers": [1, 2, 3], "block": None}])
def test_a_state_of_another_kind(state):
    with pytest.raises((KeyError, TypeError, ValueError)):
        Policy(wish(20), THRESHOLD).restore(state, 0)
