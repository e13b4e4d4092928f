"""The data that travels between the threads: small frozen dataclasses, and nothing else does.

Two clocks, never mixed: `*_s` named `time_s` is the position in the stream (0 = its first picture);
`captured_s`, `at_s` are monotonic seconds of this machine. `model.stream.Decision` is one of them; the
model owns it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from assistant.runtime.states import State

if TYPE_CHECKING:
    from threading import Event as Flag

    import numpy as np
    from torch import Tensor

    from model.stream import Decision


@dataclass(frozen=True, eq=False)
class Frame:
    """One sampled picture. pixels: height × width × 3, RGB uint8, upright, owned by the receiver."""

    pixels: np.ndarray
    time_s: float
    captured_s: float
    index: int


@dataclass(frozen=True, eq=False)
class FrameTokens:
    """The same frame after the encoder. tokens: N tokens × D width, on the model's device. strangeness: in the model's
    own world (`model.world`); None where it does not know that."""

    tokens: Tensor
    time_s: float
    captured_s: float
    index: int
    strangeness: float | None = None


@dataclass(frozen=True)
class Query:
    """A question of the user's, to be asked after the last frame at or before `asked_s` (seconds in the
    stream).

    asked_s = 0 means at once: after the frame in hand. cancelled: set by whoever wants no answer any more. notes: lines
    of the past that may bear on it.
    """

    text: str
    asked_s: float
    id: int
    cancelled: Flag | None = field(default=None, compare=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """The mind has looked at one frame. latency_s: from its capture to this decision.

    behind_reply: it was captured while a reply was being written, and had to wait for its end. captured_s: monotonic.
    is_strange: it does not look like the model's own world, and nothing is said of it. threshold: the silence
    threshold that it was decided by. held: what holds remarks back now (`assistant.mind.policy`), "" for nothing.
    """

    time_s: float
    index: int
    decision: Decision
    latency_s: float
    behind_reply: bool = False
    captured_s: float = 0.0
    is_strange: bool = False
    threshold: float = 0.0
    held: str = ""


@dataclass(frozen=True)
class Asked:
    """The mind has put a question to the model at `time_s` in the stream. late: the stream ended before its time."""

    query: Query
    time_s: float
    late: bool = False


@dataclass(frozen=True)
class Words:
    """A piece of a reply as it comes; `final` closes the reply (its own text is empty).

    query_id: the question it answers, or None for a remark. silence_prob: of the frame that made it speak
    (remarks).
    latency_s: from the frame's capture, or the question, to the reply's first piece.
    cut: the reply was broken off before its end. unheard: a remark that is not to be made after all, being a repeat;
    only its end says so. why: there are no words, for the user. reminds: what was asked for that a remark tells; only
    its end says so.
    """

    reply_id: int
    text: str
    final: bool
    time_s: float
    query_id: int | None
    silence_prob: float | None
    latency_s: float
    cut: bool = False
    unheard: bool = False
    why: str = ""
    reminds: str = ""


@dataclass(frozen=True)
class Opened:
    """The source delivers pictures. duration_s: None where it has no known end (cameras, live streams)."""

    width: int
    height: int
    duration_s: float | None
    is_live: bool


@dataclass(frozen=True)
class Ended:
    """The source, a file, has come to its end at `time_s` in the stream."""

    time_s: float


@dataclass(frozen=True)
class Status:
    """What a part has to say about itself."""

    part: str
    state: State
    detail: str
    at_s: float


Event = Seen | Asked | Words | Opened | Ended | Status
