"""Reads a screen of this machine with mss. Runs in the capture child."""

from __future__ import annotations

import os
import sys
import time

from assistant.capture.protocol import Outlet, SourceFailed, Start
from model.video.upright import MAX_SIDE_PX, fit_within


def read_screen(start: Start, outlet: Outlet) -> None:
    """Ship what a monitor shows until the parent goes away. Raises SourceFailed."""
    import cv2
    import mss
    import numpy as np
    from mss.exception import ScreenShotError

    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        raise SourceFailed(
            "missing", f"{start.shown}: there is no X display here (Wayland shows its screens to nobody)"
        )
    try:
        with mss.mss() as screens:
            number = int(start.target)
            if number >= len(screens.monitors):
                count = len(screens.monitors) - 1
                raise SourceFailed("missing", f"{start.shown}: there are {count} screens; screen:0 is all of them")
            begun_s, count = time.monotonic(), 0
            while True:
                shot = screens.grab(screens.monitors[number])
                now_s = time.monotonic()
                if count == 0:
                    outlet.ready(shot.width, shot.height, None, is_live=True)
                bgra = np.frombuffer(shot.raw, np.uint8).reshape(shot.height, shot.width, 4)
                size = fit_within(shot.width, shot.height, MAX_SIDE_PX)
                if size != (shot.width, shot.height):
                    bgra = cv2.resize(bgra, size, interpolation=cv2.INTER_AREA)
                outlet.ship(cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGB), now_s - begun_s, now_s, wait=False)
                count = max(count + 1, int((now_s - begun_s) * start.fps))
                _wait_until(begun_s + count / start.fps, outlet)
    except ScreenShotError as error:
        raise SourceFailed("missing", f"{start.shown}: cannot be read: {error}") from None


def _wait_until(at_s: float, outlet: Outlet) -> None:
    while (left_s := at_s - time.monotonic()) > 0:
        time.sleep(min(left_s, 0.5))
        outlet.alive()
