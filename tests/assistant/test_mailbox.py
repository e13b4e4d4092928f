"""Bounded, counted, closable; nobody waits for ever."""

import threading
import time

from assistant.runtime.mailbox import Mailbox, put_until
from tests.pace import pace


def test_items_come_out_in_order():
    box = Mailbox[int](4, name="box")
    for item in range(3):
        assert box.put(item)
    assert box.take_many(2, timeout_s=0) == [0, 1]
    assert box.take(timeout_s=0) == 2
    assert box.num_put == 3
    assert box.num_dropped == 0


def test_full_mailbox_drops_its_oldest_and_counts():
    box = Mailbox[int](2, name="box")
    for item in range(5):
        box.put(item)
    assert box.take_many(9, timeout_s=0) == [3, 4]
    assert box.num_dropped == 3


def test_capacity_one_keeps_the_newest():
    box = Mailbox[str](1, name="box")
    for item in "abc":
        box.put(item)
    assert box.take(timeout_s=0) == "c"
    assert box.num_dropped == 2


def test_put_wait_gives_up_after_its_time_and_loses_nothing():
    box = Mailbox[int](1, name="box")
    box.put(1)
    start_s = time.monotonic()
    assert not box.put_wait(2, timeout_s=0.1)
    assert 0.09 < time.monotonic() - start_s < 1 * pace()
    assert box.take_many(9, timeout_s=0) == [1]
    assert box.num_dropped == 0


def test_closed_mailbox_gives_what_is_left_then_nothing():
    box = Mailbox[int](4, name="box")
    box.put(1)
    box.close()
    assert not box.put(2)
    assert not box.put_wait(2, timeout_s=5)
    assert not box.is_drained
    assert box.take(timeout_s=5) == 1
    assert box.is_drained
    start_s = time.monotonic()
    assert box.take(timeout_s=5) is None
    assert time.monotonic() - start_s < 1 * pace()


def test_close_wakes_a_taker_and_a_putter():
    full, empty = Mailbox[int](1, name="full"), Mailbox[int](1, name="empty")
    full.put(1)
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda: results.append(full.put_wait(2, timeout_s=30))),
        threading.Thread(target=lambda: results.append(empty.take(timeout_s=30))),
    ]
    for thread in threads:
        thread.start()
    full.close()
    empty.close()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert sorted(map(str, results)) == ["False", "None"]


def test_backpressure_loses_nothing_between_two_threads():
    box = Mailbox[int](3, name="box")
    stop = threading.Event()

    def fill() -> None:
        for item in range(500):
            assert put_until(box, item, stop)
        box.close()

    thread = threading.Thread(target=fill)
    thread.start()
    taken: list[int] = []
    while not box.is_drained:
        taken += box.take_many(2, timeout_s=1)
    thread.join(30)
    assert taken == list(range(500))
    assert box.num_dropped == 0


def test_put_until_ends_when_told_to_stop():
    box = Mailbox[int](1, name="box")
    box.put(1)
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    start_s = time.monotonic()
    assert not put_until(box, 2, stop)
    assert time.monotonic() - start_s < 2 * pace()
