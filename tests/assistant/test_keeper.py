"""A camera on the network that comes and goes, through the real reader: noticed, said once, and watched again."""

import multiprocessing
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import cv2
import numpy as np
import psutil
import pytest

from assistant.capture.keeper import Keeper
from assistant.capture.source import parse_source
from assistant.mailbox import Mailbox
from assistant.messages import Event, Frame, Opened, Status


class Camera:
    """Twenty pictures a second as MJPEG over HTTP, from `plug` to `unplug`, always at the same address."""

    def __init__(self) -> None:
        self._plugged = threading.Event()
        self._server: socketserver.ThreadingTCPServer | None = None
        with socketserver.TCPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as probe:
            self._port = probe.server_address[1]
        self.address = f"http://127.0.0.1:{self._port}/cam"

    def plug(self) -> None:
        plugged = self._plugged
        _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))
        part = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                while plugged.is_set():
                    self.wfile.write(part + jpeg.tobytes() + b"\r\n")
                    time.sleep(0.05)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

            def handle_error(self, request, client_address) -> None:
                pass  # the reader went away

        plugged.set()
        self._server = Server(("127.0.0.1", self._port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def unplug(self) -> None:
        self._plugged.clear()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera()
    yield camera
    camera.unplug()


@contextmanager
def watching(camera: Camera) -> Iterator[tuple[Keeper, Mailbox[Frame], list[Event]]]:
    frames, events, stop = Mailbox[Frame](1000, name="frames"), [], threading.Event()
    keeper = Keeper(parse_source(camera.address), frames, events.append, fps=10, timeout_s=2)
    thread = threading.Thread(target=keeper.run, args=(stop,))
    thread.start()
    try:
        yield keeper, frames, events
    finally:
        stop.set()
        keeper.wake()
        thread.join(5)
        assert not thread.is_alive()
        assert frames.is_closed
        assert not multiprocessing.active_children()


def wait_for(is_true: Callable[[], object], within_s: float) -> float:
    """Seconds until it was true."""
    start_s = time.monotonic()
    while not is_true():
        assert time.monotonic() - start_s < within_s, f"not within {within_s} s"
        time.sleep(0.02)
    return time.monotonic() - start_s


def states(events: list[Event]) -> list[str]:
    return [event.state for event in events if isinstance(event, Status)]


def test_a_source_that_comes_and_goes_is_watched_again(camera):
    camera.plug()
    with watching(camera) as (keeper, frames, events):
        wait_for(lambda: len(frames) > 3, 30)
        num_threads, num_fds = threading.active_count(), psutil.Process().num_fds()
        for _ in range(3):
            camera.unplug()
            wait_for(lambda: keeper.state == "lost", 3)
            count = frames.num_put
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
    gaps_s = np.diff(times_s)
    assert sum(gaps_s > 0.3) == 3, "the time without a picture is in the stream's time"


def test_a_paused_source_is_closed_and_opened_again(camera):
    camera.plug()
    with watching(camera) as (keeper, frames, events):
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
    with watching(camera) as (keeper, frames, events):
        wait_for(lambda: keeper.state == "lost", 30)
        time.sleep(3)
        camera.plug()
        wait_for(lambda: frames.num_put, 15)
    assert states(events) == ["lost", "ready"]
    (lost, _) = [event for event in events if isinstance(event, Status)]
    assert camera.address.split("/")[2] in lost.detail
