"""Counts what happened in a run: frames, remarks, latencies, memory. Owned by the thread that reads the events."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections import deque

from assistant.runtime.messages import Event, Seen, Words

MAX_LATENCIES = 100_000
SAMPLE_S = 2.0


class Tally:
    """The figures of the "end" record. Feed it every event with `note`."""

    def __init__(self) -> None:
        self.num_frames = 0
        self.num_unfamiliar_frames = 0
        self.num_remarks = 0
        self.num_answers = 0
        self.last_time_s = 0.0
        self.memory = PeakMemory()
        self._first_at_s: float | None = None
        self._last_at_s = 0.0
        self._silent_ms: deque[tuple[float, bool]] = deque(maxlen=MAX_LATENCIES)  # and whether behind a reply

    def note(self, event: Event, text: str = "") -> None:
        """text: of a finished reply; a reply of nothing is not counted."""
        match event:
            case Seen():
                self.memory.sample()
                self._last_at_s = time.monotonic()
                if self._first_at_s is None:  # the first frame was under way for its latency before we heard of it
                    self._first_at_s = self._last_at_s - event.latency_s
                self.num_frames += 1
                self.num_unfamiliar_frames += event.is_strange
                self.last_time_s = event.time_s
                if not event.decision.speaks:
                    self._silent_ms.append((event.latency_s * 1000, event.behind_reply))
            case Words(final=True) if text:
                if event.query_id is None:
                    self.num_remarks += 1
                else:
                    self.num_answers += 1

    @property
    def fps(self) -> float:
        """Frames looked at a second of real time, from the first frame's capture to the last decision."""
        if self._first_at_s is None:
            return 0.0
        return self.num_frames / max(self._last_at_s - self._first_at_s, 1e-9)

    def silent_latency_ms(self, *, alone: bool = False) -> dict[str, float | None]:
        """p50, p95 and max, from capture to decision, of the frames that were passed over in silence.

        alone: without those that were captured while a reply was being written, and had to wait for its end.
        """
        ordered = sorted(ms for ms, behind_reply in self._silent_ms if not (alone and behind_reply))
        if not ordered:
            return {"p50": None, "p95": None, "max": None}
        return {
            "p50": round(percentile(ordered, 50), 1),
            "p95": round(percentile(ordered, 95), 1),
            "max": round(ordered[-1], 1),
        }


def percentile(ordered: list[float], percent: float) -> float:
    """The smallest value that at least `percent` % of the sorted values do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


class PeakMemory:
    """The most memory this process has held, plus the most its children (decoder, voice) were seen to hold together.

    The children are looked at by `sample`, at most every SAMPLE_S seconds: Linux counts a child's past before its exec,
    when it was a copy of us, into its own record.
    """

    def __init__(self) -> None:
        self._children_bytes = 0
        self._sampled_at_s = float("-inf")

    def sample(self) -> None:
        """Look at the children, if it is time."""
        import psutil

        now_s = time.monotonic()
        if now_s - self._sampled_at_s < SAMPLE_S:
            return
        self._sampled_at_s = now_s
        total = 0
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it may have ended in between
                total += child.memory_info().rss
        self._children_bytes = max(self._children_bytes, total)

    @property
    def megabytes(self) -> float:
        """The most memory that this process and its ended children have held, in 10⁶ bytes."""
        return (_own_peak_bytes() + self._children_bytes) / 1e6


def _own_peak_bytes() -> int:
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
