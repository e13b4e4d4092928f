"""Gives way to other programs that need the GPU: while they keep it busy, fewer frames are looked at.

One thread reads the driver's figures by NVML. In a container whose processes the driver knows by other numbers, what
others use is taken for all that is used less what our own threads can have used.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from assistant.runtime.threads import Worker

POLL_S = 1.0
NUM_POLLS = 4
"""So many are averaged: a program that needs the GPU for a second only is none to give way to."""

BUSY, FREE = 0.5, 0.25
"""Shares of the time. Above the first, others need the GPU; below the second, no longer."""

RETRY_S = 60.0
STOP_TIMEOUT_S = 2.0


class Contention:
    """Pure: whether other programs keep the GPU busy, from one look at it after the other."""

    def __init__(self) -> None:
        self._shares: deque[float] = deque(maxlen=NUM_POLLS)
        self.is_high = False

    @property
    def share(self) -> float:
        """How much of the time others have used the GPU of late, 0–1."""
        return sum(self._shares) / max(1, len(self._shares))

    def note(self, share: float) -> bool:
        """share: of the time since the last look that others used it, 0–1. Whether `is_high` has changed."""
        self._shares.append(min(1.0, max(0.0, share)))
        before = self.is_high
        if len(self._shares) == NUM_POLLS:
            self.is_high = self.share > (FREE if before else BUSY)
        return self.is_high != before


class GpuWatch(Worker):
    """Use: `start`, `close`.

    uuid: the GPU's, as torch.cuda.get_device_properties gives it. busy_s: seconds that our threads have worked so far,
    together; less than before where it is counted anew. tell: is told whether others keep the GPU busy, and their share
    of the time (0–1), at each change, in a thread of its own. failed: is told why that is not known, once for as long
    as it lasts.
    """

    def __init__(
        self,
        uuid: str,
        busy_s: Callable[[], float],
        tell: Callable[[bool, float], None],
        failed: Callable[[str], None] = lambda _: None,
    ):
        self._uuid, self._busy_s, self._tell, self._failed = uuid, busy_s, tell, failed
        super().__init__("gpu", self._work, timeout_s=STOP_TIMEOUT_S)

    def _work(self) -> None:
        told = ""
        while not self._stop.is_set():
            try:
                self._look(is_again=bool(told))
            except Exception as error:  # of the driver's library: it may be missing, too old, or lose the GPU
                why = f"whether other programs need it cannot be told: {error}"
                if why != told:
                    told = why
                    self._tell(False, 0.0)
                    self._failed(why)
            self._stop.wait(RETRY_S)

    def _look(self, *, is_again: bool) -> None:
        import pynvml

        pynvml.nvmlInit()
        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{self._uuid.removeprefix('GPU-')}")
            if is_again:
                self._tell(False, 0.0)
            self._watch(handle)
        finally:
            pynvml.nvmlShutdown()

    def _watch(self, handle: Any) -> None:
        contention, at_s, busy_s, seen_us = Contention(), time.monotonic(), self._busy_s(), 0
        while not self._stop.wait(POLL_S):
            before_s, busy_before_s = at_s, busy_s
            at_s, busy_s = time.monotonic(), self._busy_s()
            by_process, seen_us = _shares_by_process(handle, seen_us)
            if by_process is None:
                share = _whole_share(handle) - max(0.0, busy_s - busy_before_s) / (at_s - before_s)
            else:
                share = sum(by_process.values())
            if contention.note(share):
                self._tell(contention.is_high, contention.share)


def _shares_by_process(handle: Any, seen_us: int) -> tuple[dict[int, float] | None, int]:
    """Of each process but ours, the share (0–1) of the time that it used the GPU lately; and when that was known, in
    the driver's microseconds. None where the driver does not say, or counts the processes of another namespace.
    """
    import pynvml

    if os.getpid() not in {process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)}:
        return None, seen_us
    try:
        samples = pynvml.nvmlDeviceGetProcessUtilization(handle, seen_us)
    except pynvml.NVMLError as error:
        is_nobody = getattr(error, "value", None) == pynvml.NVML_ERROR_NOT_FOUND
        return ({}, seen_us) if is_nobody else (None, seen_us)
    used: dict[int, list[float]] = {}
    for sample in samples:
        if sample.timeStamp > seen_us and sample.pid != os.getpid():
            used.setdefault(sample.pid, []).append(sample.smUtil / 100)
    shares = {pid: sum(of_pid) / len(of_pid) for pid, of_pid in used.items()}
    return shares, max((sample.timeStamp for sample in samples), default=seen_us)


def _whole_share(handle: Any) -> float:
    import pynvml

    return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
