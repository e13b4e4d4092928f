"""Videos of many kinds, made by ffmpeg, and what ffmpeg itself reads from them: pictures, and the times of each."""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, HEIGHT = 96, 64
SMALL = (24, 16)  # of the pictures that are compared
CODECS = {
    "h264": ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "12"],
    "h264-b": ["-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-g", "20"],
    "h264-intra": ["-c:v", "libx264", "-preset", "ultrafast", "-g", "1"],
    "hevc": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"],
    "mpeg4": ["-c:v", "mpeg4", "-q:v", "3", "-bf", "0"],
    "mpeg4-b": ["-c:v", "mpeg4", "-q:v", "3", "-bf", "2"],
    "mpeg2": ["-c:v", "mpeg2video", "-q:v", "3", "-bf", "2", "-g", "12"],
    "mpeg1": ["-c:v", "mpeg1video", "-q:v", "3"],
    "mjpeg": ["-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p"],
    "vp8": ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "1M"],
    "vp9": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "1M"],
    "theora": ["-c:v", "libtheora", "-q:v", "7"],
    "flv1": ["-c:v", "flv", "-q:v", "3"],
    "wmv2": ["-c:v", "wmv2", "-q:v", "3"],
    "gif": ["-c:v", "gif"],
    "ffv1": ["-c:v", "ffv1"],
    "raw": ["-pix_fmt", "yuv420p"],
    "png": ["-c:v", "png"],
}
CONTAINERS = {
    "mp4": ("h264", "h264-b", "hevc", "mpeg4", "mpeg4-b"),
    "mov": ("h264-b", "mjpeg", "mpeg4", "png"),
    "mkv": ("h264", "h264-b", "hevc", "vp9", "mpeg4", "ffv1", "mjpeg"),
    "webm": ("vp8", "vp9"),
    "avi": ("mpeg4", "mpeg4-b", "mjpeg", "h264", "ffv1"),
    "ts": ("h264", "h264-b", "mpeg2", "hevc"),
    "mpg": ("mpeg1", "mpeg2"),
    "flv": ("h264", "h264-b", "flv1"),
    "ogv": ("theora",),
    "wmv": ("wmv2",),
    "3gp": ("h264", "mpeg4"),
    "nut": ("h264-b", "mpeg4", "ffv1"),
    "mxf": ("mpeg2",),
    "gif": ("gif",),
    "h264": ("h264", "h264-b", "h264-intra"),
    "hevc": ("hevc",),
    "m2v": ("mpeg2",),
    "m4v": ("mpeg4", "mpeg4-b"),
    "ivf": ("vp8", "vp9"),
    "y4m": ("raw",),
    "m3u8": ("h264", "h264-b"),
    "fmp4": ("h264", "h264-b", "hevc"),
}
RAW = ("h264", "hevc", "m2v", "m4v", "y4m", "ivf", "mxf", "gif")  # of one constant rate, or without sound
RATES = ("5", "10", "25/2", "24000/1001", "25", "30000/1001", "30", "50")
JOINABLE = ("ts", "mpg")
TURNED = ("mp4", "mov", "fmp4")


@dataclass(frozen=True)
class Case:
    """One video to be made. rate: pictures a second. start_s: added to all times. gap: a pause of so many seconds in
    the middle. late_s: how much earlier the sound begins; None: there is no sound. turn: clockwise, in degrees.
    is_joined: the file is there twice, one behind the other.
    """

    name: str
    container: str
    codec: str
    rate: str
    seconds: float
    start_s: float = 0.0
    gap_s: float = 0.0
    is_variable: bool = False
    late_s: float | None = None
    turn: int = 0
    is_joined: bool = False

    def __str__(self) -> str:
        about = [f"{self.container} {self.codec} {self.rate} fps {self.seconds:g} s"]
        about += [f"start {self.start_s:g}"] if self.start_s else []
        about += [f"gap {self.gap_s:g}"] if self.gap_s else []
        about += ["variable"] if self.is_variable else []
        about += [f"sound {self.late_s:g} s before"] if self.late_s is not None else []
        about += [f"turn {self.turn}"] if self.turn else []
        about += ["joined"] if self.is_joined else []
        return f"{self.name}: {', '.join(about)}"


def draw(number: int, seed: int = 0) -> Case:
    """The case of this number: containers in turn, all else by chance."""
    rng = random.Random(f"{seed} {number}")
    containers = list(CONTAINERS)
    container = containers[number % len(containers)]
    is_raw = container in RAW
    rate = "10" if container == "gif" else rng.choice(RATES)
    codec = rng.choice(CONTAINERS[container])
    if codec in ("mpeg1", "mpeg2"):
        rate = rng.choice(("25", "30000/1001", "24000/1001", "30", "50"))
    kind = rng.choice(("plain", "start", "gap", "variable", "sound", "turn", "join", "wrap"))
    values: dict[str, Any] = {}
    if kind == "start" and not is_raw:
        values["start_s"] = rng.choice((0.02, 0.3, 1.4, 6.0, 33.37))
    elif kind == "gap" and container not in ("mpg", "mxf", "avi") and not is_raw:
        values["gap_s"] = rng.choice((1.5, 4.0, 9.0, 75.0))
        if container in ("ts", "m3u8") and values["gap_s"] > 9:
            values["gap_s"] = 5.0
    elif kind == "variable" and container not in ("mpg", "mxf", "avi", "ogv") and not is_raw:
        values["is_variable"] = True
    elif kind == "sound" and container in ("mp4", "mov", "mkv", "ts", "flv", "m3u8"):
        values["late_s"] = rng.choice((0.0, 0.1, 0.7, 3.0))
    elif kind == "turn" and container in TURNED:
        values["turn"] = rng.choice((90, 180, 270))
    elif kind == "join" and container in JOINABLE:
        values["is_joined"] = True
    elif kind == "wrap" and container == "ts":
        values["start_s"] = 95441.0 + rng.random()
    return Case(f"v{number:03d}", container, codec, rate, rng.choice((1.0, 2.3, 4.0)), **values)


def make(case: Case, folder: Path) -> Path:
    """Write the video; its name ends as its container wants it."""
    suffix = {"fmp4": "mp4"}.get(case.container, case.container)
    path = folder / f"{case.name}.{suffix}"
    # every picture differs from all others: blocks that follow the bits of its number, and a bar that moves
    bits = "+".join(
        f"200*bitand(floor(N/{2**bit})\\,1)*between(X\\,{bit * 12}\\,{bit * 12 + 11})*lt(Y\\,40)" for bit in range(8)
    )
    picture = f"color=black:s={WIDTH}x{HEIGHT}:r={case.rate}:d={case.seconds},format=gray"
    picture += f",geq=lum='20+{bits}+gt(Y\\,44)*lt(X\\,40)*120',format=yuv420p"
    if case.is_variable:
        picture += ",setpts='PTS+mod(N*N\\,7)*0.02/TB'"
    if case.gap_s:
        picture += f",setpts='PTS+gte(N\\,{_middle(case)})*{case.gap_s}/TB'"
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi"]
    if case.late_s:
        command += ["-itsoffset", str(case.late_s)]
    command += ["-i", picture]
    if case.late_s is not None:
        command += [
            "-f",
            "lavfi",
            "-i",
            f"sine=d={case.seconds + 1}",
            "-c:a",
            "mp2" if case.container == "ts" else "aac",
        ]
    command += [*CODECS[case.codec], "-fps_mode", "vfr" if case.is_variable or case.gap_s else "passthrough"]
    if case.start_s:
        command += ["-output_ts_offset", str(case.start_s)]
    if case.container == "m3u8":
        command += ["-hls_time", "1", "-hls_list_size", "0"]
        command += ["-hls_segment_filename", str(folder / f"{case.name}-%03d.ts")]
    if case.container == "fmp4":
        command += ["-movflags", "frag_keyframe+empty_moov"]
    if case.container == "mpg":
        command += ["-f", "vob"]
    subprocess.run([*command, str(path)], check=True, timeout=60)
    if case.turn:
        turned = path.with_name(f"{case.name}-turned.{suffix}")
        how = ["-c", "copy", "-metadata:s:v:0", f"rotate={case.turn}"]
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(path), *how, str(turned)], check=True, timeout=60)
        turned.replace(path)
    if case.is_joined:
        path.write_bytes(path.read_bytes() * 2)
    return path


def _has_sound(path: Path) -> bool:
    command = [
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        "a",
        "-show_entries",
        "stream=index",
        "-of",
        "csv",
        str(path),
    ]
    return bool(subprocess.run(command, check=True, timeout=60, capture_output=True).stdout.strip())


def _middle(case: Case) -> int:
    return max(1, int(case.seconds * Fraction(case.rate) / 2))


@dataclass(frozen=True)
class Truth:
    """What ffmpeg reads. times_s: of each picture; pictures: of SMALL size, grey. last_s: how long the last one is
    shown.
    """

    times_s: list[float]
    pictures_NHW: np.ndarray
    last_s: float


def read_by_ffmpeg(path: Path) -> Truth:
    """Every picture that ffmpeg decodes, with its time on the container's clock."""
    raw, crc = path.with_suffix(".raw"), path.with_suffix(".crc")
    each = ["-map", "0:v:0", "-fps_mode", "passthrough", "-enc_time_base", "-1"]
    small = ["-vf", f"scale={SMALL[0]}:{SMALL[1]}:flags=area", "-pix_fmt", "gray", "-f", "rawvideo", str(raw)]
    sound = [
        "-map",
        "0:a?",
        "-c",
        "copy",
        "-f",
        "null",
        "-",
    ]  # or MPEG-TS begins with its pictures, whatever comes before
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(path), *each, *small, *each, "-f", "framecrc", str(crc)]
    command += sound if _has_sound(path) else []
    subprocess.run(command, check=True, timeout=60)
    tick_s, rows = 0.0, []
    for line in crc.read_text().splitlines():
        if line.startswith("#tb 0:"):
            tick_s = float(Fraction(line.removeprefix("#tb 0:").strip()))
        elif not line.startswith("#"):
            rows.append([int(word) for word in line.split(",")[:4]])
    pictures = np.fromfile(raw, np.uint8).reshape(-1, SMALL[1], SMALL[0])
    return Truth([row[2] * tick_s for row in rows], pictures, rows[-1][3] * tick_s)
