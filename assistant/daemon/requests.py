"""What the control socket asks of the daemon, a method for each request. All run in the server's thread, and return
at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from assistant.control.requests import Handler
from assistant.errors import OutputError
from assistant.journal.thread import Forget
from assistant.journal.writer import Deleted
from assistant.mind.standing import LASTS_S
from assistant.runtime.asker import Asker
from assistant.runtime.threads import make_thread

if TYPE_CHECKING:
    from assistant.daemon.service import Service
    from assistant.machine.devices import Device

MAX_LASTS_S = 366 * 86400.0

log = logging.getLogger("onlooker.requests")


class Requests(Handler):
    """They set the service's flags, put what is asked into its mailboxes, and read."""

    def __init__(self, service: Service):
        self._service = service
        self._lock = threading.Lock()
        self._asked_for_devices: list[Asker] = []  # at most what all clients may have open

    def status(self, asker: Asker) -> None:
        asker.done(self._service.facts())

    def devices(self, asker: Asker) -> None:
        """One look at a time: who asks meanwhile gets what it finds."""
        with self._lock:
            self._asked_for_devices.append(asker)
            if len(self._asked_for_devices) > 1:
                return
        try:
            make_thread("devices", self._list_devices).start()
        except RuntimeError as error:  # the system has no room for another thread
            self._answer_devices(f"the devices cannot be listed: {error}", {})

    def _list_devices(self) -> None:
        from assistant.machine.devices import list_all

        found, failure = {}, ""
        try:
            found = list_all()
        except Exception as error:  # whatever a driver raises: the clients wait
            log.exception("the devices cannot be listed")
            failure = f"the devices cannot be listed: {error}"
        self._answer_devices(failure, found)

    def _answer_devices(self, failure: str, found: Mapping[str, list[Device]]) -> None:
        with self._lock:
            asked, self._asked_for_devices = self._asked_for_devices, []
        for asker in asked:
            if failure:
                asker.error("failed", failure, "see the log")
            else:
                asker.done({kind: [asdict(device) for device in devices] for kind, devices in found.items()})

    def ask(self, text: str, asker: Asker) -> None:
        self._service.ask(text, asker)

    def say(self, text: str, asker: Asker) -> None:
        self._service.have_said(text, asker)

    def listen(self, asker: Asker) -> None:
        self._service.hearing.listen(asker)

    def standing(self, query: Mapping[str, Any], asker: Asker) -> None:
        """As `protocol.Standing` says."""
        watchlist, text, number = self._service.watchlist, query.get("add"), query.get("cancel")
        lasts_s = query.get("lasts_s", LASTS_S)
        if text is not None:
            if not isinstance(text, str) or not isinstance(lasts_s, int | float) or not 0 < lasts_s <= MAX_LASTS_S:
                asker.error("invalid", "what is to be told is not said", "give a text, and for how long", 2)
                return
            try:
                watchlist.add(text, repeats=query.get("each_time") is True, lasts_s=float(lasts_s))
            except ValueError as error:
                asker.error("invalid", str(error), "", 2)
                return
        elif number is not None and not watchlist.cancel(None if number == "all" else int(number)):
            asker.error("invalid", f"there is no request {number}", "`onlooker watch-for` shows them", 2)
            return
        asker.done({"standing": [asdict(item) for item in watchlist.list()], "trouble": watchlist.trouble})

    def log(self, query: Mapping[str, Any], asker: Asker) -> None:
        """Deletes lines: {"ids": [numbers]}, or {"everything": true}."""
        ids, is_all = query.get("ids"), query.get("everything") is True
        is_list = isinstance(ids, list) and all(type(number) is int for number in ids)
        if is_all == is_list:
            asker.error("invalid", "what is to be deleted is not said", "give ids, or everything", 2)
            return

        def done(deleted: Deleted) -> None:
            if deleted.is_done:
                asker.done({"num_entries": deleted.num_entries, "is_gone": deleted.is_gone})
            else:
                asker.error("failed", "nothing was deleted: the journal cannot be written", "see the log")

        journal = self._service.journal
        if journal is None or not journal.is_on:
            asker.error("failed", "the daemon keeps no journal", "stop it, and delete then", 3)
        elif not journal.forget(Forget(done, ids=tuple(ids) if isinstance(ids, list) else None, everything=is_all)):
            asker.error("busy", "nothing was deleted: much waits to be written already", "try again in a moment", 3)

    def pause(self, asker: Asker) -> None:
        """Answered when the camera is closed, not before."""
        self._switch(asker, self._service.camera.answer_when_closed, paused=True)

    def resume(self, asker: Asker) -> None:
        self._switch(asker, paused=False)

    def private(self, is_on: bool, asker: Asker) -> None:
        self._switch(asker, private=is_on)

    def mute(self, asker: Asker) -> None:
        self._switch(asker, muted=True)

    def unmute(self, asker: Asker) -> None:
        self._switch(asker, muted=False)

    def reload(self, asker: Asker) -> None:
        if not self._service.reload(asker):
            asker.error("busy", "the configuration is being read already", "try again in a moment", 3)

    def stop(self, asker: Asker) -> None:
        asker.done()
        self._service.stop_soon()

    def _switch(self, asker: Asker, done: Callable[[Asker], object] | None = None, **changes: bool) -> None:
        try:
            self._service.switch(**changes)
        except OutputError as error:  # switched it is, all the same
            log.warning("%s", error)
            asker.error("failed", str(error), exit_code=error.exit_code)
        else:
            if done is None:
                asker.done()
            else:
                done(asker)
