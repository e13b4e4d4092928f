"""Why nothing is said just now, in a line. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from assistant.runtime.health import Part
from assistant.runtime.messages import Seen
from assistant.runtime.states import State

BEHIND_S = 3.0
"""A decision that comes so long after its picture was taken is one of before."""

MODES = ("do not disturb", "quiet hours")
"""What holds remarks back whether or not there is anything to say."""

HELD = {
    "do not disturb": "remarks are switched off (policy.do_not_disturb)",
    "quiet hours": "these are quiet hours (policy.quiet_hours)",
    "gap": "something was said just now, and a pause is kept (policy.min_gap_s)",
    "rate": "what there is to say must wait, to keep to the remarks an hour (policy.remarks_per_hour)",
}


@dataclass(frozen=True)
class Silence:
    """reason: for programs, one or two words, "" while there is something to say. text: for people."""

    reason: str
    text: str


def why_silent(
    seen: Seen | None,
    mind: Part,
    *,
    is_paused: bool,
    is_asleep: bool,
    is_muted: bool,
    is_quiet: bool,
    why_blind: str,
) -> Silence:
    """What keeps the user from hearing a remark now; of several reasons the one that has to end first.

    seen: the latest frame that was decided. mind: the part's state. why_blind: what `Sight` says of the camera.
    """
    if is_asleep:
        return Silence("asleep", "the computer is about to sleep, and the camera closed")
    if is_paused:
        return Silence("paused", "the camera is closed (`onlooker resume` opens it)")
    is_waiting = mind.state == State.STARTING and why_blind  # for a camera
    if mind.state not in (State.READY, State.STALE) and seen is None and not is_waiting:
        return Silence("not ready", f"the mind is {mind.state}{': ' if mind.detail else ''}{mind.detail}")
    if why_blind or seen is None:
        return Silence("blind", why_blind or "nothing has been seen yet")
    if seen.is_strange:
        return Silence(
            "unfamiliar", "this does not look like the world that the model was trained in (stream.unfamiliar)"
        )
    if seen.latency_s > BEHIND_S and not seen.behind_reply:
        return Silence("behind", f"the mind is {seen.latency_s:.1f} s behind the camera")
    if seen.held in MODES:
        return Silence(seen.held, HELD[seen.held])
    if not seen.decision.speaks:
        why = f"p(silence) {seen.decision.silence_prob:.3f}, and below {seen.threshold:g} it speaks"
        return Silence("nothing to say", f"there is nothing to say ({why})")
    if seen.held:
        return Silence(seen.held, HELD[seen.held])
    if is_quiet:
        return Silence("quiet", 'somebody asked for quiet ("you can speak again" ends it)')
    return Silence("muted", "what is said is not spoken (`onlooker unmute`)") if is_muted else Silence("", "")
