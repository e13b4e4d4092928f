"""Small pictures of the last frames, for the journal's lines. The encoder's thread adds them, the main thread takes."""

from __future__ import annotations

import threading
from collections import deque

from assistant.runtime.messages import Frame

MAX_SIDE_PX = 320
JPEG_QUALITY = 70


class Thumbnails:
    """num_kept: more than may wait between the encoder and a reply. They are made only while `switch`ed on."""

    def __init__(self, num_kept: int):
        self._is_on = False
        self._kept: deque[tuple[float, bytes]] = deque(maxlen=num_kept)
        self._lock = threading.Lock()

    def switch(self, *, is_on: bool) -> None:
        """Any thread. What was made before is forgotten with the switching off."""
        with self._lock:
            self._is_on = is_on
            if not is_on:
                self._kept.clear()

    def note(self, frame: Frame) -> None:
        """Keep a small JPEG of a frame, while they are switched on."""
        if not self._is_on:
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
                if self._is_on:
                    self._kept.append((frame.time_s, jpeg.tobytes()))

    def at(self, time_s: float) -> bytes | None:
        """The JPEG of the frame of that time in the stream, or the nearest before it; None if none is left."""
        with self._lock:
            found = [jpeg for at_s, jpeg in self._kept if at_s <= time_s]
        return found[-1] if found else None
