"""Makes packaging/pictures/watch.png: the frames of the bundled clip at which Onlooker spoke, with what it said.

Runs the real thing (`onlooker watch demo --max-speed --json`); nothing in the picture is written by hand.
"""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).parents[1]
SIDE, BAR, COLUMNS, LETTERS = 300, 48, 3, 38


def main() -> None:
    """Write the picture."""
    command = [sys.executable, "-m", "assistant", "watch", "demo", "--max-speed", "--no-say", "--json"]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=600).stdout
    remarks = [r for r in map(json.loads, output.splitlines()) if r["kind"] == "remark"]
    tiles = [tile(frame_at(r["time"]), f"[00:{r['time']:04.1f}]  {r['text']}") for r in remarks]
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * SIDE, rows * (SIDE + BAR)), "black")
    for index, picture in enumerate(tiles):
        sheet.paste(picture, (index % COLUMNS * SIDE, index // COLUMNS * (SIDE + BAR)))
    target = ROOT / "packaging" / "pictures" / "watch.png"
    target.parent.mkdir(exist_ok=True)
    sheet.quantize(128).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1e3:.0f} kB, {len(tiles)} remarks")


def frame_at(time_s: float) -> Image.Image:
    """The clip's frame at `time_s`."""
    with av.open(str(ROOT / "assistant" / "demo.mp4")) as clip:
        for frame in clip.decode(video=0):
            if frame.time is not None and frame.time >= time_s - 1e-3:
                return frame.to_image()
    raise ValueError(f"the clip ends before {time_s} s")


def tile(picture: Image.Image, caption: str) -> Image.Image:
    """A frame with its caption below."""
    result = Image.new("RGB", (SIDE, SIDE + BAR), (24, 24, 28))
    result.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (0, 0))
    font = ImageFont.load_default(13)
    ImageDraw.Draw(result).text((8, SIDE + 7), textwrap.fill(caption, LETTERS), fill=(235, 235, 240), font=font)
    return result


if __name__ == "__main__":
    main()
