"""Files that a command is told to write: looked at first, begun only when there is something to put in, never half
there.

`check` finds what is wrong with a path while nothing has been touched. `begin` makes a new file beside an old one and
moves it into its place at once, so that it can be read while it grows, and what the old one held is lost to nothing but
the new.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from model.errors import OutputError

DELETED = "(deleted)"
"""A part of paths that count from a folder which is not there any more."""


def check(path: Path, option: str, others: Mapping[str, Path]) -> None:
    """Raise OutputError if a file cannot be written, or is one of the others; nothing is opened or made.

    path: absolute. option: what names it, such as "--srt". others: files that are read, or written as well, by their
    names; of a folder, all that is in it. Files that our standard output or standard error go to are among them.
    """
    if DELETED in path.parts:
        raise OutputError(f"{option} {path.name}: the folder you stand in was deleted; go to another one (`cd`)")
    try:
        about = _about(path)
        for name, other in others.items():
            if _is_same(path, about, other):
                raise OutputError(f"{option} {path}: is {name}, which would be lost; name another file")
            if other.is_dir() and path.resolve().is_relative_to(other.resolve()):
                raise OutputError(f"{option} {path}: lies in {name}; name another file")
        for name, descriptor in (("standard output", 1), ("standard error", 2)):
            if about is not None and stat.S_ISREG(about.st_mode) and _is_open_as(about, descriptor):
                raise OutputError(f"{option} {path}: is where {name} goes, which would be lost; name another file")
        if about is not None and stat.S_ISDIR(about.st_mode):
            raise OutputError(f"{option} {path}: is a folder; name a file")
        folder = path.resolve().parent
        while not folder.exists():
            folder = folder.parent
        if about is None and not folder.is_dir():
            raise OutputError(f"{option} {path}: cannot be written: {folder} is no folder")
        writable = folder if about is None else path
        if not os.access(writable, os.W_OK):
            raise OutputError(f"{option} {path}: cannot be written: no permission for {writable}; name another file")
    except (OSError, ValueError, RuntimeError) as error:  # a NUL; links that lead in a circle
        raise OutputError(f"{option} {path}: cannot be written: {_why(error)}") from None


def check_all(outputs: Sequence[tuple[str, Path]], others: Mapping[str, Path]) -> None:
    """`check` for several files, none of which may be another one of them. outputs: (option, path)."""
    known = dict(others)
    for option, path in outputs:
        check(path, option, known)
        known[f"what {option} writes, too ({path.name})"] = path


def begin(path: Path, data: bytes = b"") -> BinaryIO:
    """A new file at this path, open for writing behind `data`, which is in it before it takes an old one's place.

    A folder that is missing is made; an old file's mode is kept. Devices and pipes are written as they are. Raises
    OutputError.
    """
    try:
        path = path.resolve()
        about = _about(path)
        if _is_device(about):
            return _with_data(_open_device(path), data)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".onlooker-{os.getpid()}.part")
        try:
            file = draft.open("wb")
        except OSError:
            if about is None:
                raise
            return _with_data(path.open("wb"), data)  # in a folder that takes no new files
        try:
            _with_data(file, data)
            if about is not None:
                shutil.copymode(path, draft)
            draft.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
        return file
    except (OSError, ValueError, RuntimeError) as error:
        raise OutputError(f"{path}: cannot be written: {_why(error)}") from None


def write(path: Path, data: bytes) -> None:
    """All of a file: whoever reads it finds the old one or the new one. Raises OutputError."""
    begin(path, data).close()


def append(path: Path, text: str) -> None:
    """A line after all that a file holds already. A folder that is missing is made. Raises OutputError."""
    data = text.encode("utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if _is_device(_about(path)):
            write(path, data)
            return
        with path.open("a+b") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            is_line_open = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * is_line_open + data)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {_why(error)}") from None


def _with_data(file: BinaryIO, data: bytes) -> BinaryIO:
    """The same file with the data in it; it is closed if that fails. Raises OSError."""
    try:
        file.write(data)
        file.flush()
    except OSError:
        with contextlib.suppress(OSError):  # which tries to write once more
            file.close()
        raise
    return file


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _open_device(path: Path) -> BinaryIO:
    """A pipe without a reader would be waited for, for ever. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "nobody reads this pipe; start the reader first") from None
        raise
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "wb")


def _about(path: Path) -> os.stat_result | None:
    """Of what a path leads to; None where there is nothing."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_device(about: os.stat_result | None) -> bool:
    """Whether it is there, and is no file that could be replaced by another."""
    return about is not None and not stat.S_ISREG(about.st_mode)


def _is_open_as(about: os.stat_result, descriptor: int) -> bool:
    """Whether what we write to a descriptor goes to that file."""
    try:
        return os.path.samestat(about, os.fstat(descriptor))
    except OSError:  # closed
        return False


def _is_same(path: Path, about: os.stat_result | None, other: Path) -> bool:
    """Whether two paths lead to one file, by whatever names."""
    if path.resolve() == other.resolve():
        return True
    found = _about(other)
    return about is not None and found is not None and os.path.samestat(about, found) and stat.S_ISREG(about.st_mode)
