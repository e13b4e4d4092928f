"""Why nothing is said, in a line."""

from typing import Any

import pytest

from assistant.daemon.silence import BEHIND_S, HELD, why_silent
from assistant.mind.policy import Policy, PolicySettings
from assistant.runtime.health import Part
from assistant.runtime.messages import Seen
from assistant.runtime.states import State
from model.stream import Decision

BLACK = "The picture has been black since 12:00, so I cannot see what is there now."


def seen(silence_prob: float = 0.98, *, speaks: bool = False, latency_s: float = 0.1, **about: Any) -> Seen:
    return Seen(1.0, 2, Decision(silence_prob, speaks), latency_s, threshold=0.35, **about)


@pytest.mark.parametrize(
    ("frame", "about", "reason", "words"),
    [
        (seen(), {}, "nothing to say", "p(silence) 0.980, and below 0.35 it speaks"),
        (seen(0.1, speaks=True), {}, "", ""),
        (seen(0.1, speaks=True), {"is_muted": True}, "muted", "onlooker unmute"),
        (seen(0.1, speaks=True), {"is_quiet": True}, "quiet", "speak again"),
        (seen(0.1, speaks=True, held="rate"), {"is_muted": True}, "rate", "policy.remarks_per_hour"),
        (seen(0.1, speaks=True, held="gap"), {}, "gap", "policy.min_gap_s"),
        (seen(held="gap"), {}, "nothing to say", "p(silence)"),
        (seen(held="quiet hours"), {}, "quiet hours", "policy.quiet_hours"),
        (seen(held="do not disturb"), {"is_muted": True}, "do not disturb", "policy.do_not_disturb"),
        (seen(latency_s=BEHIND_S + 1, held="quiet hours"), {}, "behind", "4.0 s behind the camera"),
        (seen(latency_s=BEHIND_S + 1, behind_reply=True), {}, "nothing to say", ""),
        (seen(is_strange=True), {}, "unfamiliar", "stream.unfamiliar"),
        (seen(is_strange=True), {"why_blind": BLACK}, "blind", BLACK),
        (seen(), {"why_blind": BLACK, "is_paused": True}, "paused", "onlooker resume"),
        (seen(), {"is_asleep": True, "is_paused": True}, "asleep", "about to sleep"),
        (None, {"mind": Part(State.FAILED, "no memory")}, "not ready", "the mind is failed: no memory"),
        (None, {"mind": Part(State.STARTING), "why_blind": BLACK}, "blind", BLACK),
        (None, {}, "blind", "nothing has been seen yet"),
    ],
)
def test_the_reason_that_has_to_end_first_is_given(frame: Seen | None, about: dict[str, Any], reason: str, words: str):
    mind = about.pop("mind", Part(State.READY))
    modes = dict.fromkeys(("is_paused", "is_asleep", "is_muted", "is_quiet"), False) | {"why_blind": ""}
    silence = why_silent(frame, mind, **(modes | about))
    assert silence.reason == reason
    assert words in silence.text
    assert bool(silence.text) == bool(reason)


def test_all_that_the_policy_names_is_put_into_words():
    settings = PolicySettings(remarks_per_hour=1.0, min_gap_s=60.0, quiet_hours=((0, 60),))
    policy = Policy(settings, 0.35)
    policy.consider(0.9, False, 0.0, 100.0)
    policy.note_remark("You cut it.", 1.0)
    reasons = {policy.why_silent(2.0, 100.0), policy.why_silent(100.0, 100.0), policy.why_silent(2.0, 30.0)}
    policy.update(PolicySettings(do_not_disturb=True))
    assert reasons | {policy.why_silent(2.0, 30.0)} == set(HELD)
