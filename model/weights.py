"""Named weights: the folder on this machine that holds them, whole and verified, ready to load.

Owns the folder `data_dir()`: one folder a name, with a manifest of sizes and SHA-256s. What is being made
lies in `.staging-NAME` and is renamed when whole, so that a folder that exists is complete; a lock file a name
keeps two processes from making it at once. Everything runs in the caller's thread; any thread may call.

Names of the form "org/name" are model-hub repositories; those live in the hub's own cache. A published checkpoint
(`model.published`) is three of them.
"""

import errno
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from model import hub, kept, manifest, staging
from model.catalog import CATALOG, SPARE_BYTES, Weights
from model.errors import HubUnreachable, OnlookerError, WeightsError
from model.fetching import OnProgress, Progress, fetch_package
from model.published import PUBLISHED

__all__ = [
    "CATALOG",
    "Progress",
    "Weights",
    "data_dir",
    "ensure",
    "fetch_package",
    "is_present",
    "load",
    "local",
    "parts_of",
    "quantized_dir",
    "remove",
    "verify",
]

log = logging.getLogger("onlooker.weights")

LOCK_TIMEOUT_S = 1800.0
Loaded = TypeVar("Loaded")


def data_dir() -> Path:
    """The folder that holds all named weights: $ONLOOKER_DATA/weights, else the user's data directory."""
    override = os.environ.get("ONLOOKER_DATA")
    if override:
        return Path(override).expanduser() / "weights"
    from platformdirs import user_data_path

    return user_data_path("onlooker") / "weights"


def quantized_dir() -> Path:
    """The folder that holds what `model.kept` keeps."""
    return data_dir() / "quantized"


def is_present(name: str) -> bool:
    """Whether `name` lies here and every file has its size; needs no network and reads no big file."""
    if name in PUBLISHED:
        return all(_whole_snapshot(part) for part in PUBLISHED[name].parts)
    if _is_hub_name(name):
        return _whole_snapshot(name) is not None
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

    Of a published checkpoint, the folder of its adapter. Offline once it is here. Files of the wrong size (with
    `full_check`: the wrong SHA-256) are reported in one log line and made anew. Raises WeightsError: unknown name, no
    source answers, no space, not writable.
    """
    if name in PUBLISHED:
        return _fetch_repositories(name, PUBLISHED[name].parts, on_progress)[0]
    if _is_hub_name(name):
        return _whole_snapshot(name) or _ensure_snapshot(name, on_progress)
    entry = _entry(name)
    root = data_dir()
    folder = root / entry.name
    if is_present(name) and not full_check:
        return folder
    try:
        with _locked(entry.name, LOCK_TIMEOUT_S):
            if not _is_sound(folder, full_check, entry, on_progress):
                staging.make(entry, root, on_progress)
    except OSError as error:
        raise _disk_error(entry, root, error) from error
    return folder


def local(name: str) -> str:
    """The folder of a hub repository that is here, for libraries that would ask the hub for it; else the name."""
    folder = _whole_snapshot(name) if _is_hub_name(name) else None
    return name if folder is None else str(folder)


def parts_of(name: str) -> list[str]:
    """What `name` is made of: repositories of the hub, or itself. Raises WeightsError for an unknown name."""
    if name in PUBLISHED:
        return list(PUBLISHED[name].parts)
    return [name if _is_hub_name(name) else _entry(name).name]


def remove(name: str) -> list[str]:
    """Delete `name` from this machine; parts that another published checkpoint here stands on stay.

    Returns what was deleted. Raises WeightsError for an unknown name, where something cannot be deleted, or is just
    being got by another process.
    """
    parts = parts_of(name)
    if name in PUBLISHED:
        others = [other for other in PUBLISHED.values() if other.name != name and is_present(other.name)]
        parts = [part for part in parts if not any(part in other.parts for other in others)]
    removed = []
    for part in parts:
        try:
            with _locked(part, 0):
                removed += [part] if _remove_part(part) else []
        except OSError as error:
            raise WeightsError(f"{part}: cannot be deleted: {error.strerror or error}") from error
    try:
        kept.sweep(quantized_dir())
    except OSError as error:
        raise WeightsError(f"{quantized_dir()}: cannot be looked through: {error.strerror or error}") from error
    return removed


def _remove_part(part: str) -> bool:
    """Whether it was there. Raises OSError."""
    if _is_hub_name(part):
        is_gone = hub.forget(part)
        _snapshot_mark(part).unlink(missing_ok=True)
        return is_gone
    folder = data_dir() / part
    is_there = folder.is_dir()
    if is_there:
        shutil.rmtree(folder)
    return is_there


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
        known = ", ".join(sorted((*CATALOG, *PUBLISHED)))
        raise WeightsError(f"weights {name!r} are not known; known are {known}, and model-hub names as org/name")
    return CATALOG[name]


def _is_hub_name(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and all(parts) and not name.startswith((".", "~"))


def _snapshot_mark(name: str) -> Path:
    return data_dir() / "hub" / f"{name.replace('/', '--')}.path"


def _whole_snapshot(name: str) -> Path | None:
    """The folder of a hub repository that has been fetched whole before, if all its files still lie there."""
    try:
        mark = json.loads(_snapshot_mark(name).read_text(encoding="utf-8"))
        folder, sizes = Path(mark["folder"]), mark["sizes"]
        is_whole = bool(sizes) and all((folder / file).stat().st_size == size for file, size in sizes.items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return folder if is_whole else None


def _ensure_snapshot(name: str, on_progress: OnProgress | None) -> Path:
    try:
        return _fetch_repositories(name, (name,), on_progress)[0]
    except HubUnreachable:
        cached = hub.cached_snapshot(name)
        if cached is None:
            raise
        log.warning("%s: the model hub is out of reach; taking %s unchecked", name, cached)
        return cached


def _mark_whole(name: str, folder: Path) -> None:
    mark = _snapshot_mark(name)
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(json.dumps({"folder": str(folder), "sizes": sizes}, indent=1), encoding="utf-8")
    except OSError as error:
        raise WeightsError(
            f"{name}: {mark}: cannot be written: {error.strerror}; set $ONLOOKER_DATA elsewhere"
        ) from error


def _fetch_repositories(name: str, parts: Sequence[str], on_progress: OnProgress | None) -> list[Path]:
    """The folders of some repositories of the hub, of which those that are missing are fetched as one download.

    What is wanted, and whether there is room, is known before the first byte is fetched.
    """
    with ExitStack() as locks:
        for part in sorted(part for part in parts if _whole_snapshot(part) is None):  # one order: no deadlock
            locks.enter_context(_locked(part, LOCK_TIMEOUT_S))
        missing = [part for part in parts if _whole_snapshot(part) is None]  # another process may have got some
        sizes = [hub.missing_bytes(part) for part in missing]
        _require_room(name, sum(sizes))
        before = 0
        for part, size in zip(missing, sizes, strict=True):

            def report(done: int, before: int = before, size: int = size) -> None:
                if on_progress is not None:
                    on_progress(Progress(name, "download", before + min(done, size), sum(sizes)))

            report(0)
            try:
                _mark_whole(part, hub.fetch_snapshot(part, report))
            except OSError as error:
                reason = error.strerror or error
                raise WeightsError(f"{part}: cannot be kept in {hub.cache_folder()}: {reason}") from error
            before += size
        folders = {part: _whole_snapshot(part) for part in parts}
    gone = [part for part, folder in folders.items() if folder is None]
    if gone:
        raise WeightsError(f"{', '.join(gone)}: removed by another process meanwhile; try again")
    return [folder for folder in folders.values() if folder]


def _require_room(name: str, num_bytes: int) -> None:
    """Raises WeightsError if the hub's cache has no room for so much more."""
    needed = num_bytes + SPARE_BYTES
    root = next(folder for folder in (hub.cache_folder(), *hub.cache_folder().parents) if folder.is_dir())
    free = shutil.disk_usage(root).free
    if num_bytes and free < needed:
        raise WeightsError(
            f"{name}: {root} has {free:,} bytes free, {needed:,} are needed; make room, or set $HF_HOME to a folder on "
            "a larger disk"
        )


@contextmanager
def _locked(name: str, timeout_s: float) -> Iterator[None]:
    """Hold `name` against other processes that get or remove it.

    Raises WeightsError if one does for longer, or the lock cannot be written.
    """
    from filelock import FileLock, Timeout

    path = data_dir() / f".{name.replace('/', '--')}.lock"
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("%s: another process is getting it; waiting", name)
            lock.acquire(timeout=timeout_s)
    except Timeout as error:
        since = f" for {timeout_s:.0f} s" if timeout_s else ""
        raise WeightsError(f"{name}: another process has been getting it{since}; try again when it is done") from error
    except OSError as error:
        raise WeightsError(
            f"{name}: {path}: cannot be written: {error.strerror or error}; set $ONLOOKER_DATA elsewhere"
        ) from error
    try:
        yield
    finally:
        lock.release()


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


def _disk_error(entry: Weights, root: Path, error: OSError) -> OnlookerError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WeightsError(
            f"{entry.name}: no space left in {root}; {entry.space_bytes:,} bytes are needed; "
            "make room, or set $ONLOOKER_DATA to a folder on a larger disk"
        )
    return WeightsError(f"{entry.name}: {error.filename or root}: {error.strerror or error}; is {root} writable?")
