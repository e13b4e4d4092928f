"""The body of the journal's thread: lines in, a commit a second, deletions on request, retention every six hours."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from assistant.config.keys import PrivacySection
from assistant.journal.file import JournalError
from assistant.journal.reading import entries
from assistant.journal.writer import FLUSH_EVERY_S, Deleted, Journal, JournalLine
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.threads import STOP_TIMEOUT_S, make_thread

log = logging.getLogger("onlooker.journal")

PURGE_EVERY_S = 6 * 3600.0
NUM_LINES_QUEUED = 256
STEADY_S, STEP_S = 3600.0, 120.0
"""A clock that was not put by more than STEP_S for so long is believed."""

RECENT_S = 3 * 86400.0


@dataclass(frozen=True)
class Forget:
    """A request to the journal's thread: exactly one of the three, as for `Journal.delete`; `done` is called there."""

    done: Callable[[Deleted], None]
    before_unix_s: float | None = None
    ids: tuple[int, ...] | None = None
    everything: bool = False


class JournalThread:
    """The journal that the configuration wants, and its thread. One thread uses `apply` and `close`, any may `keep`."""

    def __init__(self, path: Path):
        self.path = path
        self._inbox: Mailbox[JournalLine | Forget] | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_on(self) -> bool:
        """Whether lines are kept."""
        return self._inbox is not None

    @property
    def has_died(self) -> bool:
        """Whether it is on, and yet nobody writes."""
        return self._thread is not None and not self._thread.is_alive()

    def apply(self, section: PrivacySection) -> None:
        """Begin, end, or go on with another retention. Raises JournalError."""
        self.close()
        if not section.journal:
            return
        journal = Journal.open(self.path, section.retention_days)
        inbox = Mailbox[JournalLine | Forget](NUM_LINES_QUEUED, name="journal")
        self._thread = make_thread("journal", lambda: run_journal(inbox, journal))
        self._thread.start()
        self._inbox = inbox

    def keep(self, line: JournalLine) -> None:
        """Never waits: what comes while NUM_LINES_QUEUED are not yet written is lost, and said."""
        inbox = self._inbox
        if inbox is not None and not inbox.put_wait(line, timeout_s=0):
            log.warning("a line was not kept: the journal's file is too slow")

    def forget(self, request: Forget) -> bool:
        """Have lines deleted; never waits. False: there is no journal, or too much waits already. Any thread."""
        inbox = self._inbox
        return inbox is not None and inbox.put_wait(request, timeout_s=0)

    def close(self) -> None:
        """Write what is still to be written, within STOP_TIMEOUT_S."""
        inbox, thread, self._inbox, self._thread = self._inbox, self._thread, None, None
        if inbox is not None and thread is not None:
            inbox.close()
            thread.join(STOP_TIMEOUT_S)


def _do(journal: Journal, item: JournalLine | Forget) -> None:
    if isinstance(item, JournalLine):
        journal.write(item)
        return
    deleted = Deleted(0, is_done=False, is_gone=False)
    try:
        deleted = journal.delete(before_unix_s=item.before_unix_s, ids=item.ids, everything=item.everything)
    finally:
        item.done(deleted)


def run_journal(inbox: Mailbox[JournalLine | Forget], journal: Journal) -> None:
    """The body of the journal's thread: write what comes until the inbox is drained, then close."""
    calendar, purged_s = Calendar(is_trusted=_follows(journal.path, time.time())), -math.inf
    is_last = False
    try:
        while not is_last:
            is_last = inbox.is_drained
            for item in inbox.take_many(inbox.capacity, timeout_s=0 if is_last else FLUSH_EVERY_S / 4):
                try:
                    _do(journal, item)
                except Exception:  # a fault of ours costs a line, not the journal
                    log.exception("a line was not kept, or not deleted")
            try:
                journal.flush_due()
                now_unix_s, now_s = time.time(), _running_s()
                if calendar.note(now_unix_s, now_s) and now_s - purged_s >= PURGE_EVERY_S:
                    purged_s = now_s
                    journal.purge(now_unix_s)
                if calendar.step_s:
                    journal.note_step(calendar.step_s, now_unix_s)
            except Exception:
                log.exception("the journal was not looked after")
    finally:
        journal.close()  # whatever ends the thread: another one is to have the file


class Calendar:
    """Whether the clock on the wall can be trusted to delete by. Pure.

    A computer that starts with a wrong date is put right after a while; until then everything would seem to be too old.
    """

    def __init__(self, *, is_trusted: bool):
        self._is_trusted = is_trusted  # from the start, until it is put
        self._offset_s: float | None = None
        self._since_s = 0.0
        self.step_s = 0.0  # by how much the clock had been put before the latest `note`, 0 if it had not

    def note(self, now_unix_s: float, now_s: float) -> bool:
        """True once both clocks have gone alike for STEADY_S. now_unix_s: the wall's; now_s: monotonic."""
        offset_s, self.step_s = now_unix_s - now_s, 0.0
        if self._offset_s is None or abs(offset_s - self._offset_s) > STEP_S:
            self._is_trusted = self._is_trusted and self._offset_s is None
            self.step_s = 0.0 if self._offset_s is None else offset_s - self._offset_s
            self._offset_s, self._since_s = offset_s, now_s
        return self._is_trusted or now_s - self._since_s >= STEADY_S


def _running_s() -> float:
    """Seconds that no hand can put; where the system has such a clock, one that goes on while the computer sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


def _follows(path: Path, now_unix_s: float) -> bool:
    """Whether the newest line is of the last days, or there is none: then the date is right, by all that is known."""
    try:
        newest = entries(path, limit=1, newest_first=True)
    except JournalError:
        return False
    return not newest or 0 <= now_unix_s - newest[0].at_unix_s <= RECENT_S
