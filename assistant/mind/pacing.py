"""The policy at work in the mind's thread: what the user wants of remarks, with the clocks of this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from assistant.config.keys import Config, PolicySection
from assistant.mind.loop import Pacing
from assistant.mind.policy import Policy, PolicySettings
from assistant.mind.standing import Watchlist

if TYPE_CHECKING:
    from model.stream import Decision


class PolicyPacing(Pacing):
    """Asks a policy. The mind's thread owns it.

    checkpoint_threshold: what `stream.silence_threshold = "checkpoint"` means. clock: monotonic seconds. minute_of_day:
    local time, 0–1440. watchlist: what is to be told whether or not remarks are wanted.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        checkpoint_threshold: float,
        clock: Callable[[], float] = time.monotonic,
        minute_of_day: Callable[[], float] | None = None,
        watchlist: Watchlist | None = None,
    ):
        self._watchlist, self._is_wanted = watchlist or Watchlist(), False
        self._policy, self._clock = policy, clock
        self._checkpoint, self._lock = checkpoint_threshold, threading.Lock()
        self._wanted: tuple[PolicySettings, float] | None = None  # put there by any thread
        self._minute_of_day = minute_of_day or _local_minute

    def update(self, config: Config) -> None:
        with self._lock:
            self._wanted = settings_of(config.policy), config.stream.threshold(self._checkpoint)

    def threshold(self, own: float) -> float:
        """The model's own, also while nothing may be said: a frame `speaks` if the model would."""
        with self._lock:
            wanted, self._wanted = self._wanted, None
        if wanted is not None:
            self._policy.update(*wanted)
        return self._policy.threshold

    def wants(self, decision: Decision) -> bool:
        self._is_wanted = self._policy.consider(
            decision.silence_prob, decision.speaks, self._clock(), self._minute_of_day()
        )
        return self._is_wanted or (decision.speaks and not self._watchlist.is_empty)

    def held(self) -> str:
        return self._policy.why_silent(self._clock(), self._minute_of_day())

    def note(self, text: str, *, is_answer: bool) -> bool:
        now_s = self._clock()
        told = None if is_answer else self._watchlist.told_by(text)
        self.reminds = told.text if told else ""
        if is_answer:
            self._policy.note_answer(now_s)
        elif told is not None:
            if told.repeats and self._policy.is_repeat(text, now_s):
                self._policy.note_repeat(now_s)
                self.reminds = ""
                return False
            self._policy.note_remark(text, now_s)
        elif not self._is_wanted:  # it was written to see whether it tells what is watched for
            return False
        elif self._policy.is_repeat(text, now_s):
            self._policy.note_repeat(now_s)
            return False
        else:
            self._policy.note_remark(text, now_s)
        return True


def _local_minute() -> float:
    now = datetime.now()
    return 60 * now.hour + now.minute + now.second / 60


def settings_of(section: PolicySection) -> PolicySettings:
    """What the configuration says, as the policy wants it."""
    return PolicySettings(
        remarks_per_hour=None if section.remarks_per_hour == "auto" else section.remarks_per_hour,
        min_gap_s=section.min_gap_s,
        repeat_after_s=section.repeat_after_s,
        quiet_hours=tuple(_minutes(hours) for hours in section.quiet_hours),
        do_not_disturb=section.do_not_disturb,
    )


def _minutes(hours: str) -> tuple[int, int]:
    """ "22:00-07:00" → minutes of the day."""
    start, end = (60 * int(hour) + int(minute) for hour, minute in (part.split(":") for part in hours.split("-")))
    return start, end
