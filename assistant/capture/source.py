"""What the user named as a source: which kind it is, how to reach it, and how to write it where others can read.

A password never leaves `target`: `shown` is for every message and log.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from assistant.capture.playlists import pieces_of
from assistant.config.addresses import MAX_STEM, SCHEME, shown_name
from assistant.errors import MediaError, SourceMissing, UsageError
from assistant.runtime.folders import absolute

if TYPE_CHECKING:
    from assistant.config.keys import CaptureSection

SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "srt", "udp", "tcp", "rtp")
PUSH_SCHEMES = {"rtmp-listen": "rtmp", "whip-listen": "whip"}


Kind = Literal["camera", "file", "network", "push", "screen"]


@dataclass(frozen=True)
class Source:
    """Where pictures come from.

    kind: "push" is an address of our own, to which glasses, phones or OBS send. target: a camera's index or device
    path, a file's path, or an address with its password. shown: without secrets.
    stem: a name for files made from it. tls_verify: whether a certificate that is not trusted is refused. written: what
    names it in a configuration, wherever one stands.
    """

    kind: Kind
    target: str = field(repr=False)
    shown: str
    stem: str
    tls_verify: bool = True
    written: str = field(default="", repr=False)

    @property
    def is_recording(self) -> bool:
        """Whether it has an end, can be read faster than it was made, and is shown again by a run without end."""
        return self.kind == "file"

    @property
    def inputs(self) -> dict[str, Path]:
        """Files that are read, by what they are called: nothing may be written over them."""
        if self.kind != "file":
            return {}
        pieces = {f"a piece of the video ({piece.name})": piece for piece in pieces_of(Path(self.target))}
        return {"the video": Path(self.target), **pieces}


def source_of(section: CaptureSection, names: Mapping[str, str], text: str | None = None) -> Source:
    """The source that the configuration means, or the one that a command names. Raises as `parse_source`."""
    return replace(parse_source(section.source if text is None else text, names), tls_verify=section.tls_verify)


def demo_path() -> Path:
    """The bundled clip."""
    return Path(__file__).parent.parent / "demo.mp4"


def parse_source(text: str, names: Mapping[str, str] | None = None) -> Source:
    """Understand "camera:0", "camera:/dev/video2", "screen:1", "demo", an address (one of our own, too), a file name,
    or one of the user's own names for these, which are all that is shown of what they stand for.

    A name goes before a file of the same name, which is "./kitchen". Raises UsageError (not understood), SourceMissing
    (no such file) or MediaError (a file that cannot be a video).
    """
    if names and text in names:
        return replace(_parse(names[text], text), shown=text, stem=text)
    source = _parse(text, shown_name(text))
    return replace(source, written=source.target if source.kind == "file" and text != "demo" else text)


def _parse(text: str, name: str) -> Source:
    """name: what is said of it in messages."""
    if not text.strip():
        raise UsageError("the source is empty; name a file, camera:0, screen:1, demo or an address")
    if text.startswith("camera:"):
        device = text.removeprefix("camera:")
        if not re.fullmatch(r"\d{1,3}|(?:/[^/]+)+", device):
            raise UsageError(
                f"{name}: a camera is camera:N (N = 0, 1, …) or camera:/dev/videoN; see `onlooker devices`"
            )
        return Source("camera", device, name, _stem_of(name))
    if text.startswith("screen:"):
        number = text.removeprefix("screen:")
        if not re.fullmatch(r"\d{1,2}", number):
            raise UsageError(f"{name}: a screen is screen:N; 1 is the first, 0 all of them together")
        return Source("screen", number, text, f"screen-{number}")
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() in PUSH_SCHEMES:
        return _parse_push(text, scheme.lower())
    if separator and scheme.lower() in SCHEMES:
        if not rest.strip("/") or any(char.isspace() or ord(char) < 32 for char in rest):
            raise UsageError(f"{name}: is not an address; write {scheme.lower()}://HOST/…, without spaces")
        try:
            urlsplit(text)
        except ValueError:
            raise UsageError(f"{name}: is not an address; write {scheme.lower()}://HOST/…") from None
        return Source("network", scheme.lower() + text[len(scheme) :], name, _stem_of(name))
    if separator and SCHEME.fullmatch(scheme) and scheme.lower() != "file":
        known = ", ".join((*SCHEMES, *PUSH_SCHEMES))
        raise UsageError(f"{name}: is not a kind of address we read; known: {known}")
    path = demo_path() if text == "demo" else absolute(text.removeprefix("file://"))
    _check_file(path, name)
    return Source("file", str(path), name, path.stem or "video")


def _parse_push(text: str, scheme: str) -> Source:
    """The path is not shown. By WHIP it is the token that a sender must have; by RTMP it is what a sender calls its
    stream, which nobody checks: who gets to the port may send.
    """
    try:
        parts = urlsplit(text)
        host, port, path = parts.hostname, parts.port, parts.path
    except ValueError:
        host, port, path = None, None, ""
    if not host or port is None or len(path) < 2 or "@" in text:
        raise UsageError(
            f"{shown_name(text)}: must be {scheme}://HOST:PORT/KEY, such as {scheme}://127.0.0.1:1935/live/mine"
        )
    target = PUSH_SCHEMES[scheme] + text[len(scheme) :]
    where = f"[{host}]" if ":" in host else host
    return Source("push", target, f"{scheme}://{where}:{port}", f"{scheme}-{port}")


def _stem_of(name: str) -> str:
    """What is shown of a source, as a part of a file's name; the mark at its end stays."""
    return re.sub(r"[^\w.]+", "-", name).strip("-")[-MAX_STEM:]


def _check_file(path: Path, text: str) -> None:
    try:
        about = path.stat() if path.exists() else None
        if about is not None and not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)):
            remedy = "a camera is camera:N" if stat.S_ISCHR(about.st_mode) else "write what comes out of it to a file"
            raise MediaError(f"{text}: is no file but a pipe or device; {remedy}")
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
    except ValueError:  # a NUL
        raise SourceMissing(f"{text}: is no name of a file") from None
    except OSError as error:
        raise SourceMissing(f"{text}: cannot be read: {error.strerror}") from None
