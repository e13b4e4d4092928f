"""The body of the journal's thread: lines in, a commit a second, deletions on request, retention every six hours."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from assistant.journal.writer import FLUSH_EVERY_S, Deleted, Journal, Line
from assistant.mailbox import Mailbox

PURGE_EVERY_S = 6 * 3600.0


@dataclass(frozen=True)
class Forget:
    """A request to the journal's thread: exactly one of the three, as for `Journal.delete`; `done` is called there."""

    done: Callable[[Deleted], None]
    before_unix_s: float | None = None
    ids: tuple[int, ...] | None = None
    everything: bool = False


def run_journal(inbox: Mailbox[Line | Forget], journal: Journal, stop: threading.Event) -> None:
    """The body of the journal's thread: write what comes until `stop` is set or the inbox is drained, then close.

    What is in the inbox when `stop` is set is still written.
    """
    purged_unix_s = -math.inf
    is_last = False
    while not is_last:
        is_last = stop.is_set() or inbox.is_drained
        for item in inbox.take_many(inbox.capacity, timeout_s=0 if is_last else FLUSH_EVERY_S / 4):
            if isinstance(item, Line):
                journal.write(item)
            else:
                item.done(journal.delete(before_unix_s=item.before_unix_s, ids=item.ids, everything=item.everything))
        journal.flush_due()
        if abs(time.time() - purged_unix_s) >= PURGE_EVERY_S:  # abs: the clock may have been put back
            purged_unix_s = time.time()
            journal.purge(purged_unix_s)
    journal.close()
