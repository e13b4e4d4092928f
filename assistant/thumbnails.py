"""Small pictures of the last frames, for the journal's lines. The encoder's thread adds them, the main thread takes."""

from __future__ import annotations

import threading
from collections import deque

from assistant.messages import Frame

MAX_SIDE_PX = 320
JPEG_QUALITY = 70
NUM_KEPT = 64  # more than may wait between the encoder and a reply


class Thumbnails:
    """is_on: whether pictures are made; any thread may change it."""

    def __init__(self, *, is_on: bool):
        self.is_on = is_on
        self._kept: deque[tuple[float, bytes]] = deque(maxlen=NUM_KEPT)
        self._lock = threading.Lock()

    def note(self, frame: Frame) -> None:
        if not self.is_on:
            return
        import cv2

        height, width, _ = frame.pixels.shape
        scale = min(1.0, MAX_SIDE_PX / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(frame.pixels, size, interpolation=cv2.INTER_AREA)
        bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        is_done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if is_done:
            with self._lock:
                self._kept.append((frame.time_s, jpeg.tobytes()))

    def at(self, time_s: float) -> bytes | None:
        """The JPEG of the frame of that time in the stream, or the nearest before it; None if none is left."""
        if not self.is_on:
            return None
        with self._lock:
            found = [jpeg for at_s, jpeg in self._kept if at_s <= time_s]
        return found[-1] if found else None
