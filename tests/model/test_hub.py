"""The model hub as a source: the real client against a small hub of our own on the loopback interface."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REVISION = "5" * 40
FILES = {"config.json": b'{"width": 3}', "model.bin": bytes(range(256)) * 120_000}  # three of the client's 10 MB pieces


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers what the client asks for one repository, `ann/small`; ranges too, so that downloads can go on."""

    ranges: list[str] = []  # noqa: RUF012 - one list for all requests of a server, reset by the fixture
    breaks_off_once = False

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the output belongs to the tests."""

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        if self.path.startswith("/api/models/ann/small"):
            facts = {
                "_id": "1",
                "id": "ann/small",
                "sha": REVISION,
                "siblings": [{"rfilename": name} for name in FILES],
            }
            listing = [{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in FILES.items()]
            body = json.dumps(listing if "/tree/" in self.path else facts).encode()
            return self.send(200, body, {"Content-Type": "application/json"}, with_body)
        name = self.path.rsplit("/", 1)[-1].split("?")[0]
        if not self.path.startswith("/ann/small/resolve/") or name not in FILES:
            return self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)
        data = FILES[name]
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": REVISION, "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range")
        if not wanted:
            return self.send(200, data, headers, with_body)
        Hub.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").split("-")[0])
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self.send(206, data[start:], headers, with_body)

    def send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body and Hub.breaks_off_once and len(body) > 10_000:
            Hub.breaks_off_once = False
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif with_body:
            self.wfile.write(body)


@pytest.fixture
def endpoint() -> Iterator[str]:
    Hub.ranges.clear()
    Hub.breaks_off_once = False
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(timeout=10)


def run(script: str, endpoint: str, tmp_path: Path) -> str:
    """Run a script in a fresh process whose hub is ours; the client reads its environment when imported."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "hub"),
        "ONLOOKER_DATA": str(tmp_path / "data"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
    }
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_repository_is_fetched_whole_and_then_present_without_the_hub(endpoint: str, tmp_path: Path) -> None:
    fetch = "from model import weights; print(weights.ensure('ann/small')); assert weights.is_present('ann/small')"
    folder = Path(run(fetch, endpoint, tmp_path))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert run(fetch, "http://127.0.0.1:9", tmp_path) == str(folder)


def test_a_download_that_breaks_off_goes_on_where_it_stopped(endpoint: str, tmp_path: Path) -> None:
    Hub.breaks_off_once = True
    folder = Path(run("from model import weights; print(weights.ensure('ann/small'))", endpoint, tmp_path))
    assert (folder / "model.bin").read_bytes() == FILES["model.bin"]
    (wanted,) = Hub.ranges
    assert int(wanted.removeprefix("bytes=").split("-")[0]) > 0


def test_the_hub_stands_in_for_the_package_index(endpoint: str, tmp_path: Path) -> None:
    data = FILES["model.bin"]
    script = f"""
        from model import weights
        from model.catalog import HubFile, Weights

        weights.CATALOG["small"] = Weights(
            name="small", what="", package="no-such-package", version="1.0", member="small/model.bin",
            size_bytes={len(data)}, sha256="{hashlib.sha256(data).hexdigest()}", licence="MIT", converter="as-it-is",
            package_bytes=1, converted_bytes={len(data)}, hub=HubFile("ann/small", "{REVISION}", "model.bin"),
        )
        print(weights.ensure("small"))
        assert weights.verify("small") == []
    """
    folder = Path(run(script, endpoint, tmp_path))
    assert (folder / "model.bin").read_bytes() == data
    assert json.loads((folder / "manifest.json").read_text())["origin"] == f"ann/small@{REVISION}"
