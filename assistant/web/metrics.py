"""The daemon's figures for Prometheus: http://127.0.0.1:PORT/metrics, for who knows the token.

One thread serves one request after another, each of which may take two seconds at most. Only this machine gets there;
a page in a browser does not, for it has no token, and a request under another host name (DNS rebinding) is refused.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from assistant.errors import OutputError, UsageError
from assistant.runtime.states import State
from assistant.runtime.threads import STOP_TIMEOUT_S, Worker, make_thread
from model.errors import OnlookerError

REQUEST_TIMEOUT_S = 2.0
RETRY_S = 10.0
LOOK_EVERY_S = 5.0
HOSTS = ("127.0.0.1", "localhost")

log = logging.getLogger("onlooker.metrics")

Facts = Callable[[], Mapping[str, Any]]


def read_token(path: Path) -> str:
    """The token in a file of this user's own; the first time it is made. Raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with open(path, "x", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(secrets.token_urlsafe(32) + "\n")
        except FileExistsError:
            path.chmod(0o600)
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: the token for /metrics cannot be kept there: {error}") from None
    if len(token) < 20:
        raise OutputError(f"{path}: holds no token; remove it, and a new one is made")
    return token


class MetricsServer:
    """Use: `start`, `close`. facts: what `status` says; called in the server's thread.

    Raises UsageError if the port is taken.
    """

    def __init__(self, port: int, token: str, facts: Facts):
        registry = CollectorRegistry()
        registry.register(_Figures(facts))
        try:
            self._server = _Server(("127.0.0.1", port), _make_handler(token, registry))
        except OSError as error:
            raise UsageError(f"metrics.port = {port}: cannot be had: {error.strerror}; name another") from None
        self.port = self._server.server_address[1]
        self._thread = make_thread("metrics", self._server.serve_forever)

    @property
    def is_alive(self) -> bool:
        """Whether it has been started, and still serves."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to serve, in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """Within STOP_TIMEOUT_S."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(STOP_TIMEOUT_S)
        self._server.server_close()


class MetricsKeeper(Worker):
    """The server, for as long as the daemon runs: a port that is taken is no reason to end, and is asked for again.

    Use: `start`, `close`. tell: is told (state, detail) when that changes, in the keeper's thread.
    """

    def __init__(
        self,
        port: int,
        token_file: Path,
        facts: Facts,
        tell: Callable[[State, str], object],
        *,
        retry_s: float = RETRY_S,
    ):
        self._port, self._token_file, self._facts, self._tell = port, token_file, facts, tell
        self._retry_s = retry_s
        super().__init__("metrics-keeper", self._work)

    def _work(self) -> None:
        told = ""
        while not self._stop.is_set():
            try:
                self._serve()
                why = "its thread ended"
            except OnlookerError as error:
                why = str(error)
            except Exception as error:  # a fault of ours, or of a library: the daemon goes on without figures
                log.exception("the figures cannot be had")
                why = f"{type(error).__name__}: {error}"
            if self._stop.is_set():
                return
            if why != told:
                told = why
                self._tell(State.FAILED, f"{why}; it is tried again")
            self._stop.wait(self._retry_s)

    def _serve(self) -> None:
        """Until `close`, or the server's thread has ended."""
        server = MetricsServer(self._port, read_token(self._token_file), self._facts)
        try:
            server.start()
            self._tell(State.ON, f"http://127.0.0.1:{server.port}/metrics")
            while server.is_alive and not self._stop.wait(LOOK_EVERY_S):
                pass
        finally:
            server.close()


class _Server(HTTPServer):
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody hung up, or was too slow."""


def _make_handler(token: str, registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    expected = f"Bearer {token}".encode()

    class MetricsHandler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT_S
        server_version, sys_version = "onlooker", ""

        def handle(self) -> None:
            cut = threading.Timer(REQUEST_TIMEOUT_S, self._hang_up)
            cut.start()
            try:
                super().handle()
            finally:
                cut.cancel()

        def _hang_up(self) -> None:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        def do_GET(self) -> None:
            host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
            given = self.headers.get("Authorization", "").encode("utf-8", "replace")
            if host not in HOSTS or self.headers.get("Origin") is not None:
                self._answer(403, b"only this machine's own programs\n", "text/plain")
            elif not hmac.compare_digest(given, expected):
                self._answer(401, b"the token is missing or wrong\n", "text/plain")
            elif self.path != "/metrics":
                self._answer(404, b"only /metrics\n", "text/plain")
            else:
                self._answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)

        def _answer(self, code: int, body: bytes, kind: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    return MetricsHandler


class _Figures(Collector):
    """The facts of one moment as metrics."""

    def __init__(self, facts: Facts):
        self._facts = facts
        self._started_s = time.time()

    def collect(self) -> Iterator[Metric]:
        facts = self._facts()
        for name, text in (
            ("frames", "Frames that were decided"),
            ("dropped", "Frames that nobody looked at"),
            ("remarks", "Remarks that were made"),
            ("restarts", "Times that a part was started again"),
        ):
            yield CounterMetricFamily(f"onlooker_{name}", text, value=facts[name])
        for name, text in (
            ("paused", "1 while the camera is closed"),
            ("private", "1 while nothing is kept"),
            ("muted", "1 while nothing is said aloud"),
            ("full_speed", "1 once all is ready that makes the model fast"),
            ("questions_open", "Questions that wait for an answer"),
        ):
            yield GaugeMetricFamily(f"onlooker_{name}", text, value=float(facts[name]))
        yield GaugeMetricFamily("onlooker_up_seconds", "Since the start", value=facts["up_s"])
        if facts["latency_s"] is not None:
            text = "From the latest frame's capture to its decision"
            yield GaugeMetricFamily("onlooker_latency_seconds", text, value=facts["latency_s"])
        memory = psutil.Process().memory_info().rss
        yield GaugeMetricFamily("onlooker_memory_bytes", "Resident memory of the daemon", value=memory)
        states = GaugeMetricFamily("onlooker_part_state", "1 for the state that a part is in", labels=["part", "state"])
        ages = GaugeMetricFamily("onlooker_part_age_seconds", "Since a part last did its work", labels=["part"])
        for part, about in facts["parts"].items():
            states.add_metric([part, about["state"]], 1)
            if about["age_s"] is not None:
                ages.add_metric([part], about["age_s"])
        yield states
        yield ages
