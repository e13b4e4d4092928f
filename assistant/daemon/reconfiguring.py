"""Edits of the configuration while the daemon runs: all of an edit takes effect, or nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from assistant.capture.source import source_of
from assistant.config.keys import Config
from assistant.config.reload import ConfigFile, changes, waits_for_a_start
from assistant.daemon.camera import Camera
from assistant.daemon.keeping import Keeping
from assistant.daemon.parts import Parts
from assistant.daemon.watching import Watching
from assistant.errors import WorkerFailed
from assistant.runtime.asker import Asker
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.states import State
from model.errors import OnlookerError

if TYPE_CHECKING:
    from model.videolm import VideoLM

NUM_RELOADS_QUEUED = 16


class Reconfiguring:
    """Main thread, but for `ask_for`. file: None where no edit is to take effect. config: what it says now."""

    def __init__(
        self,
        file: ConfigFile | None,
        config: Config,
        model: VideoLM,
        watching: Watching,
        keeping: Keeping,
        camera: Camera,
        parts: Parts,
    ):
        self._file, self._model = file, model
        self._watching, self._keeping, self._camera, self._parts = watching, keeping, camera, parts
        self._asked: Mailbox[Asker] = Mailbox(NUM_RELOADS_QUEUED, name="reloads")
        self._in_file = self._started_with = config  # as it stands in the file: now, and when this process began

    def ask_for(self, asker: Asker) -> bool:
        """Read the file anew, and answer then. False: too many have asked already. Any thread."""
        return self._file is not None and self._asked.put_wait(asker, timeout_s=0)

    def look(self) -> None:
        """Take over what was edited, and answer those who asked for it. Raises WorkerFailed."""
        if self._file is None:
            return
        asked = self._asked.take_many(NUM_RELOADS_QUEUED, timeout_s=0)
        try:
            config = self._file.poll(now=bool(asked))
            if config is None:
                return
            changed = changes(self._in_file, config)
            self._apply(config, changed)
            self._in_file = config
        except WorkerFailed:
            raise
        except OnlookerError as error:  # a mistake of the user's
            waiting = self._waiting_keys()
            self._parts.tell("config", State.FAILED, f"{error}; {_waits(waiting)}" if waiting else str(error))
            for asker in asked:
                asker.error("failed", str(error), "the old values stay in effect", error.exit_code)
            return
        waiting = self._waiting_keys()
        self._parts.tell("config", State.IN_EFFECT, _waits(waiting))
        for asker in asked:
            asker.done({"changed": sorted(changed), "at_next_start": waiting})

    def _apply(self, config: Config, changed: Mapping[str, object]) -> None:
        """What can be wrong with it comes first, so that after an OnlookerError the old values still hold."""
        from assistant.mind.opening import check_stream

        is_elsewhere = any(key.startswith(("capture.source", "capture.tls", "sources.")) for key in changed)
        source = source_of(config.capture, config.sources) if is_elsewhere else self._watching.source
        config = self._watching.reduced(config, changed)
        check_stream(self._model, config.stream)
        self._keeping.apply(self._watching.config, config)
        self._watching.take_over(source, config, changed)
        self._camera.follow()

    def _waiting_keys(self) -> list[str]:
        return waits_for_a_start(changes(self._started_with, self._in_file))


def _waits(keys: list[str]) -> str:
    return f"{', '.join(keys)}: at the next start" if keys else ""
