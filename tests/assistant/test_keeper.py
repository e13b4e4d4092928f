"""A camera on the network that comes and goes, through the real reader: noticed, said once, and watched again."""

import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psutil
import pytest

from assistant.capture.keeper import Keeper
from assistant.capture.source import parse_source
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.messages import Event, Frame, Opened, Status
from tests.assistant.camera import Camera, wait_for
from tests.pace import pace


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera()
    yield camera
    camera.unplug()


@contextmanager
def watching(source: str) -> Iterator[tuple[Keeper, Mailbox[Frame], list[Event]]]:
    frames, events, stop = Mailbox[Frame](1000, name="frames"), [], threading.Event()
    keeper = Keeper(parse_source(source), frames, events.append, fps=10, timeout_s=2)
    thread = threading.Thread(target=keeper.run, args=(stop,))
    thread.start()
    try:
        yield keeper, frames, events
    finally:
        stop.set()
        keeper.wake()
        thread.join(5 * pace())
        assert not thread.is_alive()
        assert frames.is_closed
        assert not multiprocessing.active_children()


def states(events: list[Event]) -> list[str]:
    return [event.state for event in events if isinstance(event, Status)]


def test_a_source_that_comes_and_goes_is_watched_again(camera):
    camera.plug()
    with watching(camera.address) as (keeper, frames, events):
        wait_for(lambda: len(frames) > 3, 30)
        num_threads, num_fds = threading.active_count(), psutil.Process().num_fds()
        last_before_a_loss = []
        for _ in range(3):
            camera.unplug()
            wait_for(lambda: keeper.state == "lost", 3)
            count = frames.num_put
            last_before_a_loss.append(count - 1)
            time.sleep(0.3)
            assert frames.num_put == count
            camera.plug()
            wait_for(lambda before=count: frames.num_put > before, 10)
            wait_for(lambda: keeper.state == "ready", 1)
        assert threading.active_count() <= num_threads + 1
        assert psutil.Process().num_fds() <= num_fds + 2
    assert states(events) == ["ready", *["lost", "ready"] * 3]
    assert sum(isinstance(event, Opened) for event in events) == 4
    seen = frames.take_many(1000, timeout_s=0)
    assert [frame.index for frame in seen] == list(range(len(seen)))
    times_s = [frame.time_s for frame in seen]
    assert times_s == sorted(times_s)
    gaps_s = np.diff(times_s)[last_before_a_loss]
    assert (gaps_s > 0.3).all(), "the time without a picture is in the stream's time"


def test_a_paused_source_is_closed_and_opened_again(camera):
    camera.plug()
    with watching(camera.address) as (keeper, frames, events):
        wait_for(lambda: len(frames) > 3, 30)
        keeper.pause()
        wait_for(lambda: keeper.state == "paused" and not multiprocessing.active_children(), 3)
        count = frames.num_put
        time.sleep(0.5)
        assert frames.num_put == count
        keeper.resume()
        wait_for(lambda: frames.num_put > count, 10)
    assert states(events) == ["ready", "paused", "opening", "ready"]


def test_a_source_that_is_not_there_yet_is_waited_for(camera):
    with watching(camera.address) as (keeper, frames, events):
        wait_for(lambda: keeper.state == "lost", 30)
        time.sleep(3)
        camera.plug()
        wait_for(lambda: frames.num_put, 15)
    assert states(events) == ["lost", "ready"]
    (lost, _) = [event for event in events if isinstance(event, Status)]
    assert camera.address.split("/")[2] in lost.detail


def test_a_file_is_repeated_and_that_is_no_loss(make_video):
    with watching(str(make_video(seconds=1))) as (_, frames, events):
        wait_for(lambda: frames.num_put >= 25, 30)
    assert states(events) == ["ready"]
    seen = frames.take_many(1000, timeout_s=0)
    assert [frame.index for frame in seen] == list(range(len(seen)))


def test_a_source_that_ends_at_once_is_opened_less_and_less_often(make_video):
    opened_s: list[float] = []
    frames, stop = Mailbox[Frame](1000, name="frames"), threading.Event()

    def note(event: Event) -> None:
        if isinstance(event, Opened):
            opened_s.append(time.monotonic())

    source = parse_source(str(make_video(seconds=0.1)))
    keeper = Keeper(source, frames, note, fps=10, timeout_s=2)
    thread = threading.Thread(target=keeper.run, args=(stop,))
    thread.start()
    try:
        wait_for(lambda: len(opened_s) == 7, 60)
    finally:
        stop.set()
        keeper.wake()
        thread.join(5)
    assert opened_s[6] - opened_s[5] >= 2.0
