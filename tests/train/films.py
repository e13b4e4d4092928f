"""Small videos whose colour says which second it is, what is said in them, and the seconds that frames show."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from train.recordings.footage import probe, sample

SIDE = 64


def colour(second: int) -> tuple[int, int, int]:
    """Any two seconds within two minutes look clearly different."""
    return (40 + 30 * (second % 5), 40 + 30 * (second // 5 % 5), 40 + 30 * (second // 25 % 5))


def picture(second: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), colour(second), np.uint8)


def film(
    path: Path, seconds: float, *, rate: int = 10, times_s=None, codec: str = "libx264", draw=picture, **shape
) -> Path:
    """A video whose colour says which second it is. times_s: of its pictures, if they are not evenly spaced."""
    times_s = times_s if times_s is not None else [k / rate for k in range(round(seconds * rate))]
    with av.open(str(path), "w") as container:
        first = draw(0, **shape)
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        stream.options = {"crf": "12", "g": "5"} if codec == "libx264" else {}
        for time_s in times_s:
            frame = av.VideoFrame.from_ndarray(draw(int(time_s + 1e-9), **shape), format="rgb24")
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def seconds_shown(frames: np.ndarray) -> list[int]:
    """Which second each frame's middle has the colour of."""
    middle = frames[:, SIDE // 2, SIDE // 2].astype(int)
    known = np.array([colour(second) for second in range(125)])
    return [int(np.abs(known - pixel).sum(1).argmin()) for pixel in middle]


def sampled(path: Path, fps: float) -> np.ndarray:
    return np.stack([frame for _, frame in sample(probe(path), fps, SIDE)])


def narrate(path: Path, *cues: tuple[float, str]) -> None:
    def clock(time_s: float) -> str:
        return f"00:{int(time_s) // 60:02d}:{int(time_s) % 60:02d},{round(time_s * 1000) % 1000:03d}"

    path.write_text("\n\n".join(f"{n}\n{clock(t)} --> {clock(t + 1)}\n{text}" for n, (t, text) in enumerate(cues, 1)))
