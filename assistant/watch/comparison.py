"""What one model says over videos, and how it differs from what another says: for engines and weight formats.

Each runs freely; after a reply that differs the two have
different pasts, and all that differs from there on counts as well. That is what a user would notice. Frames are looked
at one by one, since what has queued by chance would change the rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from assistant.runtime.messages import Seen, Words
from assistant.watch.playback import replay

if TYPE_CHECKING:
    from assistant.capture.source import Source
    from assistant.config.keys import Config
    from model.stream import Decision
    from model.videolm import VideoLM

NEAR = 0.01
"""A decision whose p(silence) is so close to the threshold may fall either way by rounding alone."""


@dataclass(frozen=True)
class Told:
    """One video, by frame: every decision, and the reply where one was given."""

    decisions: list[Decision]
    replies: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """Of `frames` decisions so many changed, `near` of them within NEAR of the threshold; of the `replies` that both
    gave at the same frame so many have other words."""

    frames: int
    changed: int
    near: int
    replies: int
    other_words: int


def narrate(model: VideoLM, config: Config, source: Source) -> Told:
    """Show the whole video to a fresh stream. Raises what ends the run, such as a file that cannot be read."""
    decisions, words = [], {}
    for event in replay(model, config, source, max_batch=1):
        if isinstance(event, Seen):
            decisions.append(event.decision)
        elif isinstance(event, Words):
            frame = len(decisions) - 1
            words[frame] = words.get(frame, "") + event.text
    return Told(decisions, words)


def compare(reference: Sequence[Told], other: Sequence[Told], threshold: float) -> Difference:
    """Video by video, both in the same order. threshold: of p(silence), 0–1."""
    frames = changed = near = replies = other_words = 0
    for ours, theirs in zip(reference, other, strict=True):
        frames += len(ours.decisions)
        for a, b in zip(ours.decisions, theirs.decisions, strict=True):
            if a.speaks != b.speaks:
                changed += 1
                near += min(abs(a.silence_prob - threshold), abs(b.silence_prob - threshold)) < NEAR
        both = ours.replies.keys() & theirs.replies.keys()
        replies += len(both)
        other_words += sum(ours.replies[frame] != theirs.replies[frame] for frame in both)
    return Difference(frames, changed, near, replies, other_words)
