"""What others may see of an address: nothing that may be a password."""

from __future__ import annotations

import contextlib
import hmac
import os
import re
import secrets
import unicodedata
from functools import lru_cache

from assistant.runtime.folders import absolute

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,11}")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}(?:%25[\w.-]{1,32})?\]|[\w.-]{1,253})(?::\d{1,5})?")
_DEVICE = re.compile(r"(?:camera|screen):\d*|[a-z]+:\d{0,2}|camera:/dev(?:/[\w.:+-]+)+")  # two digits hide nothing
_KIND_OF_FILE = re.compile(r"[a-z]{2,12}:(/.+)")  # shown if what is behind the colon is there
_NOT_IN_A_NAME = re.compile(r"[@:?&=#%;|\\]")
_SECRET = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{0,11}:/{1,2}[^\s'\"<>]*[@?][^\s'\"<>]*")
MAX_SHOWN = 300
MAX_STEM = 80


def shown_name(text: str) -> str:
    """What others may see of what a user typed: of an address its scheme, host and port, of a file's name all; of what
    may be a mistyped address, the folders in it that are there. What is left out is told apart by a mark.

    Nobody can say in which other parts of an address a password may be: cameras take it in front of the host, in the
    path and in parameters of any name. So nothing of them is shown. The mark is made with a key of this machine's, so
    that no password can be tried against it elsewhere.
    """
    scheme, separator, rest = text.partition("://")
    is_address = separator and SCHEME.fullmatch(scheme)
    if is_address and scheme.lower() != "file":
        return f"{scheme.lower()}://{_host_of(rest)}#{_mark(text)}"
    path = rest if is_address else text
    of_a_kind = _KIND_OF_FILE.fullmatch(text)
    if _DEVICE.fullmatch(text) or _is_there(path) or (of_a_kind and _is_there(of_a_kind[1])):
        return text
    if re.match(r"~|/|\.{1,2}/", path) and path.isprintable() and not _NOT_IN_A_NAME.search(path) and "//" not in path:
        return text[:MAX_SHOWN] + "…" * (len(text) > MAX_SHOWN)  # nobody begins an address so
    folder, name = _split(path)
    plain = unicodedata.normalize("NFKC", name)  # there are wide twins of these characters
    if 0 < len(name) <= MAX_STEM and "/" not in plain and plain.isprintable() and not _NOT_IN_A_NAME.search(plain):
        return text  # a file that might be in a folder that is there
    return f"{folder}…#{_mark(text)}"


def without_secrets(text: str) -> str:
    """A message in which addresses that may hold a password are written as they may be shown, wherever they come from.

    Those that have a user or parameters; also where a path was made of one, and a slash was lost.
    """
    return _SECRET.sub(lambda found: shown_name(re.sub(r":/{1,2}", "://", found[0], count=1)), text)


def _split(path: str) -> tuple[str, str]:
    """A path's leading folders, those that are there, and the rest of it."""
    end = path.rfind("/") + 1
    while end and not _is_there(path[:end]):
        end = path.rfind("/", 0, end - 1) + 1
    return path[:end], path[end:]


def _host_of(rest: str) -> str:
    """Of what follows "://": "10.0.0.2:554/…", or "…" alone where it is not certain what is the host."""
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    if "@" in rest[len(authority) :]:  # a password with a slash in it, perhaps
        return "…"
    match = _HOST.fullmatch(authority.rpartition("@")[2])
    return f"{match[0]}/…" if match else "…"


def _mark(text: str) -> str:
    return hmac.digest(mark_key(), text.encode("utf-8", "backslashreplace"), "sha256").hex()[:4]


@lru_cache(maxsize=1)
def mark_key() -> bytes:
    """A random key, kept in a file of this user's own; where that cannot be, one for this process alone."""
    from model.weights import data_dir

    path, new = data_dir().parent / "source-key", secrets.token_bytes(16)
    with contextlib.suppress(OSError, RuntimeError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(new)
        return path.read_bytes() or new
    return new


def _is_there(text: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return absolute(text).exists()
    return False
