"""Network cameras that send JPEG after JPEG, with all that people have put between them."""

import contextlib
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import cv2
import numpy as np
import pytest

from assistant.capture.source import parse_source
from assistant.capture.worker import run_capture
from assistant.errors import MediaError
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.messages import Frame

NUM_WATCHED, MAX_PICTURES = 15, 2000
GRAIN = np.random.default_rng(0).integers(0, 40, (96, 128, 3), np.uint8)  # a real picture takes some bytes
HEAD = "Content-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n"
Part = Callable[[int, bytes], bytes]


def after(boundary: str, head: str = HEAD, *, has_first: bool = True, end: str = "\r\n") -> Part:
    """Pictures behind a boundary and a head; perhaps not the first one."""

    def part(index: int, jpeg: bytes) -> bytes:
        line = boundary if index or has_first else ""
        return (line + head.format(len(jpeg))).encode() + jpeg + end.encode()

    return part


CAMERAS: dict[str, tuple[str, Part]] = {
    "as it should be": ("boundary=frame", after("--frame\r\n")),
    "no first boundary": ("boundary=frame", after("--frame\r\n", has_first=False)),
    "no first boundary nor length": ("boundary=frame", after("--frame\r\n", HEAD[:26] + "\r\n\r\n", has_first=False)),
    "quoted boundary": ('boundary="frame"', after("--frame\r\n")),
    "boundary with its dashes": ("boundary=--frame", after("--frame\r\n")),
    "dashes twice": ("boundary=--frame", after("----frame\r\n")),
    "no length": ("boundary=frame", after("--frame\r\n", "Content-Type: image/jpeg\r\n\r\n")),
    "line feeds": ("boundary=frame", after("--frame\n", HEAD.replace("\r", ""), end="\n")),
    "another boundary": ("boundary=other", after("--frame\r\n")),
    "no boundary named": ("", after("--frame\r\n")),
    "something before": (
        "boundary=frame",
        lambda i, jpeg: (b"" if i else b"\r\nhello\r\n") + after("--frame\r\n")(i, jpeg),
    ),
    "nothing between": ("boundary=frame", lambda _, jpeg: jpeg),
}


def watch(content_type: str, part: Part) -> list[int]:
    """How bright the first pictures are that come from a camera that sends 0, 5, 10, … as long as somebody looks."""

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            with contextlib.suppress(OSError):
                for index in range(MAX_PICTURES):
                    _, jpeg = cv2.imencode(".jpg", GRAIN + np.uint8(min(index, 40) * 5))
                    self.wfile.write(part(index, jpeg.tobytes()))
                    time.sleep(0.02)

        def log_message(self, format: str, *args: object) -> None:
            pass

    frames, stop = Mailbox[Frame](NUM_WATCHED, name="frames"), threading.Event()

    def look() -> None:
        while frames.num_put < NUM_WATCHED and not stop.wait(0.02):
            pass
        stop.set()

    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        threading.Thread(target=look, daemon=True).start()
        source = parse_source(f"http://127.0.0.1:{server.server_address[1]}/cam")
        try:
            run_capture(source, frames, lambda event: None, stop, fps=30, timeout_s=10, lossless=True)
        finally:
            stop.set()
            server.shutdown()
    return [int(frame.pixels.mean()) for frame in frames.take_many(NUM_WATCHED, timeout_s=0)]


@pytest.mark.parametrize(("boundary", "part"), CAMERAS.values(), ids=CAMERAS.keys())
def test_what_browsers_play_is_watched(boundary, part):
    shades = watch(f"multipart/x-mixed-replace; {boundary}".rstrip("; "), part)
    assert len(shades) == NUM_WATCHED
    assert all(later >= earlier - 1 for earlier, later in pairwise(shades))
    assert shades[-1] > shades[0] + 20


def test_a_page_for_people_is_still_no_video(tmp_path):
    (tmp_path / "login.html").write_text("<html>Please log in</html>" * 1000)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        source = parse_source(f"http://127.0.0.1:{server.server_address[1]}/login.html")
        frames = Mailbox[Frame](1, name="frames")
        with pytest.raises(MediaError, match="not a video that can be read"):
            run_capture(source, frames, lambda event: None, threading.Event(), fps=30, timeout_s=10, lossless=True)
        server.shutdown()
