"""The states that a part of the daemon can be in, as `status` and the events name them."""

from enum import StrEnum


class State(StrEnum):
    """Of a part; WARNING is not one: it is told, and changes none."""

    STARTING = "starting"
    READY = "ready"
    STALE = "stale"
    """It should have worked since, and has not."""

    OPENING = "opening"
    WAITING = "waiting"
    """For somebody who sends pictures."""

    LOST = "lost"
    PAUSED = "paused"
    CLOSED = "closed"
    OFF = "off"
    ON = "on"
    IDLE = "idle"
    SPEAKING = "speaking"
    FAILED = "failed"
    IN_EFFECT = "in effect"
    OURS = "ours"
    """The GPU is not needed by other programs."""

    SHARED = "shared"
    WARNING = "warning"
