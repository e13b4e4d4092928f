"""When others are said to need the GPU, and what is looked at meanwhile."""

import pytest

from assistant.gpu_watch import KEEP_ONE_IN, NUM_POLLS, Others, Thinning


def changes(*looks: tuple[float, float]) -> list[tuple[int, bool]]:
    """(number of the look, what others need from then on), for looks of (all use, our use)."""
    others = Others()
    return [(number, others.need_it) for number, look in enumerate(looks) if others.note(*look)]


def test_a_program_that_keeps_it_busy_is_noticed_and_its_end_too():
    looks = [(0.1, 0.1)] * 10 + [(1.0, 0.1)] * 10 + [(0.1, 0.1)] * 10
    assert changes(*looks) == [(12, True), (22, False)]


def test_what_we_use_ourselves_counts_for_nothing():
    assert changes(*[(1.0, 0.9)] * 20) == []
    assert changes(*[(0.3, 1.7)] * 20) == []


def test_a_moment_is_nothing():
    quiet = [(0.0, 0.0)] * NUM_POLLS
    assert changes(*quiet, (1.0, 0.0), *quiet) == []
    assert changes((1.0, 0.0)) == []


def test_between_the_bounds_nothing_changes():
    busy = [(0.8, 0.0)] * 6
    assert changes(*busy, *[(0.4, 0.0)] * 20) == [(NUM_POLLS - 1, True)]
    assert changes(*[(0.4, 0.0)] * 20) == []


@pytest.mark.parametrize("is_on", [False, True])
def test_one_in_so_many_is_looked_at(is_on):
    thinning = Thinning()
    thinning.is_on = is_on
    looked_at = sum(thinning.wants() for _ in range(4 * KEEP_ONE_IN))
    assert looked_at == (4 if is_on else 4 * KEEP_ONE_IN)
