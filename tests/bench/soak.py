"""A soak: the daemon with the default model over a camera that repeats the bundled clip, sampled for hours.

    python tests/bench/soak.py --hours 2 --out out/soak

Every five seconds: frames, latency, memory, threads and open files of the daemon with its children. At the end
soak.json (slopes, gaps, latencies of the first and the last part), samples.csv and soak.png. The daemon keeps no
journal, does not speak, and has a control socket of its own.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from tqdm import tqdm

from assistant.capture.source import demo_path
from assistant.control.client import Client
from assistant.control.instance import RUNTIME_VARIABLE
from model.errors import OnlookerError

ROOT = Path(__file__).parents[2]
CAMERA_FPS = 10
SAMPLE_S = 5.0
SETTLE_S = 120.0  # libraries still take memory in the first minutes
FIELDS = ("at_s", "pid", "frames", "dropped", "latency_s", "age_s", "rss_mb", "children_mb", "threads", "fds")


def read_pictures() -> list[bytes]:
    """The bundled clip as JPEGs, CAMERA_FPS a second."""
    video = cv2.VideoCapture(str(demo_path()))
    step = max(1, round(video.get(cv2.CAP_PROP_FPS) / CAMERA_FPS))
    pictures, number = [], 0
    while (found := video.read())[0]:
        if number % step == 0:
            pictures.append(cv2.imencode(".jpg", found[1])[1].tobytes())
        number += 1
    return pictures


def serve_camera(pictures: list[bytes]) -> str:
    """MJPEG over HTTP, from a thread; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            start_s, number = time.monotonic(), 0
            while True:
                jpeg = pictures[number % len(pictures)]
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")
                number += 1
                time.sleep(max(0.0, start_s + number / CAMERA_FPS - time.monotonic()))

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/cam"


def sample(directory: Path, start_s: float) -> dict[str, Any]:
    with Client.connect(directory) as client:
        facts, process = client.request("status"), psutil.Process(client.daemon.pid)
    children = process.children(recursive=True)
    return {
        "at_s": round(time.monotonic() - start_s, 2),
        "pid": process.pid,
        "frames": facts["frames"],
        "dropped": facts["dropped"],
        "latency_s": facts["latency_s"],
        "age_s": facts["parts"]["mind"]["age_s"],
        "rss_mb": process.memory_info().rss / 1e6,
        "children_mb": sum(child.memory_info().rss for child in children) / 1e6,
        "threads": process.num_threads() + sum(child.num_threads() for child in children),
        "fds": process.num_fds() + sum(child.num_fds() for child in children),
    }


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Slopes per hour by least squares over what comes after SETTLE_S; latencies of the first and last quarter."""
    rows = [row for row in rows if row["at_s"] >= SETTLE_S] or rows
    hours = np.array([row["at_s"] for row in rows]) / 3600
    slopes = {
        f"{name}_per_hour": round(float(np.polyfit(hours, [row[name] for row in rows], 1)[0]), 3)
        for name in ("rss_mb", "children_mb", "threads", "fds")
    }
    quarter = max(1, len(rows) // 4)
    latencies = {
        which: [round(float(value), 3) for value in np.quantile([row["latency_s"] for row in part], (0.5, 0.99))]
        for which, part in (("first", rows[:quarter]), ("last", rows[-quarter:]))
    }
    return {
        "hours": round(float(hours[-1] - hours[0]), 3),
        "processes": len({row["pid"] for row in rows}),
        "frames": rows[-1]["frames"] - rows[0]["frames"],
        "fps": round((rows[-1]["frames"] - rows[0]["frames"]) / (rows[-1]["at_s"] - rows[0]["at_s"]), 3),
        "dropped": rows[-1]["dropped"] - rows[0]["dropped"],
        "longest_gap_s": max(row["age_s"] for row in rows),
        "latency_p50_p99_s": latencies,
        "rss_mb": [round(rows[0]["rss_mb"], 1), round(rows[-1]["rss_mb"], 1)],
        **slopes,
    }


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    names = ("rss_mb", "children_mb", "threads", "fds", "latency_s")
    for axes, name in zip(figure.subplots(len(names), sharex=True), names, strict=True):
        axes.plot([row["at_s"] / 3600 for row in rows], [row[name] for row in rows], linewidth=0.8)
        axes.set_ylabel(name)
    figure.axes[-1].set_xlabel("hours")
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--out", type=Path, default=Path("out/soak"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    address = serve_camera(read_pictures())
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        directory = Path(folder)
        directory.chmod(0o700)
        environ = {**os.environ, RUNTIME_VARIABLE: folder, "PYTHONPATH": str(ROOT)}
        log = args.out / "run.log"
        command = [sys.executable, "-m", "assistant", "run", address, "--no-say", "--log", str(log)]
        daemon = subprocess.Popen(command, cwd=ROOT, env=environ)
        start_s = time.monotonic()
        try:
            with tqdm(total=round(args.hours * 3600), unit="s") as bar, (args.out / "samples.csv").open("w") as file:
                writer = csv.DictWriter(file, FIELDS)
                writer.writeheader()
                while (at_s := time.monotonic() - start_s) < args.hours * 3600:
                    assert daemon.poll() is None, f"the daemon ended with {daemon.returncode}; see {log}"
                    bar.update(round(at_s) - bar.n)
                    try:
                        row = sample(directory, start_s)
                    except OnlookerError:  # it is still being started
                        row = {"latency_s": None}
                    if row["latency_s"] is not None:
                        rows.append(row)
                        writer.writerow(row)
                        file.flush()
                    time.sleep(SAMPLE_S)
        finally:
            daemon.terminate()
            daemon.wait(20)
    summary = summarise(rows)
    (args.out / "soak.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    draw(rows, args.out / "soak.png")
    print(json.dumps(summary, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
