"""When other programs are said to keep the GPU busy, and what is looked at meanwhile."""

import pytest

from assistant.machine.gpu_watch import NUM_POLLS, Contention, GpuWatch
from assistant.mind.encoder import KEEP_ONE_IN, FrameSkip
from tests.assistant.camera import wait_for


def changes(*looks: float) -> list[tuple[int, bool]]:
    """(number of the look, whether contention is high from then on), for shares that others use."""
    contention = Contention()
    return [(number, contention.is_high) for number, look in enumerate(looks) if contention.note(look)]


def test_a_program_that_keeps_it_busy_is_noticed_and_its_end_too():
    looks = [0.0] * 10 + [0.9] * 10 + [0.0] * 10
    assert changes(*looks) == [(12, True), (22, False)]


def test_a_moment_is_nothing():
    quiet = [0.0] * NUM_POLLS
    assert changes(*quiet, 1.0, *quiet) == []
    assert changes(1.0) == []


def test_between_the_bounds_nothing_changes():
    busy = [0.8] * 6
    assert changes(*busy, *[0.4] * 20) == [(NUM_POLLS - 1, True)]
    assert changes(*[0.4] * 20) == []


@pytest.mark.parametrize("is_on", [False, True])
def test_one_in_so_many_is_looked_at(is_on):
    frame_skip = FrameSkip()
    frame_skip.is_on = is_on
    looked_at = sum(frame_skip.wants() for _ in range(4 * KEEP_ONE_IN))
    assert looked_at == (4 if is_on else 4 * KEEP_ONE_IN)


def test_that_the_gpu_cannot_be_asked_is_told_once():
    """There is none of that name."""
    told: list[str] = []
    watch = GpuWatch("no-such-gpu", lambda: 0.0, lambda *_: None, told.append)
    watch.start()
    wait_for(lambda: told, 20)
    watch.close()
    assert len(told) == 1
    assert told[0].startswith("whether other programs need it cannot be told: ")
