"""Opens the model that the configuration names, on the device it names. Runs on the main thread, once a run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import model
from assistant.config.keys import ModelSection, StreamSection
from assistant.errors import ConfigError, DeviceMissing
from assistant.mind.familiarity import Familiarity
from assistant.runtime.faults import fault_of
from assistant.runtime.folders import absolute

if TYPE_CHECKING:
    from model.fetching import Progress
    from model.stream import Stream
    from model.videolm import VideoLM


def checkpoint_path(name: str) -> str | Path:
    """A folder for "default" and for names of folders that exist; everything else is a model hub's name, as it is."""
    if name == "default":
        return Path(model.__file__).parent / "checkpoints" / "default"
    folder = absolute(name)
    try:
        return folder if folder.is_dir() else name
    except OSError:  # a name that is too long
        return name


def needed_weights(name: str) -> list[str]:
    """The named weights that a checkpoint of our own format stands on; none for other formats, which bring paths."""
    from model.catalog import CATALOG

    try:
        spec = json.loads((Path(checkpoint_path(name)) / "onlooker.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    vision = spec.get("vision") or {}
    return [part for part in (spec.get("decoder"), vision.get("weights")) if part in CATALOG]


def resolve_device(device: str) -> str:
    """The device that "auto" means here, or the one that was asked for. Raises DeviceMissing if it is not there."""
    if device == "cpu":
        return device
    import torch

    num_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has_mps = torch.backends.mps.is_available()
    if device == "auto":
        return "cuda" if num_devices else "mps" if has_mps else "cpu"
    if device == "mps":
        if not has_mps:
            raise DeviceMissing(
                'model.device = "mps": no Apple GPU here; set it to "auto" or "cpu" (`onlooker doctor`)'
            )
        return device
    index = int(device.partition(":")[2] or 0)
    if index >= num_devices:
        there = f"{num_devices} CUDA device(s) here" if num_devices else "no CUDA device here"
        raise DeviceMissing(f'model.device = "{device}": {there}; set it to "auto" or "cpu" (`onlooker doctor`)')
    return device


def resolve_dtype(dtype: str, device: str) -> str:
    """The number format that "auto" means on this device."""
    if dtype != "auto":
        return dtype
    return "bfloat16" if device.startswith("cuda") else "float32"


def open_model(section: ModelSection, *, on_progress: Callable[[Progress], None] | None = None) -> VideoLM:
    """The model, ready to run; missing named weights are fetched first.

    on_progress: hears of the bytes. Raises DeviceMissing, and what model.assembly.open_checkpoint raises.
    """
    _prepare_libraries()
    from model.assembly import open_checkpoint
    from model.weights import ensure, quantized_dir

    device = resolve_device(section.device)
    for weights in needed_weights(section.name):
        ensure(weights, on_progress=on_progress)
    dtype = resolve_dtype(section.dtype, device)
    try:
        return open_checkpoint(
            checkpoint_path(section.name),
            device=device,
            dtype=dtype,
            attention=section.attention,
            engine=section.engine,
            weights=section.weights,
            keep_in=quantized_dir(),
        )
    except RuntimeError as error:
        match fault_of(error):
            case "memory":
                raise no_room(device) from None
            case "gpu":
                reason = str(error).splitlines()[0]
                raise DeviceMissing(f"{device}: cannot be used: {reason} (`onlooker doctor`)") from None
        raise


def no_room(device: str) -> DeviceMissing:
    """What is said where a model, or the smallest stream of it, is too large for the device."""
    remedy = 'close other programs that use it, or set model.weights = "int8", or a smaller model.name'
    return DeviceMissing(f"{device}: has no room for the model; {remedy}")


def open_random(shape: str, section: ModelSection) -> VideoLM:
    """A model of one of model.shapes.SHAPES with random weights, where and as the configuration says.

    Raises DeviceMissing, and what model.shapes.open_shape raises.
    """
    _prepare_libraries()
    import torch

    from model.assembly import DTYPES
    from model.shapes import open_shape

    device = resolve_device(section.device)
    dtype = DTYPES[resolve_dtype(section.dtype, device)]
    return open_shape(
        shape,
        device=torch.device(device),
        dtype=dtype,
        attention=section.attention,
        engine=section.engine,
        weights=section.weights,
    )


def settle() -> None:
    """Once the model is open: its half a million objects are there to stay, so Python need not look through them again
    and again for what could be collected, which stops all threads for 0.2 s."""
    import gc

    gc.collect()
    gc.freeze()


def open_stream(model: VideoLM, section: StreamSection) -> Stream:
    """A fresh stream, as the configuration says. Raises ConfigError (window too small)."""
    from model.errors import StreamError

    try:
        return model.open_stream(
            silence_threshold=section.threshold(model.silence_threshold),
            window_tokens=section.window_tokens,
            max_reply_tokens=section.max_reply_tokens,
            when_full=section.when_full,
        )
    except StreamError as error:
        raise ConfigError([f"stream.{error}"]) from None


def familiarity_of(model: VideoLM, section: StreamSection) -> Familiarity:
    """What tells the model's own world from others, if the model knows it, and the configuration asks for it."""
    world = model.encoder.world if section.unfamiliar == "silent" else None
    return Familiarity(None if world is None else world.limit, section.fps)


def check_stream(model: VideoLM, section: StreamSection) -> None:
    """Raises ConfigError for a window that is too small; opens nothing."""
    from model.errors import StreamError
    from model.stream import check_window

    try:
        check_window(model.grammar, section.window_tokens, section.max_reply_tokens)
    except StreamError as error:
        raise ConfigError([f"stream.{error}"]) from None


def _prepare_libraries() -> None:
    """Before torch is loaded: how its threads wait, and what transformers may print."""
    import warnings

    # Idle threads of torch sleep instead of spinning. Read when torch is loaded. Our encoder and mind threads, and the
    # user's other programs, share the cores: with both busy, a frame took 3.5 s spinning and 0.7 s sleeping.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()  # its bars, and warnings for developers, would stand between our remarks
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
