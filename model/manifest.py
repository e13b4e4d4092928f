"""A folder's manifest: every file in it with its size and SHA-256, and the check against it.

The folder is written once, sealed here, and only read afterwards.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

from model.fetching import file_sha256

MANIFEST = "manifest.json"


def is_sealed(folder: Path) -> bool:
    """Whether the folder holds a manifest at all."""
    try:
        return (folder / MANIFEST).exists()
    except OSError:  # not to be looked into, or no name that a file can have
        return False


def seal(folder: Path, facts: dict[str, str]) -> None:
    """Write the manifest, with `facts` beside the file list, and put every file safely on the disk."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        files[path.relative_to(folder).as_posix()] = [path.stat().st_size, file_sha256(path)]
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    with (folder / MANIFEST).open("w") as file:
        json.dump({**facts, "files": files}, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)


def damaged_files(folder: Path, *, full: bool, on_bytes: Callable[[int, int], None] | None = None) -> list[str]:
    """The files that are missing or not of the manifest's size (`full`: and SHA-256); empty if all is sound.

    on_bytes: called with bytes checked and bytes in all, after each file of a full check.
    """
    try:
        files: dict[str, list] = json.loads((folder / MANIFEST).read_text())["files"]
        total = sum(size for size, _ in files.values())
    except (OSError, ValueError, KeyError, TypeError):
        return [MANIFEST]
    damaged, done = [], 0
    for relative, (size, sha256) in files.items():
        path = folder / relative
        try:
            sound = path.stat().st_size == size and (not full or file_sha256(path) == sha256)
        except OSError:
            sound = False
        if not sound:
            damaged.append(relative)
        done += size
        if full and on_bytes is not None:
            on_bytes(done, total)
    return damaged


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    if os.name != "posix":
        return  # Windows cannot open a folder to sync it
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
