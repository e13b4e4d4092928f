"""Talk now? Turns what the model wants after each frame into remarks, and keeps the promised number an hour.

Owns the pacing of one stream. Pure and bounded: no thread, no file, no clock; the caller passes monotonic seconds
(`now_s`) and the local minute of the day (0–1440). Only the thread that owns the stream calls it.

A frame's score is 1 − silence_prob. With a promise, a remark is made at a score that reaches the bar:

- Budget: a bucket fills at the promised rate, holds an hour's worth, and pays for each remark. No 60 minutes have more
  than 1.5 times the promise (but two remarks at least), and after a remark a quarter of the mean interval is silent:
  the frames of one event cost one remark.
- Bar: the score that was lately reached `wanted` times an hour, a quantile of the ten-second peaks of the last half
  hour. `wanted` starts from nothing, so that only a score above all of those will do, and grows with the silence, the
  faster the fuller the bucket is. So the remarks are the best ones of their time, and fairly even.
- Floor: the bar may be below the model's own, but not below a fifth of it, nor (up to the model's own) below 16 times
  the median score. Nothing is made up in a still hour: an hour's worth of what it left unsaid is spread over the next.

Time in which no remark may be made, or no frames come, is not part of the promise: but for the gap all stands still.
"""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

HOUR_S = 3600.0
MOST = 1.5
MIN_CAPACITY = 4.0  # remarks, so that also the smallest promise has one to spend at the start
START_FILL = 0.25
BLOCK_S, NUM_BLOCKS = 10.0, 180
REST, EAGERNESS = 0.25, 12.0
"""wanted / promise = EAGERNESS · fill · (silence in mean intervals − REST). Spends what it gets at a quarter full."""

FLOOR_OF_OWN, FLOOR_OF_NOISE = 0.2, 16.0
NOISE_STEP, MIN_NOISE = 0.01, 1e-6  # of the running median: up or down by one part in a hundred a frame
MAX_STEP_S = 10.0  # a longer time between two frames is a pause; only this much of it counts
MAX_SENTENCES = 500


@dataclass(frozen=True)
class PolicySettings:
    """What the user wants.

    remarks_per_hour: the promise, or None ("auto") for the model's own decisions. min_gap_s: silence after a remark or
    an answer. repeat_after_s: a sentence is not said again within this time. quiet_hours: (start, end) in minutes of
    the day, the end excluded; a range may wrap over midnight, and with equal ends it is the whole day.
    """

    remarks_per_hour: float | None = None
    min_gap_s: float = 0.0
    repeat_after_s: float = 0.0
    quiet_hours: tuple[tuple[int, int], ...] = ()
    do_not_disturb: bool = False


class Policy:
    """Decides on every frame, in order. After a remark that it asked for, `note_remark` or `note_repeat` must follow.

    checkpoint_threshold: the silence probability below which the model by itself speaks, 0–1; then `threshold`.
    """

    def __init__(self, settings: PolicySettings, checkpoint_threshold: float) -> None:
        self._settings = settings
        self.threshold, self._own = checkpoint_threshold, 1 - checkpoint_threshold
        self._fill = START_FILL  # of the bucket, 0–1
        self._silent_s = HOUR_S  # since the last remark
        self._noise = self._own / FLOOR_OF_NOISE  # running median of the scores; the floor starts at the model's own
        self._peaks: deque[float] = deque(maxlen=NUM_BLOCKS)
        self._ranked: list[float] = []  # the same, highest first
        self._block_peak = self._block_s = 0.0
        self._seen_s = self._spoke_s = -math.inf
        self._remarks_s: deque[float] = deque()  # those of the last hour that the promise counts
        self._said_s: dict[str, float] = {}  # by the sentence's digest, oldest first

    def update(self, settings: PolicySettings, threshold: float | None = None) -> None:
        """Go on with other settings. The bucket stays as full as it is; another promise counts from now on.

        threshold: another one than `checkpoint_threshold`.
        """
        if threshold is not None:
            self.threshold, self._own = threshold, 1 - threshold
        if settings.remarks_per_hour != self._settings.remarks_per_hour:
            self._remarks_s.clear()
        self._settings = settings

    def consider(self, silence_prob: float, speaks: bool, now_s: float, minute_of_day: float) -> bool:
        """Take note of a frame and say whether a remark should start now. To be called once for every frame."""
        score, rate = 1 - silence_prob, self._settings.remarks_per_hour
        step_s = min(max(now_s - self._seen_s, 0.0), MAX_STEP_S) if self._seen_s > -math.inf else 0.0
        self._seen_s = now_s
        if self._forbidden(minute_of_day):
            return False
        self._pass_time(step_s, now_s)
        is_wanted = speaks if rate is None else self._can_afford and score >= self._bar()
        self._learn(score, step_s)
        return is_wanted and not self._in_gap(now_s)

    def why_silent(self, now_s: float, minute_of_day: float) -> str:
        """What holds remarks back now: "do not disturb", "quiet hours", "gap", "rate", or "" for nothing.

        "rate": something that the model would say must wait, to keep the promise.
        """
        reason = self._forbidden(minute_of_day) or ("gap" if self._in_gap(now_s) else "")
        if reason or self._settings.remarks_per_hour is None:
            return reason
        return "rate" if not self._can_afford or self._bar() > self._own else ""

    # ---- words ---------------------------------------------------------------------------------------------

    def is_repeat(self, text: str, now_s: float) -> bool:
        """Whether this sentence was said less than `repeat_after_s` ago; case and punctuation do not matter."""
        return now_s - self._said_s.get(_digest(text), -math.inf) < self._settings.repeat_after_s

    def note_remark(self, text: str, now_s: float) -> None:
        """A remark was made, and ended now."""
        self._spoke_s, self._silent_s = now_s, 0.0
        if self._settings.remarks_per_hour is not None:
            self._fill = max(0.0, self._fill - 1 / self._capacity)
            self._remarks_s.append(now_s)
        self._said_s.pop(_digest(text), None)
        self._said_s[_digest(text)] = now_s
        if len(self._said_s) > MAX_SENTENCES:
            del self._said_s[next(iter(self._said_s))]

    def note_repeat(self, now_s: float) -> None:
        """A remark was written but not made, being a repeat: free of charge, but the next one waits for the gap."""
        self._spoke_s = now_s

    def note_answer(self, now_s: float) -> None:
        """A question was answered, which is never refused: free of charge, but the next remark waits for the gap."""
        self._spoke_s = now_s

    def export(self, now_s: float) -> dict[str, Any]:
        """The state, for JSON: a few kB, no spoken words. Times become ages, as another process has another clock."""
        return {
            "numbers": [self._fill, self._silent_s, self._noise],
            "block": [self._block_peak, self._block_s],
            "peaks": list(self._peaks),
            "ago_s": [None if math.isinf(at_s) else now_s - at_s for at_s in (self._seen_s, self._spoke_s)],
            "remarks_ago_s": [now_s - at_s for at_s in self._remarks_s],
            "said_ago_s": {digest: now_s - at_s for digest, at_s in self._said_s.items()},
        }

    def restore(self, state: dict[str, Any], now_s: float) -> None:
        """Go on as the policy that exported this, as if no time had passed.

        Raises KeyError, TypeError or ValueError if it is something else; this policy is then of no more use.
        """
        self._fill, self._silent_s, self._noise = state["numbers"]
        self._block_peak, self._block_s = state["block"]
        self._peaks = deque(state["peaks"], maxlen=NUM_BLOCKS)
        self._ranked = sorted(self._peaks, reverse=True)
        self._seen_s, self._spoke_s = (-math.inf if ago_s is None else now_s - ago_s for ago_s in state["ago_s"])
        self._remarks_s = deque(now_s - ago_s for ago_s in state["remarks_ago_s"])
        self._said_s = {digest: now_s - ago_s for digest, ago_s in state["said_ago_s"].items()}

    # ---- the law -------------------------------------------------------------------------------------------

    @property
    def _capacity(self) -> float:
        return max(self._settings.remarks_per_hour or 0.0, MIN_CAPACITY)

    @property
    def _can_afford(self) -> bool:
        """Whether the promise has room for a remark now, whatever its score."""
        rate = self._settings.remarks_per_hour or 0.0
        is_rested = self._silent_s * rate >= REST * HOUR_S
        return is_rested and self._fill * self._capacity > 1 - 1e-9 and len(self._remarks_s) < max(2, int(MOST * rate))

    def _bar(self) -> float:
        """The score from which on a frame is worth a remark."""
        if not self._ranked:
            return self._own
        floor = min(self._own, max(self._own * FLOOR_OF_OWN, self._noise * FLOOR_OF_NOISE))
        rate = self._settings.remarks_per_hour or 0.0
        wanted_per_hour = rate * EAGERNESS * self._fill * (self._silent_s * rate / HOUR_S - REST)
        rank = wanted_per_hour * len(self._ranked) * BLOCK_S / HOUR_S
        if rank < 1:
            return max(floor, math.nextafter(max(self._ranked[0], self._block_peak), math.inf))
        if rank >= len(self._ranked):
            return floor
        above, below = self._ranked[int(rank) - 1 : int(rank) + 1]
        return max(floor, above + (below - above) * (rank % 1))

    def _pass_time(self, step_s: float, now_s: float) -> None:
        earned = step_s * (self._settings.remarks_per_hour or 0.0) / HOUR_S
        self._silent_s, self._fill = self._silent_s + step_s, min(1.0, self._fill + earned / self._capacity)
        while self._remarks_s and now_s - self._remarks_s[0] >= HOUR_S:
            self._remarks_s.popleft()

    def _learn(self, score: float, step_s: float) -> None:
        step = math.exp(NOISE_STEP if score > self._noise else -NOISE_STEP)
        self._noise = max(self._noise * step, MIN_NOISE)
        self._block_peak, self._block_s = max(self._block_peak, score), self._block_s + step_s
        if self._block_s >= BLOCK_S:
            self._peaks.append(self._block_peak)
            self._ranked = sorted(self._peaks, reverse=True)
            self._block_peak = self._block_s = 0.0

    def _forbidden(self, minute_of_day: float) -> str:
        if self._settings.do_not_disturb:
            return "do not disturb"
        is_quiet = any(
            start <= minute_of_day < end if start < end else minute_of_day >= start or minute_of_day < end
            for start, end in self._settings.quiet_hours
        )
        return "quiet hours" if is_quiet else ""

    def _in_gap(self, now_s: float) -> bool:
        return max(now_s - self._spoke_s, 0.0) < self._settings.min_gap_s


def _digest(text: str) -> str:
    """The same for sentences that differ only in case, punctuation and spaces. They are not to be read back."""
    return blake2b(" ".join(re.findall(r"\w+", text.casefold())).encode(), digest_size=8).hexdigest()
