"""Looks at everything a run needs, one check each, and says what is missing and what to do. Main thread."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from assistant.config.keys import Config
from assistant.errors import SpeechError
from model.errors import OnlookerError

MIN_FREE_BYTES = 1 << 30
MICROPHONE_S = 1.0


@dataclass(frozen=True)
class Check:
    """One thing. needed: without it nothing can be watched; otherwise something is missing that has a way around."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = True


def examine(config: Config) -> list[Check]:
    """All checks, in the order a frame meets the parts. Never raises: what fails is a check that is not ok."""
    checks: list[Callable[[Config], Check]] = [
        _python,
        _torch,
        _device,
        _attention,
        _checkpoint,
        _weights,
        _disk,
        _video_files,
        _cameras_library,
        _camera,
        _runtime,
        _folders,
        _voice,
        _sound,
        _microphone,
    ]
    return [check(config) for check in checks]


def _python(config: Config) -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    is_fine = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Check("python", is_fine, version, "" if is_fine else "install Python 3.11, 3.12 or 3.13")


def _torch(config: Config) -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("torch", False, _first_line(error), "install it again: pip install torch")
    return Check("torch", True, torch.__version__)


def _device(config: Config) -> Check:
    from assistant.machine.devices import list_compute
    from assistant.mind.opening import resolve_device, resolve_dtype

    try:
        import torch

        device = resolve_device(config.model.device)
        names = {found.use: found.name for found in list_compute()}
    except (OnlookerError, ImportError, OSError) as error:
        return Check("device", False, _first_line(error), 'set model.device to "auto" or "cpu"')
    name = names.get("cuda:0" if device == "cuda" else device, device)
    from model.engine import has_graphs

    slow = device != "cpu" and not has_graphs(torch.device(device))
    detail = f"{device}, {resolve_dtype(config.model.dtype, device)}: {name}"
    remedy = "it runs the plain engine, many times slower than graphs on an NVIDIA GPU" if slow else ""
    return Check("device", True, detail, remedy)


def _attention(config: Config) -> Check:
    """What the plain engine attends with; graphs, where the device can run them, have kernels of their own."""
    from assistant.mind.opening import resolve_device

    try:
        import torch

        from model.decoder import FLASH_ATTENTION, resolve_attention

        device = torch.device(resolve_device(config.model.device))
    except (OnlookerError, ImportError, OSError):
        return Check("attention", True, "not known without the device")
    try:
        attention = resolve_attention(config.model.attention, device)
    except OnlookerError as error:
        return Check("attention", False, _first_line(error), 'set model.attention to "auto"')
    if attention == "flash_attention_2":
        return Check("attention", True, "flash-attn, for the plain engine")
    remedy = ""
    if device.type == "cuda" and config.model.engine == "plain":
        remedy = f"flash-attn makes the plain engine more than twice as fast: {FLASH_ATTENTION}"
    return Check("attention", True, "SDPA, for the plain engine", remedy)


def _checkpoint(config: Config) -> Check:
    from assistant.mind.opening import checkpoint_path

    name = config.model.name
    path = checkpoint_path(name)
    remedy = (
        "install onlooker again" if name == "default" else f"`onlooker model pull {name}`, or `onlooker model use …`"
    )
    try:
        if isinstance(path, str):
            from model.weights import is_present

            found = is_present(path)
            return Check("checkpoint", found, f"{name}: {'present' if found else 'not here'}", "" if found else remedy)
        from model.checkpoint import read_checkpoint

        spec = read_checkpoint(path).spec
    except (OnlookerError, ImportError, OSError) as error:
        return Check("checkpoint", False, _first_line(error), remedy)
    return Check("checkpoint", True, f"{name}: {spec.name}, {spec.fps:g} fps, threshold {spec.silence_threshold:g}")


def _weights(config: Config) -> Check:
    from assistant.mind.opening import needed_weights
    from model.weights import data_dir, is_present

    needed = needed_weights(config.model.name)
    missing = [name for name in needed if not is_present(name)]
    if missing:
        return Check("weights", False, f"missing: {', '.join(missing)}", f"`onlooker model pull {config.model.name}`")
    return Check("weights", True, f"{', '.join(needed) or 'none needed'} ({data_dir()})")


def _disk(config: Config) -> Check:
    from model.weights import data_dir

    folder = data_dir()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    is_fine = free >= MIN_FREE_BYTES
    remedy = "" if is_fine else "make room, or set $ONLOOKER_DATA to a folder on a larger disk"
    return Check("disk space", is_fine, f"{free / 1e9:.1f} GB free at {folder}", remedy, needed=False)


def _video_files(config: Config) -> Check:
    try:
        import av

        version = ".".join(str(part) for part in av.library_versions["libavcodec"])
    except (ImportError, OSError) as error:
        return Check("video files", False, _first_line(error), "install it again: pip install av")
    return Check("video files", True, f"PyAV {av.__version__}, libavcodec {version}")


def _cameras_library(config: Config) -> Check:
    try:
        import cv2
    except (ImportError, OSError) as error:
        remedy = "Debian: apt install libgl1 libglib2.0-0; or install it again: pip install opencv-python"
        return Check("camera library", False, _first_line(error), remedy, needed=False)
    return Check("camera library", True, f"OpenCV {cv2.__version__}")


def _camera(config: Config) -> Check:
    from assistant.machine.devices import list_cameras

    cameras = list_cameras()
    if not cameras:
        return Check("camera", False, "none found", "connect one; files and addresses work without", needed=False)
    return Check("camera", True, ", ".join(f"{camera.use} ({camera.name})" for camera in cameras))


def _runtime(config: Config) -> Check:
    """Whether the daemon's control socket can be made."""
    from assistant.control.instance import check_length, make_private, runtime_dir

    try:
        folder = runtime_dir()
        check_length(folder)
        make_private(folder)
    except OnlookerError as error:
        return Check("control socket", False, _first_line(error), "see the message; `onlooker watch` works without it")
    return Check("control socket", True, str(folder))


def _folders(config: Config) -> Check:
    """Whether what a run keeps can be written: weights, journal, configuration, log."""
    from platformdirs import user_log_path

    from assistant.config.settings import user_config_path
    from model.weights import data_dir

    closed = []
    for path in (data_dir(), user_config_path().parent, user_log_path("onlooker")):
        folder = path
        while not folder.exists():
            folder = folder.parent
        if not os.access(folder, os.W_OK | os.X_OK):
            closed.append(str(folder))
    if closed:
        return Check(
            "folders",
            False,
            f"cannot be written: {', '.join(dict.fromkeys(closed))}",
            "chown or chmod them",
            needed=False,
        )
    return Check("folders", True, "can be written")


def _voice(config: Config) -> Check:
    from assistant.voice.engines import open_engines

    voice = config.voice
    if not voice.enabled or voice.engine == "none":
        return Check("voice", True, "switched off", needed=False)
    failures = []
    for engine in open_engines(voice.engine, voice.rate_wpm, voice.volume):
        try:
            engine.synthesise("Ready.")
            start_s = time.monotonic()
            engine.synthesise("You pick up the red mug.")
            took_ms = (time.monotonic() - start_s) * 1000
        except SpeechError as error:
            failures.append(str(error))
            continue
        finally:
            engine.close()
        detail = "; ".join([f"{engine.name}, {took_ms:.0f} ms a sentence", *failures])
        return Check("voice", not failures, detail, "apt install espeak-ng" if failures else "", needed=False)
    return Check("voice", False, "; ".join(failures), "Debian: apt install espeak-ng libespeak-ng1", needed=False)


def _sound(config: Config) -> Check:
    from assistant.sound.card_child import default_output

    try:
        name, rate_hz = default_output()
    except SpeechError as error:
        remedy = "connect one; until then speech goes to a WAV file"
        return Check("sound output", False, str(error), remedy, needed=False)
    return Check("sound output", True, f"{name}, {rate_hz} Hz")


def _microphone(config: Config) -> Check:
    """Opens it for a moment: nobody else may have it for themselves, and it must bring sound."""
    from assistant.ear.activity import VoiceActivity
    from assistant.sound.card import Card
    from assistant.sound.card_child import CardPlan

    section = config.ear
    if section.mode == "off":
        return Check("microphone", True, "switched off (ear.mode)", needed=False)
    remedy = "connect one, or choose it (ear.microphone); questions can be typed all the same"
    card = Card(CardPlan(output=None, microphone=section.microphone_name))
    card.start()
    card.listen(is_on=True)
    try:
        card.wait_until_open(threading.Event())
        VoiceActivity()
        until_s, heard = time.monotonic() + MICROPHONE_S, bytearray()
        while time.monotonic() < until_s and not card.deaf:
            heard += card.heard.take(timeout_s=0.1) or b""
    except OnlookerError as error:
        return Check("microphone", False, str(error), remedy, needed=False)
    finally:
        card.close()
    if not heard:
        return Check("microphone", False, card.deaf or "no sound comes from it", remedy, needed=False)
    if not any(heard):
        remedy = "unmute it in your system's sound settings"
        return Check(
            "microphone", False, f"{card.microphone_name}: nothing but zeros comes from it", remedy, needed=False
        )
    return Check("microphone", True, f"{card.microphone_name}; {section.mode}", needed=False)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
