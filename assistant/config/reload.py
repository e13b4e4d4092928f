"""The configuration's file under a running daemon: whether it was edited, and what of it can change without a restart.

One thread polls it: the daemon's main one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from assistant.config.keys import Config
from assistant.config.settings import Settings
from assistant.errors import ConfigError

POLL_S = 1.0
AT_NEXT_START = ("model.", "metrics.")
"""Keys, by how they begin, that a running daemon does not take over."""


class ConfigFile:
    """read: everything anew, as at the start, the command line included; may raise ConfigError.

    usual: where the file would lie, if there is none yet.
    """

    def __init__(self, read: Callable[[], Settings], settings: Settings, usual: Path):
        self._read, self._usual = read, usual
        self._path = settings.path or usual
        self._seen = self._signature()
        self._polled_s = time.monotonic()

    def poll(self, *, now: bool = False) -> Config | None:
        """The configuration, if the file was edited since the last time; asks the disk at most every POLL_S.

        now: read it at any rate. Raises ConfigError, once for each edit: what was in effect stays so.
        """
        now_s = time.monotonic()
        if not now and now_s - self._polled_s < POLL_S:
            return None
        self._polled_s = now_s
        signature = self._signature()
        if signature == self._seen and not now:
            return None
        self._seen = signature
        if signature is None and self._path != self._usual:
            raise ConfigError([f"{self._path}: is gone; what it said stays in effect until the next start"])
        settings = self._read()
        path = settings.path or self._usual
        if path != self._path:
            self._path = path
            self._seen = self._signature()
        return settings.config

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def changes(old: Config, new: Config) -> dict[str, object]:
    """The keys that differ, as "section.key", with their new values; None for a name of [sources] that is gone."""
    before, after = old.model_dump(), new.model_dump()
    return {
        f"{section}.{key}": keys.get(key)
        for section, keys in after.items()
        for key in {**before[section], **keys}
        if before[section].get(key) != keys.get(key)
    }


def waits_for_a_start(changed: Mapping[str, object]) -> list[str]:
    """Those of the changed keys that only the next start takes over."""
    return [key for key in changed if key.startswith(AT_NEXT_START)]
