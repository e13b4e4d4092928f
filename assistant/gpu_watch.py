"""Gives way to other programs that need the GPU: while they keep it busy, fewer frames are looked at.

One thread reads the driver's figures by NVML. Those name processes as the machine does, which is not how a container
does, so what others use is taken for all that is used less what our own threads can have used.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

POLL_S = 1.0
NUM_POLLS = 4
"""So many are averaged: a program that needs the GPU for a second only is none to give way to."""

BUSY, FREE = 0.5, 0.25
"""Shares of the time. Above the first, others need the GPU; below the second, no longer."""

KEEP_ONE_IN = 4
STOP_TIMEOUT_S = 2.0

log = logging.getLogger("onlooker.gpu")


class Others:
    """Pure: whether others need the GPU, from one look at it after the other."""

    def __init__(self) -> None:
        self._shares: deque[float] = deque(maxlen=NUM_POLLS)
        self.need_it = False

    @property
    def share(self) -> float:
        """How much of the time others have used the GPU of late, 0–1."""
        return sum(self._shares) / max(1, len(self._shares))

    def note(self, all_share: float, our_share: float) -> bool:
        """Shares of the time since the last look, 0–1; ours may be too large. Whether `need_it` has changed."""
        self._shares.append(max(0.0, all_share - min(1.0, our_share)))
        before = self.need_it
        if len(self._shares) == NUM_POLLS:
            self.need_it = self.share > (FREE if before else BUSY)
        return self.need_it != before


class Thinning:
    """Which frames are looked at. `is_on` may be set by any thread; `wants` is called by one."""

    def __init__(self) -> None:
        self.is_on = False
        self._number = 0

    @property
    def keeps_one_in(self) -> int:
        return KEEP_ONE_IN if self.is_on else 1

    def wants(self) -> bool:
        """Of the next frame."""
        self._number += 1
        return self._number % self.keeps_one_in == 0


class GpuWatch:
    """Use: `start`, `close`.

    uuid: the GPU's, as torch.cuda.get_device_properties gives it. busy_s: seconds that our threads have worked so far,
    together; less than before where it is counted anew. tell: is told whether others need the GPU, and their share
    (0–1), at each change, in a thread of its own.
    """

    def __init__(self, uuid: str, busy_s: Callable[[], float], tell: Callable[[bool, float], None]):
        self._uuid, self._busy_s, self._tell = uuid, busy_s, tell
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="onlooker-gpu", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Within STOP_TIMEOUT_S."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        import pynvml

        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            log.warning("whether other programs need the GPU cannot be told (model.yield): %s", error)
            return
        try:
            self._watch(lambda handle: float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100)
        except pynvml.NVMLError as error:
            log.warning("whether other programs need the GPU can no longer be told (model.yield): %s", error)
            self._tell(False, 0.0)
        finally:
            pynvml.nvmlShutdown()

    def _watch(self, used: Callable[[object], float]) -> None:
        import pynvml

        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{self._uuid.removeprefix('GPU-')}")
        others, at_s, busy_s = Others(), time.monotonic(), self._busy_s()
        while not self._stop.wait(POLL_S):
            before_s, busy_before_s = at_s, busy_s
            at_s, busy_s = time.monotonic(), self._busy_s()
            has_changed = others.note(used(handle), max(0.0, busy_s - busy_before_s) / (at_s - before_s))
            if has_changed:
                self._tell(others.need_it, others.share)
