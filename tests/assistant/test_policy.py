"""The policy, on simulated days of 8 hours at 2 frames a second: the promise, and what is never done."""

import json
import math
import random
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.mind.policy import FLOOR_OF_OWN, MAX_SENTENCES, Policy, PolicySettings

FPS = 2
HOURS = 8
HOUR = 3600 * FPS  # frames
THRESHOLD = 0.725
OWN = 1 - THRESHOLD  # the score from which on the model speaks by itself
NINE = 9 * 60  # minute of the day at which the days begin
PROMISES = (6, 20, 60)


# ---- days ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Day:
    """scores: one a frame. peaks: of each event, by the frame at which it begins."""

    scores: list[float]
    peaks: dict[int, float]

    def speaks(self, index: int) -> bool:
        return self.scores[index] > OWN

    @property
    def num_wanted(self) -> int:
        """Remarks that the model wants: events above its own threshold."""
        return sum(peak > OWN for peak in self.peaks.values())


def make_day(
    events_per_hour: Callable[[float], float],
    peak: Callable[[random.Random, float], float],
    *,
    noise: Callable[[random.Random], float] = lambda rng: abs(rng.gauss(0, 0.004)),
    seed: int = 1,
) -> Day:
    """Events at random moments, 3 to 7 frames long, over noise. Both functions get the hour of the day so far."""
    rng = random.Random(seed)
    scores, peaks = [noise(rng) for _ in range(HOURS * HOUR)], {}
    for index in range(len(scores)):
        if rng.random() < events_per_hour(index / HOUR) / HOUR:
            peaks[index] = peak(rng, index / HOUR)
            shape = [0.6, 1.0, *(rng.uniform(0.6, 1) for _ in range(rng.randint(1, 5)))]
            for at, part in enumerate(shape[: len(scores) - index], start=index):
                scores[at] = max(scores[at], part * peaks[index])
    return Day(scores, peaks)


def uneven(rng: random.Random, _hour: float = 0) -> float:
    return 0.03 + 0.95 * rng.random() ** 2


@cache
def day(name: str) -> Day:
    match name:
        case "busy":
            return make_day(lambda _: 300, uneven)
        case "wants 300":  # each event well above the model's own threshold, probabilities as a sure model has them
            return make_day(lambda _: 300, lambda rng, _: 1 - 10 ** -rng.uniform(1, 9), noise=lambda _: 1e-5)
        case "wants 5":
            return make_day(lambda _: 300, lambda rng, _: 0.06 + 0.22 * rng.random())
        case "mixed":  # two still hours and one with little
            return make_day(lambda hour: (300, 500, 4, 150, 80, 0, 300, 400)[int(hour)], uneven)
        case "gusts":  # 40 minutes busy, 20 still
            return make_day(lambda hour: 300 if int(hour * 3) % 3 else 2, uneven)
        case "doubles":  # the camera was moved
            return make_day(lambda _: 300, lambda rng, hour: uneven(rng) * (1 if hour > 4 else 0.5))
        case "halves":
            return make_day(lambda _: 300, lambda rng, hour: uneven(rng) * (0.5 if hour > 4 else 1))
        case "still":
            return make_day(lambda _: 0, uneven)
        case "still morning":
            return make_day(lambda hour: 300 if hour > 4 else 0, uneven)
    raise AssertionError(name)


@dataclass
class Player:
    """Shows a day to a policy as the mind does. remarks: the frames at which it spoke, repeats left out."""

    policy: Policy
    start_s: float = 1000.0
    text_of: Callable[[int], str] = "Event {}.".format
    remarks: list[int] = field(default_factory=list)
    num_repeats: int = 0

    def play(self, day: Day, start: int = 0, stop: int | None = None) -> list[int]:
        for index in range(start, len(day.scores) if stop is None else stop):
            now_s, minute = self.start_s + index / FPS, NINE + index / FPS / 60
            if not self.policy.consider(1 - day.scores[index], day.speaks(index), now_s, minute):
                continue
            if self.policy.is_repeat(self.text_of(index), now_s):
                self.policy.note_repeat(now_s)
                self.num_repeats += 1
            else:
                self.policy.note_remark(self.text_of(index), now_s)
                self.remarks.append(index)
        return self.remarks


def wish(remarks_per_hour: float | None, **others) -> PolicySettings:
    return replace(PolicySettings(remarks_per_hour, min_gap_s=5.0, repeat_after_s=600.0), **others)


def play(name: str, remarks_per_hour: float | None, **others) -> list[int]:
    return Player(Policy(wish(remarks_per_hour, **others), THRESHOLD)).play(day(name))


def most_within(remarks: list[int], frames: int) -> int:
    """The most remarks in any stretch of that many frames."""
    return max((bisect(remarks, first + frames - 1) - at for at, first in enumerate(remarks)), default=0)


def by_hour(remarks: list[int]) -> list[int]:
    return [sum(index // HOUR == hour for index in remarks) for hour in range(HOURS)]


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
