"""Reads files and network streams with PyAV. Runs in the capture child."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from assistant.capture import tls
from assistant.capture.live_outlet import LiveOutlet
from assistant.capture.protocol import Outlet, SourceFailed, Start
from model.errors import VideoError, VideoMissing
from model.video.grid import FileGrid
from model.video.reading import Video

PUSH_OPTIONS = {"listen": "1", "analyzeduration": "500000", "probesize": "100000"}
PATIENCE_S = 10.0  # to open it, or for the next piece of a file; a live source is given up earlier by the parent


def read_video(start: Start, outlet: Outlet) -> float:
    """Ship a file's or stream's frames until it ends; gives when that is, in its own seconds. Raises SourceFailed."""
    try:
        with _open(start, outlet) as video:
            if start.kind != "push" and video.is_file:  # a file may be the playlist of a live stream
                _read_file(video, outlet, start)
            else:
                _read_live(video, outlet, start)
            return video.end_s
    except VideoMissing as error:
        raise SourceFailed("missing", str(error)) from None
    except VideoError as error:
        raise SourceFailed("media", str(error)) from None


def _open(start: Start, outlet: Outlet) -> Video:
    if start.kind == "push":  # waits for a sender, for ever
        return Video.open(start.target, name=start.shown, options=PUSH_OPTIONS, file_format="flv", warn=outlet.warn)
    timeout_s = max(PATIENCE_S, start.timeout_s)

    def open_as(file_format: str | None) -> Video:
        return Video.open(
            Path(start.target) if start.kind == "file" else start.target,
            name=start.shown,
            options=_network_options(start, timeout_s) if start.kind == "network" else {},
            file_format=file_format,
            timeout_s=timeout_s,
            warn=outlet.warn,
            alive=outlet.alive,
        )

    is_web = start.kind == "network" and start.target.startswith("http")
    try:
        return open_as(None)
    except VideoMissing:
        if is_web and start.tls_verify and (wrong := tls.follow(start.target, timeout_s)):
            raise _not_trusted(start, wrong) from None
        raise
    except VideoError:
        motion_jpeg = _try_motion_jpeg(open_as) if is_web else None
        if motion_jpeg is None:
            raise
        return motion_jpeg


def _try_motion_jpeg(open_as: Callable[[str], Video]) -> Video | None:
    """Cameras that send picture after picture, but not what has to stand between them: browsers show them, too."""
    with contextlib.suppress(VideoError):
        video = open_as("mjpeg")
        if video.has_size:
            return video
        video.close()
    return None


def _network_options(start: Start, timeout_s: float) -> dict[str, str]:
    options = {"rtsp_transport": "tcp"} if start.target.startswith("rtsp") else {}
    if not start.tls_verify:
        return options
    if tls.is_encrypted(start.target) and (wrong := tls.check_certificate(start.target, timeout_s)):
        raise _not_trusted(start, wrong)
    if tls.is_encrypted(start.target) or start.target.startswith("http"):  # http may lead to https
        options |= tls.options()
    return options


def _not_trusted(start: Start, wrong: str) -> SourceFailed:
    remedy = "if it is a camera of your own, set capture.tls_verify = false"
    return SourceFailed("missing", f"{start.shown}: its certificate is not trusted ({wrong}); {remedy}")


def _read_file(video: Video, outlet: Outlet, start: Start) -> None:
    grid, is_ready = FileGrid(start.fps), False
    for shown in video.pictures():
        if not is_ready:
            outlet.ready(*video.upright.size(shown.picture), video.duration_s, is_live=False)
            is_ready = True
        rgb: np.ndarray | None = None
        for index in grid.indexes(shown.start_s, shown.end_s, is_last=shown.is_last):
            rgb = video.upright.rgb(shown.picture) if rgb is None else rgb
            outlet.ship(rgb, index / start.fps, time.monotonic(), wait=True)


def _read_live(video: Video, outlet: Outlet, start: Start) -> None:
    live = LiveOutlet(outlet, start.fps)
    for picture in video.arriving():
        live.show(*video.upright.size(picture), lambda picture=picture: video.upright.rgb(picture))
    raise SourceFailed("missing", f"{start.shown}: the stream was lost: {video.ended_by or 'it ended'}")
