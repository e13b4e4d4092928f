"""Bounded, counted mailboxes: how things go from thread to thread.

Any thread may put, one thread takes. A mailbox of capacity 1 that is filled with `put` is the newest-wins
kind: it holds the latest item and counts what was overwritten. Every wait is bounded; after `close` nothing
goes in, what is left can still be taken, and then `take` says so by returning nothing with `is_drained` true.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A first-in-first-out queue of at most `capacity` items.

    num_put: items accepted so far. num_dropped: items lost because nobody took them in time. waited_s: for how long
    the taker has waited, in all.
    """

    def __init__(self, capacity: int, *, name: str):
        assert capacity >= 1, "a mailbox holds at least one item"
        self.name = name
        self.capacity = capacity
        self.num_put = 0
        self.num_dropped = 0
        self.waited_s = 0.0
        self._items: deque[T] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> bool:
        """Add an item without ever waiting; a full mailbox drops its oldest. False when closed."""
        with self._changed:
            if self._closed:
                return False
            if len(self._items) == self.capacity:
                self._make_room()
                self.num_dropped += 1
            self._add(item)
            return True

    def put_wait(self, item: T, *, timeout_s: float) -> bool:
        """Add an item, waiting up to timeout_s seconds for room. False when closed or still full: not added."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self.capacity, timeout_s)
            if self._closed or len(self._items) == self.capacity:
                return False
            self._add(item)
            return True

    def note_lost(self, count: int) -> None:
        """Count items that were lost on their way here."""
        with self._changed:
            self.num_dropped += count

    def take(self, *, timeout_s: float) -> T | None:
        """The oldest item, or None when none came within timeout_s seconds or the mailbox is closed and empty."""
        items = self.take_many(1, timeout_s=timeout_s)
        return items[0] if items else None

    def take_many(self, limit: int, *, timeout_s: float) -> list[T]:
        """What has queued, oldest first, at most `limit`; waits up to timeout_s seconds for the first one only."""
        with self._changed:
            if not (self._closed or self._items) and timeout_s > 0:
                since_s = time.monotonic()
                self._changed.wait_for(lambda: self._closed or bool(self._items), timeout_s)
                self.waited_s += time.monotonic() - since_s
            taken = [self._items.popleft() for _ in range(min(limit, len(self._items)))]
            if taken:
                self._changed.notify_all()
            return taken

    def clear(self) -> list[T]:
        """Let go of all that waits, and give it."""
        with self._changed:
            items = list(self._items)
            self._items.clear()
            self._changed.notify_all()
            return items

    def close(self) -> None:
        """Take nothing more in, and wake everybody who waits. Closing twice is fine."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether nothing more can be put in; what is in it can still be taken."""
        return self._closed

    @property
    def is_drained(self) -> bool:
        """Closed, and everything taken: nothing will ever come out again."""
        with self._changed:
            return self._closed and not self._items

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits in it."""
        with self._changed:
            return not self._items

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)

    def _make_room(self) -> None:
        self._items.popleft()

    def _add(self, item: T) -> None:
        self._items.append(item)
        self.num_put += 1
        self._changed.notify_all()


def put_until(mailbox: Mailbox[T], item: T, stop: threading.Event) -> bool:
    """Put an item that must not be lost: wait for room for as long as `stop` is not set. False if it was
    not taken in.
    """
    while not stop.is_set() and not mailbox.is_closed:
        if mailbox.put_wait(item, timeout_s=0.1):
            return True
    return False


def sleep_until(at_s: float, stop: threading.Event) -> bool:
    """Wait until the monotonic second at_s. False if `stop` was set before."""
    while (left_s := at_s - time.monotonic()) > 0:
        if stop.wait(min(left_s, 0.5)):
            return False
    return not stop.is_set()
