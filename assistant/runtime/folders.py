"""The folder that the user stands in: paths count from it, and nothing else does.

Python runs modules of the current folder instead of its own where it is told to, and child processes cannot be started
from a folder that was deleted. So a run remembers the folder, leaves it for good, and tells its children both.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from model.outputs import DELETED

FOLDER_VARIABLE = "ONLOOKER_FOLDER"
PATH_VARIABLES = ("ONLOOKER_CONFIG", "ONLOOKER_DATA", "ONLOOKER_RUNTIME", "ONLOOKER_WHEELS", "HF_HOME")


def start_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the user typed the command. Raises FileNotFoundError if that folder was deleted since."""
    named = environ.get(FOLDER_VARIABLE)
    return Path(named) if named else Path.cwd()


def absolute(path: str | Path) -> Path:
    """The path from the root on: "~" is the user's home, and what is relative counts from `start_folder`."""
    path = Path(path)
    with contextlib.suppress(RuntimeError):  # no such user, or no home: then it is a name like any other
        path = path.expanduser()
    if path.is_absolute():
        return path
    try:
        return start_folder() / path
    except OSError:  # the folder was deleted; opening what is meant to be in it says so
        return Path(os.sep) / DELETED / path


def shown(path: Path) -> str:
    """A path as a person in the start folder would write it."""
    try:
        return str(path.relative_to(start_folder()))
    except (ValueError, OSError):
        return str(path)


def find_home() -> str:
    """Give this process and its children a home, where neither $HOME nor the list of users has one: a private folder
    among the temporary ones. What is to be said of that; "" where there is nothing to say.
    """
    try:
        Path.home()
        return ""
    except RuntimeError:
        pass
    home = Path(tempfile.gettempdir()) / f"onlooker-home-{os.getuid()}"
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        about = home.lstat()
    except OSError as error:
        return f"there is no home folder, and {home} cannot be made: {error.strerror}; set $HOME"
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
        return f"there is no home folder, and {home} is not ours alone; set $HOME"
    os.environ["HOME"] = str(home)
    return f"there is no home folder: what is kept lies in {home}; set $HOME to change that"


def leave() -> None:
    """Remember the folder, and go where no module of somebody else's lies. For this process and its children."""
    with contextlib.suppress(OSError):
        os.environ.setdefault(FOLDER_VARIABLE, str(Path.cwd()))
    for name in PATH_VARIABLES:
        if os.environ.get(name):
            os.environ[name] = str(absolute(os.environ[name]))
    os.environ["PYTHONSAFEPATH"] = "1"
    if not is_installed():
        root = str(Path(__file__).parents[2])
        others = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry and entry != root]
        os.environ["PYTHONPATH"] = os.pathsep.join([root, *map(str, map(absolute, others))])
    elif "PYTHONPATH" in os.environ:  # an empty entry means the current folder
        entries = [entry for entry in os.environ["PYTHONPATH"].split(os.pathsep) if entry]
        os.environ["PYTHONPATH"] = os.pathsep.join(str(absolute(entry)) for entry in entries)
    os.chdir(os.sep)


def is_installed() -> bool:
    """Whether this program runs from where Python keeps its packages, rather than from its source."""
    return any(part in ("site-packages", "dist-packages") for part in Path(__file__).parts)


def hold_standard_streams() -> None:
    """Take up the places of standard streams that are closed, so that no file or socket gets into them unseen."""
    for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            taken = os.open(os.devnull, mode)  # the lowest free number, so this one
            if taken != number:
                os.dup2(taken, number)
                os.close(taken)
            os.set_inheritable(number, True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - it is there to stay
    for stream in (sys.stdout, sys.stderr):  # file names and words may hold what the terminal's encoding cannot say
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
