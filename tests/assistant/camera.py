"""A camera on the network that can be plugged and unplugged, and a bounded wait for what it brings about."""

import socketserver
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import cv2
import numpy as np

from tests.pace import pace


class Camera:
    """Twenty pictures a second as MJPEG over HTTP, from `plug` to `unplug`, always at the same address.

    From `stall` to `go_on` it keeps its connections, and takes new ones, but sends nothing, or a byte now and then.
    """

    def __init__(self) -> None:
        self._plugged, self._stalled = threading.Event(), threading.Event()
        self._trickle = b""
        self._server: socketserver.ThreadingTCPServer | None = None
        with socketserver.TCPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as probe:
            self._port = probe.server_address[1]
        self.address = f"http://127.0.0.1:{self._port}/cam"

    def stall(self, trickle: bytes = b"") -> None:
        self._trickle = trickle
        self._stalled.set()

    def go_on(self) -> None:
        self._stalled.clear()

    def plug(self) -> None:
        plugged, stalled, camera = self._plugged, self._stalled, self
        _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))
        part = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                while plugged.is_set():
                    self.wfile.write(camera._trickle if stalled.is_set() else part + jpeg.tobytes() + b"\r\n")
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


def wait_for(is_true: Callable[[], object], within_s: float) -> float:
    """Seconds until it was true. within_s: on a quiet machine; a busy one has longer."""
    start_s = time.monotonic()
    while not is_true():
        assert time.monotonic() - start_s < within_s * pace(), f"not within {within_s} s"
        time.sleep(0.02)
    return time.monotonic() - start_s
