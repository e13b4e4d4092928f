"""A camera that speaks https with a certificate of its own."""

import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from assistant.capture.source import source_of
from assistant.capture.worker import run_capture
from assistant.config.keys import CaptureSection
from assistant.errors import SourceMissing
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.messages import Frame


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate for "localhost", signed by itself, in one file."""
    path = tmp_path / "camera.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(path), "-out", str(tmp_path / "only.pem")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    path.write_text(path.read_text() + (tmp_path / "only.pem").read_text())
    return path


@pytest.fixture
def address(make_video, certificate: Path, tmp_path: Path) -> Iterator[str]:
    make_video("clip.mp4", seconds=2)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, directory=str(tmp_path), **named)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"https://localhost:{server.server_address[1]}/clip.mp4"
    server.shutdown()
    server.server_close()


def watch(address: str, *, tls_verify: bool = True) -> int:
    frames = Mailbox[Frame](100, name="frames")
    source = source_of(CaptureSection(source=address, tls_verify=tls_verify), {})
    run_capture(source, frames, lambda event: None, threading.Event(), fps=2, timeout_s=5, lossless=True)
    return frames.num_put


def test_a_certificate_that_nobody_vouches_for_is_refused_by_name_of_the_key_that_allows_it(address):
    with pytest.raises(
        SourceMissing, match=r"certificate is not trusted \(self.signed certificate\).*tls_verify = false"
    ):
        watch(address)
    assert watch(address, tls_verify=False) == 4


def test_a_certificate_that_this_machine_trusts_is_fine(address, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("only.pem")))
    assert watch(address) == 4


def test_an_http_address_that_leads_to_a_certificate_nobody_vouches_for_is_refused_too(address):
    class Elsewhere(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", address)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        named = f"http://localhost:{server.server_address[1]}/clip.mp4"
        with pytest.raises(SourceMissing, match=r"certificate is not trusted .*tls_verify = false"):
            watch(named)
        assert watch(named, tls_verify=False) == 4
        server.shutdown()
