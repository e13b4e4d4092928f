"""Where a long video is cut into clips. Pure."""

import random
from bisect import bisect_left
from collections.abc import Sequence

MIN_CLIP_S, LIKED_CLIP_S, MAX_CLIP_S = 20.0, 40.0, 60.0
QUIET_S = 2.0
MAX_SILENT_CLIPS = 3
"""Of one video: silence must be learned, but hours of it teach no more."""


def cut(num_frames: int, fps: float, times_s: Sequence[float]) -> list[range]:
    """The frames of each clip, in order, without gaps: 20–60 s each, or all in one if there are fewer than 60 s.

    times_s: when something is said. A cut keeps 2 s away from all of them if it can, else as far as possible; of
    equal places it takes the one that makes the clip nearest to 40 s.
    """
    shortest, longest = round(MIN_CLIP_S * fps), round(MAX_CLIP_S * fps)
    times = sorted(times_s)
    cuts = [0]
    while num_frames - cuts[-1] > longest:
        first = cuts[-1]
        places = range(first + shortest, min(first + longest, num_frames - shortest) + 1)
        liked = first + LIKED_CLIP_S * fps
        cuts.append(max(places, key=lambda f: (min(quiet_s(f / fps, times), QUIET_S), -abs(f - liked), -f)))
    return [range(start, stop) for start, stop in zip(cuts, [*cuts[1:], num_frames], strict=True)]


def quiet_s(time_s: float, times_s: Sequence[float]) -> float:
    """Seconds to the nearest of `times_s`, which are in order; infinite if there are none."""
    after = bisect_left(times_s, time_s)
    return min((abs(time_s - t) for t in times_s[max(0, after - 1) : after + 1]), default=float("inf"))


def choose_silent(is_silent: Sequence[bool], rng: random.Random) -> list[int]:
    """Which clips of a video are kept: all in which something is said, and at most three of the others."""
    silent = [index for index, flag in enumerate(is_silent) if flag]
    kept = set(rng.sample(silent, min(len(silent), MAX_SILENT_CLIPS)))
    return [index for index, flag in enumerate(is_silent) if not flag or index in kept]


def choose_val(is_silent: Sequence[bool], share: float, rng: random.Random) -> set[int]:
    """Which clips are for validation: about `share` of those with words and of those without, at least one of all.

    At least one with words stays for training. Empty if there is one clip alone.
    """
    if len(is_silent) < 2:
        return set()
    busy = [index for index, flag in enumerate(is_silent) if not flag]
    silent = [index for index, flag in enumerate(is_silent) if flag]
    num_busy = min(max(1, round(share * len(busy))), len(busy) - 1) if busy else 0
    num_silent = min(round(share * len(silent)), len(silent) - (not busy))
    if num_busy + num_silent == 0:
        num_silent = 1
    return {*rng.sample(busy, num_busy), *rng.sample(silent, num_silent)}
