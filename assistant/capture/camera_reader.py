"""Reads a camera of this machine with OpenCV. Runs in the capture child.

It reads all the time, so that no backlog builds up in the driver, and ships the newest picture at the sampling rate.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

from assistant.capture.live_outlet import LiveOutlet
from assistant.capture.protocol import Outlet, SourceFailed, Start
from model.video.upright import MAX_SIDE_PX, fit_within

MAX_FAILED_READS = 5


def read_camera(start: Start, outlet: Outlet) -> None:
    """Ship the camera's frames until it is lost or the parent goes away. Raises SourceFailed."""
    # read by OpenCV when its V4L2 part is loaded: how long it waits for a camera that stopped delivering
    os.environ["OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"] = str(max(1, round(start.timeout_s)))
    os.environ["OPENCV_LOG_LEVEL"] = "OFF"
    import cv2

    device: int | str = int(start.target) if start.target.isdigit() else start.target
    _check_device(device, start)
    camera = cv2.VideoCapture(device, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
    try:
        if not camera.isOpened():
            raise SourceFailed(
                "missing",
                f"{start.shown}: cannot be opened; is another program using it? See `onlooker devices`",
            )
        camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        live, num_failed = LiveOutlet(outlet, start.fps), 0
        while True:
            is_read, bgr = camera.read()
            if not is_read or bgr is None:
                num_failed += 1
                if num_failed == MAX_FAILED_READS or not _is_present(device):
                    raise SourceFailed("missing", f"{start.shown}: the camera was lost; plug it in and start again")
                time.sleep(0.05)
                continue
            num_failed = 0
            live.show(bgr.shape[1], bgr.shape[0], lambda bgr=bgr: _rgb(bgr))
    finally:
        camera.release()


def _rgb(bgr_HW3: np.ndarray) -> np.ndarray:
    import cv2

    height, width, _ = bgr_HW3.shape
    size = fit_within(width, height, MAX_SIDE_PX)
    if size != (width, height):
        bgr_HW3 = cv2.resize(bgr_HW3, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(bgr_HW3, cv2.COLOR_BGR2RGB)


def device_path(device: int | str) -> Path:
    """Linux: the device file of a camera."""
    return Path(f"/dev/video{device}") if isinstance(device, int) else Path(device)


def _is_present(device: int | str) -> bool:
    return sys.platform != "linux" or device_path(device).exists()


def _check_device(device: int | str, start: Start) -> None:
    """Say plainly what is wrong before OpenCV, which only says no."""
    if sys.platform != "linux" or "LD_PRELOAD" in os.environ:  # preloaded V4L2 bridges have no device file
        return
    path = device_path(device)
    if not path.exists():
        where = f" ({path} is not there)" if isinstance(device, int) else ""
        raise SourceFailed(
            "missing",
            f"{start.shown}: no such camera{where}; `onlooker devices` lists those there are",
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise SourceFailed(
            "missing",
            f"{start.shown}: no permission for {path}; add your user to the group `video` and log in again",
        )
