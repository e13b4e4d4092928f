"""The model hub as a source: the real client against a small hub of our own on the loopback interface."""

import contextlib
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
GOLDEN = ROOT / "tests" / "golden_proassist" / "i5"
REVISION = "5" * 40
FILES = {"config.json": b'{"width": 3}', "model.bin": bytes(range(256)) * 120_000}  # three of the client's 10 MB pieces


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers what the client asks for its repositories; ranges too, so that downloads can go on."""

    repositories: dict[str, dict[str, bytes]] = {}  # noqa: RUF012 - of all requests of a server; set by the fixture
    refused: dict[str, tuple[int, str]] = {}  # noqa: RUF012 - by repository: status and error code for its files
    damaged: set[str] = set()  # noqa: RUF012 - files that come otherwise than they are described
    ranges: list[str] = []  # noqa: RUF012
    breaks_off_once = False
    stalls_once: threading.Event | None = None  # set when half of a large file has been sent
    revision = REVISION

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the output belongs to the tests."""

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        path = self.path.split("?")[0].removeprefix("/api/models")
        name = "/".join(path.split("/")[1:3])
        if name not in self.repositories:
            return self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)
        files, is_api = self.repositories[name], self.path.startswith("/api/")
        if name in self.refused and (not is_api or path.endswith("/auth-check")):
            status, code = self.refused[name]
            return self.send(status, b"{}", {"X-Error-Code": code}, with_body)
        if is_api:
            siblings = [{"rfilename": name} for name in files]
            facts = {"_id": "1", "id": name, "sha": self.revision, "siblings": siblings}
            listing = [{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in files.items()]
            body = json.dumps(listing if "/tree/" in path else facts).encode()
            return self.send(200, body, {"Content-Type": "application/json"}, with_body)
        file = path.rsplit("/", 1)[-1]
        if "/resolve/" not in path or file not in files:
            return self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"}, with_body)
        data = files[file]
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": self.revision,
            "Accept-Ranges": "bytes",
        }
        data = bytes(len(data)) if file in self.damaged else data
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
        if with_body and Hub.breaks_off_once and len(body) > 2_000_000:
            Hub.breaks_off_once = False
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif with_body and Hub.stalls_once and len(body) > 2_000_000:
            is_sent, Hub.stalls_once = Hub.stalls_once, None
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            is_sent.set()
            self.connection.settimeout(60)
            with contextlib.suppress(OSError):
                self.connection.recv(1)  # until the other side is gone
            self.close_connection = True
        elif with_body:
            self.wfile.write(body)


def proassist() -> dict[str, dict[str, bytes]]:
    """The golden checkpoint as its three repositories."""
    folders = {"ann/adapter": "checkpoint", "ann/base": "Meta-Llama-3-tiny", "ann/tower": "siglip-tiny"}
    found = {
        name: {path.name: path.read_bytes() for path in (GOLDEN / folder).iterdir()} for name, folder in folders.items()
    }
    config = json.loads(found["ann/adapter"]["config.json"])
    config |= {"llm_pretrained": "ann/base", "vision_pretrained": "ann/tower"}
    found["ann/adapter"]["config.json"] = json.dumps(config).encode()
    return found


@pytest.fixture
def endpoint() -> Iterator[str]:
    Hub.repositories, Hub.refused, Hub.damaged = {"ann/small": FILES, **proassist()}, {}, set()
    Hub.ranges, Hub.breaks_off_once, Hub.stalls_once, Hub.revision = [], False, None, REVISION
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(timeout=10)


def environment(endpoint: str, tmp_path: Path) -> dict[str, str]:
    """Of a process whose hub is ours; the client reads it when it is imported."""
    return {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "hub"),
        "ONLOOKER_DATA": str(tmp_path / "data"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
    }


def run(script: str, endpoint: str, tmp_path: Path) -> str:
    """Run a script in a fresh process."""
    command = [sys.executable, "-c", textwrap.dedent(script)]
    surroundings = environment(endpoint, tmp_path)
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, timeout=240)
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


PUBLISHED = """
    import json, sys
    from model import published, weights
    from model.errors import OnlookerError

    published.PUBLISHED["small"] = published.Published(
        "small", "tests", "ann/adapter", "ann/base", "ann/tower", "MIT", 1, {"dtype": 1}
    )
    published.PUBLISHED["twin"] = published.Published(
        "twin", "tests", "ann/small", "ann/base", "ann/tower", "MIT", 1, {"dtype": 1}
    )
    told = []

    def pull(name="small"):
        try:
            weights.ensure(name, on_progress=told.append)
        except OnlookerError as error:
            print(error)

"""
OFFLINE = "http://127.0.0.1:9"


def published(script: str, endpoint: str, tmp_path: Path) -> str:
    return run(textwrap.dedent(PUBLISHED) + textwrap.dedent(script), endpoint, tmp_path)


def test_a_published_checkpoint_comes_with_all_its_parts_and_opens_without_the_hub(endpoint, tmp_path):
    said = published(
        """
        pull()
        assert weights.is_present("small")
        print({one.name for one in told}, {one.stage for one in told}, len({one.total for one in told}))
        print(told[0].done, told[-1].done == told[-1].total, sorted(told, key=lambda one: one.done) == told)
        """,
        endpoint,
        tmp_path,
    )
    assert said == "{'small'} {'download'} 1\n0 True True"
    said = published(
        """
        from model.assembly import open_checkpoint

        model = open_checkpoint("small")
        print(model.grammar.spec.template, model.num_frame_tokens, model.image_size)
        """,
        OFFLINE,
        tmp_path,
    )
    assert said == "proassist 5 48"


@pytest.mark.parametrize("status", [401, 403])
def test_a_licence_that_is_not_accepted_is_told_before_anything_is_fetched(endpoint, tmp_path, status):
    Hub.refused = {"ann/base": (status, "GatedRepo")}
    said = published("pull(); print(weights.is_present('small'), told)", endpoint, tmp_path)
    assert said.splitlines() == [
        "ann/base: its owners want its licence to be accepted first; do that on its page on the model hub, log in here "
        "(`hf auth login`), and try again",
        "False []",
    ]


def test_a_repository_that_is_not_there_is_told(endpoint, tmp_path):
    del Hub.repositories["ann/tower"]
    said = published("pull(); print(told)", endpoint, tmp_path)
    assert said.splitlines() == [
        "ann/tower: the model hub has no such repository, or shows it to some alone (`hf auth login`)",
        "[]",
    ]


def test_half_a_file_goes_on_where_it_stopped(endpoint, tmp_path):
    Hub.breaks_off_once = True
    said = published("pull('twin'); print(weights.is_present('twin'))", endpoint, tmp_path)
    assert said == "True"
    assert len(Hub.ranges) == 1


def test_a_file_that_comes_damaged_is_told_and_comes_right_the_next_time(endpoint, tmp_path):
    Hub.damaged = {"adapter_model.safetensors"}
    said = published("pull(); print(weights.is_present('small'))", endpoint, tmp_path)
    assert said.splitlines() == [
        "ann/adapter: adapter_model.safetensors came damaged (wrong SHA-256), and is removed; try again",
        "False",
    ]
    Hub.damaged = set()
    assert published("pull(); print(weights.is_present('small'))", endpoint, tmp_path) == "True"


def test_a_disk_without_room_is_told_before_anything_is_fetched(endpoint, tmp_path):
    script = """
        import shutil, types

        shutil.disk_usage = lambda path: types.SimpleNamespace(free=10_000)
        pull()
        print(weights.is_present("small"), told)
    """
    first, second = published(script, endpoint, tmp_path).splitlines()
    assert "has 10,000 bytes free" in first
    assert "set $HF_HOME to a folder on a larger disk" in first
    assert second == "False []"


def test_what_another_checkpoint_stands_on_is_not_removed_with_the_first(endpoint, tmp_path):
    script = """
        pull()
        pull("twin")
        print(weights.remove("small"), weights.is_present("small"), weights.is_present("twin"))
        print(weights.remove("twin"), weights.remove("twin"))
    """
    assert published(script, endpoint, tmp_path).splitlines() == [
        "['ann/adapter'] False True",
        "['ann/small', 'ann/tower', 'ann/base'] []",
    ]


def test_without_the_hub_it_is_told_in_one_line(tmp_path):
    said = published("pull()", OFFLINE, tmp_path)
    assert said.startswith("ann/adapter: the model hub says: ")
    assert len(said.splitlines()) == 1


def test_a_pull_that_is_killed_leaves_nothing_that_counts_and_goes_on(endpoint, tmp_path):
    Hub.stalls_once = is_half_sent = threading.Event()
    command = [sys.executable, "-m", "assistant", "model", "pull", "ann/small"]
    surroundings = environment(endpoint, tmp_path)
    pulling = subprocess.Popen(command, cwd=ROOT, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert is_half_sent.wait(120)
        said = run(
            """
            from model import weights
            from model.errors import WeightsError

            print(weights.is_present("ann/small"))
            try:
                weights.remove("ann/small")
            except WeightsError as error:
                print(error)
            """,
            endpoint,
            tmp_path,
        )
    finally:
        pulling.kill()
        pulling.communicate()
    assert said.splitlines() == [
        "False",
        "ann/small: another process has been getting it; try again when it is done",
    ]
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ann/small: ready, ")
    assert done.stderr.splitlines() == ["download ann/small …"]  # and none of the client's own bars
    folder = Path(done.stdout.strip().partition("ready, ")[2])
    assert (folder / "model.bin").read_bytes() == FILES["model.bin"]


def test_a_newer_revision_does_not_disturb_what_is_here_and_comes_after_a_removal(endpoint, tmp_path):
    fetch = "from model import weights; print(weights.ensure('ann/small'))"
    first = Path(run(fetch, endpoint, tmp_path))
    Hub.revision = "6" * 40
    assert Path(run(fetch, endpoint, tmp_path)) == first
    again = "from model import weights; print(weights.remove('ann/small')); print(weights.ensure('ann/small'))"
    removed, second = run(again, endpoint, tmp_path).splitlines()
    assert removed == "['ann/small']"
    assert Path(second).name == "6" * 40
    assert not first.exists()


def test_a_revision_that_is_gone_is_told_in_one_line(endpoint, tmp_path):
    Hub.refused = {"ann/tower": (404, "RevisionNotFound")}
    first, second = published("pull(); print(weights.is_present('small'))", endpoint, tmp_path).splitlines()
    assert first.startswith("ann/tower: the model hub ")
    assert second == "False"


def test_a_repository_that_lies_behind_a_link_is_removed_too(endpoint, tmp_path):
    folder = Path(run("from model import weights; print(weights.ensure('ann/small'))", endpoint, tmp_path))
    repository = folder.parents[1]
    repository.rename(tmp_path / "larger disk")
    repository.symlink_to(tmp_path / "larger disk")
    removed = run("from model import weights; print(weights.remove('ann/small'))", endpoint, tmp_path)
    assert removed == "['ann/small']"
    assert not repository.is_symlink()
    assert not (tmp_path / "larger disk").exists()


def test_a_full_quota_is_told_and_no_half_of_a_model_is_taken(endpoint, tmp_path):
    script = """
        import errno, huggingface_hub
        from model import hub, weights
        from model.errors import OnlookerError

        def full(*args, **options):
            if options.get("dry_run") or options.get("local_files_only"):
                return real(*args, **options)
            raise OSError(errno.EDQUOT, "Disk quota exceeded", "/cache/blob")

        real, huggingface_hub.snapshot_download = huggingface_hub.snapshot_download, full
        try:
            weights.ensure("ann/small")
        except OnlookerError as error:
            print(error)
    """
    assert run(script, endpoint, tmp_path) == (
        "ann/small: cannot be kept: /cache/blob: Disk quota exceeded; set $HF_HOME to a folder of yours"
    )
