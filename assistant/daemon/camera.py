"""The camera: open, or not, as the user has it and the computer is awake; and whether pictures are kept."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from assistant.daemon.modes import ModesFile
from assistant.daemon.watching import Watching
from assistant.runtime.asker import Asker
from assistant.runtime.mailbox import Mailbox

NUM_PAUSES_QUEUED = 64
SLEEP_S = 3.0
PAUSE_S = 4.0
"""So long a pause may take to close the camera before the user is told that it is still open."""


@dataclass(frozen=True)
class _Paused:
    """A pause is to be answered once the camera is closed. until_s: or when that has lasted too long."""

    asker: Asker
    until_s: float


class Camera:
    """Any thread, but for `answer_pauses`."""

    def __init__(self, watching: Watching, modes: ModesFile, stop: threading.Event):
        self._watching, self._modes, self._stop = watching, modes, stop
        self._pauses = Mailbox[_Paused](NUM_PAUSES_QUEUED, name="pauses")
        self._is_asleep, self._lock = False, threading.Lock()

    @property
    def is_asleep(self) -> bool:
        """Whether the computer is about to sleep, or does."""
        return self._is_asleep

    @property
    def is_to_be_closed(self) -> bool:
        """Whether somebody wants it closed now; it may still be about to."""
        return self._modes.now.paused or self._is_asleep

    def follow(self) -> None:
        """Have the camera opened or closed, and pictures kept or not, as it is wanted now."""
        with self._lock:  # the last one in acts on what is so by then
            pipeline, privacy = self._watching.pipeline, self._watching.config.privacy
            if pipeline is None:
                return
            keeps = privacy.journal and privacy.thumbnails and not self._modes.now.private
            pipeline.thumbnails.switch(is_on=keeps)
            if self.is_to_be_closed:
                pipeline.keeper.pause()
            elif pipeline.keeper.is_paused:
                pipeline.keeper.resume()

    def answer_when_closed(self, asker: Asker) -> None:
        """The answer to a pause: once the camera is closed, or has not been for PAUSE_S."""
        if self._watching.is_camera_closed:
            asker.done()
        elif not self._pauses.put_wait(_Paused(asker, time.monotonic() + PAUSE_S), timeout_s=0):
            asker.error("busy", "paused, but much is going on", "see `onlooker status`", 3)

    def answer_pauses(self) -> None:
        """Those that wait. Called often, by the main thread."""
        now_s = time.monotonic()
        for pause in self._pauses.take_many(NUM_PAUSES_QUEUED, timeout_s=0):
            if self._watching.is_camera_closed:
                pause.asker.done()
            elif not self._modes.now.paused:
                pause.asker.error("failed", "it was resumed before the camera was closed", "", 1)
            elif now_s > pause.until_s:
                pause.asker.error("failed", "the camera is still open: its driver hangs", "see `onlooker status`", 1)
            else:
                self._pauses.put(pause)

    def before_sleep(self) -> None:
        """The computer is about to sleep: let the camera go, and wait until it is, for SLEEP_S at most."""
        self._is_asleep = True
        until_s = time.monotonic() + SLEEP_S
        while time.monotonic() < until_s:
            self.follow()
            if self._watching.is_camera_closed or self._stop.wait(0.05):
                return

    def after_sleep(self) -> None:
        """Take it again, unless the user had closed it."""
        self._is_asleep = False
        self.follow()
