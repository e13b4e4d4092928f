"""What the user named as a source: which kind it is, how to reach it, and how to write it where others can read.

Pure but for looking at the file system. A password never leaves `target`: `shown` is for every message and log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from assistant.errors import MediaError, SourceMissing, UsageError
from assistant.folders import absolute

SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "srt", "udp", "tcp", "rtp", "hls")
PUSH_SCHEMES = {"rtmp-listen": "rtmp", "whip-listen": "whip"}
SECRET_PARAMETER = re.compile(r"((?:pass(?:word|wd)?|pwd|token|key|secret|auth|sig(?:nature)?)=)[^&]*", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """Where pictures come from.

    kind: "push" is an address of our own, to which glasses, phones or OBS send. target: a camera's index or device
    path, a file's path, or an address with its password. shown: without secrets.
    stem: a name for files made from it.
    """

    kind: Literal["camera", "file", "network", "push", "screen"]
    target: str = field(repr=False)
    shown: str
    stem: str


def demo_path() -> Path:
    """The bundled clip."""
    return Path(__file__).parent.parent / "demo.mp4"


def parse_source(text: str) -> Source:
    """Understand "camera:0", "camera:/dev/video2", "screen:1", "demo", an address (one of our own, too) or a file name.

    Raises UsageError (not understood), SourceMissing (no such file) or MediaError (a file that cannot be a
    video).
    """
    if text.startswith("camera:"):
        device = text.removeprefix("camera:")
        if not re.fullmatch(r"\d{1,3}|/.+", device):
            raise UsageError(
                f"{text}: a camera is camera:N (N = 0, 1, …) or camera:/dev/videoN; see `onlooker devices`"
            )
        return Source("camera", device, text, "camera-" + re.sub(r"\W+", "-", device).strip("-"))
    if text.startswith("screen:"):
        number = text.removeprefix("screen:")
        if not re.fullmatch(r"\d{1,2}", number):
            raise UsageError(f"{text}: a screen is screen:N; 1 is the first, 0 all of them together")
        return Source("screen", number, text, f"screen-{number}")
    scheme, separator, _ = text.partition("://")
    if separator and scheme.lower() in PUSH_SCHEMES:
        return _parse_push(text, scheme.lower())
    if separator and scheme.lower() in SCHEMES:
        try:
            urlsplit(text)
        except ValueError as error:
            raise UsageError(f"{redact(text)}: is not an address: {error}") from None
        return Source("network", text, redact(text), _stem_of_address(text))
    if separator and scheme.lower() != "file":
        known = ", ".join((*SCHEMES, *PUSH_SCHEMES))
        raise UsageError(f"{redact(text)}: {scheme}:// is not a kind of address we read; known: {known}")
    path = demo_path() if text == "demo" else absolute(text.removeprefix("file://"))
    _check_file(path, text)
    return Source("file", str(path), text, path.stem or "video")


def _parse_push(text: str, scheme: str) -> Source:
    """The path is not shown. By WHIP it is the token that a sender must have; by RTMP it is what a sender calls its
    stream, which nobody checks: who gets to the port may send.
    """
    try:
        parts = urlsplit(text)
        host, port, path = parts.hostname, parts.port, parts.path
    except ValueError:
        host, port, path = None, None, ""
    if not host or port is None or len(path) < 2:
        raise UsageError(
            f"{scheme}://{host or '…'}: must be {scheme}://HOST:PORT/KEY, such as {scheme}://127.0.0.1:1935/live/mine"
        )
    target = PUSH_SCHEMES[scheme] + text[len(scheme) :]
    return Source("push", target, f"{scheme}://{host}:{port}", f"{scheme}-{port}")


def redact(address: str) -> str:
    """The address without its password and without parameters that look like secrets."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address.partition("://")[0] + "://…"
    userinfo, at, host = parts.netloc.rpartition("@")
    if ":" in userinfo:
        userinfo = userinfo.partition(":")[0] + ":***"
    query = SECRET_PARAMETER.sub(r"\1***", parts.query)
    return urlunsplit((parts.scheme, userinfo + at + host, parts.path, query, ""))


def _stem_of_address(address: str) -> str:
    parts = urlsplit(redact(address))
    host = parts.netloc.rpartition("@")[2]
    return re.sub(r"\W+", "-", f"{host}{parts.path}").strip("-")[:60] or "stream"


def _check_file(path: Path, text: str) -> None:
    try:
        if path.is_dir():
            raise MediaError(f"{text}: is a folder; name one video file")
        if not path.exists():
            raise SourceMissing(
                f"{text}: no such file; cameras are camera:0, addresses rtsp://…, the bundled clip demo"
            )
        if path.is_file() and path.stat().st_size == 0:
            raise MediaError(f"{text}: the file is empty (0 bytes); copy or record it again")
        with path.open("rb"):
            pass
    except OSError as error:
        raise SourceMissing(f"{text}: cannot be read: {error.strerror}") from None
