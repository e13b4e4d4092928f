"""Simulated days of 8 hours at 2 frames a second, shown to a policy as the mind does, and counts of what it said."""

import random
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache

from assistant.mind.policy import Policy, PolicySettings

FPS = 2
HOURS = 8
HOUR = 3600 * FPS  # frames
THRESHOLD = 0.725
OWN = 1 - THRESHOLD  # the score from which on the model speaks by itself
NINE = 9 * 60  # minute of the day at which the days begin
PROMISES = (6, 20, 60)


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
