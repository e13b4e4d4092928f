"""What this machine has: cameras, screens, sound outputs, microphones, compute devices. Opens nothing, but asks the
system.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from assistant.errors import SpeechError
from assistant.runtime.children import Child, Main

NUM_PROBED = 4
PROBE_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Device:
    """kind: "camera", "screen", "sound output", "microphone" or "compute". use: what to write in a command or the
    configuration.
    """

    kind: str
    use: str
    name: str


def list_all() -> dict[str, list[Device]]:
    """Everything, by kind; a kind of which there is none is there all the same."""
    screens, outputs, microphones = _ask_child(probe_others_main, ([], [], []))
    return {
        "camera": list_cameras(),
        "screen": screens,
        "sound output": outputs,
        "microphone": microphones,
        "compute": list_compute(),
    }


def list_cameras() -> list[Device]:
    """Cameras that deliver pictures. Elsewhere than on Linux each is opened for a moment, in a child process."""
    if sys.platform == "linux":
        return linux_cameras(Path("/sys/class/video4linux"))
    found = _ask_child(probe_cameras_main, [])
    return [Device("camera", f"camera:{index}", f"camera {index}") for index in found]


def _ask_child(main: Main, nothing: Any) -> Any:
    """What a child sends; `nothing` if it dies, or hangs in a driver or with a server of sound."""
    child = Child(main, name="onlooker-probe")
    try:
        found = child.receive(timeout_s=PROBE_TIMEOUT_S)
    except EOFError:
        found = None
    finally:
        child.end()
    return nothing if found is None else found


def probe_others_main(connection: Connection) -> None:
    """Child: (screens, sound outputs, microphones)."""
    connection.send((list_screens(), list_sound("output"), list_sound("input")))


def linux_cameras(folder: Path) -> list[Device]:
    """folder: /sys/class/video4linux. A camera's further nodes (metadata) have an index above 0."""
    cameras = []
    for node in sorted(folder.glob("video*"), key=lambda path: int(path.name.removeprefix("video"))):
        try:
            if int((node / "index").read_text()) == 0:
                name = (node / "name").read_text().strip()
                cameras.append(Device("camera", f"camera:{node.name.removeprefix('video')}", name))
        except (OSError, ValueError):
            continue
    return cameras


def probe_cameras_main(connection: Connection) -> None:
    """Child: the indexes of the cameras that open."""
    os.environ["OPENCV_LOG_LEVEL"] = "OFF"
    import cv2

    found = []
    for index in range(NUM_PROBED):
        camera = cv2.VideoCapture(index)
        if camera.isOpened():
            found.append(index)
        camera.release()
    connection.send(found)


def list_screens() -> list[Device]:
    """The screens that can be watched; on Linux those of an X server."""
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        return []
    import mss
    from mss.exception import ScreenShotError

    try:
        with mss.mss() as screens:
            monitors = screens.monitors[1:]  # the first is all of them together
    except ScreenShotError:
        return []
    return [
        Device("screen", f"screen:{number}", f"{monitor['width']} × {monitor['height']}")
        for number, monitor in enumerate(monitors, start=1)
    ]


def list_sound(direction: Literal["output", "input"]) -> list[Device]:
    """The system's own sound output or microphone, and where there is one all others. Empty without a working sound
    system.

    In a process of its own: PortAudio only knows the devices that were there when it was loaded.
    """
    from assistant.sound.card_child import find_device

    try:
        _, default = find_device(direction, "")
    except SpeechError:
        return []
    import sounddevice

    kind = "sound output" if direction == "output" else "microphone"
    names = [str(device["name"]) for device in sounddevice.query_devices() if device[f"max_{direction}_channels"] > 0]
    return [Device(kind, "default" if name == default["name"] else "", name) for name in names]


def list_compute() -> list[Device]:
    """The CPU and every CUDA device."""
    import torch

    found = [Device("compute", "cpu", f"CPU, {os.cpu_count()} cores, {torch.get_num_threads()} threads used")]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            found.append(Device("compute", f"cuda:{index}", f"{about.name}, {about.total_memory / 1e9:.0f} GB"))
    if torch.backends.mps.is_available():
        found.append(Device("compute", "mps", "Apple GPU"))
    return found
