"""The published VideoLLM-online checkpoints: where their parts lie, and what they leave unsaid.

An adapter folder names its base but neither its vision encoder nor its frame tokens. A folder `base` or `vision` beside
the adapter takes precedence; an `onlooker.json` in the adapter's folder may set "vision", "grammar" and "base";
otherwise it is v1+: SigLIP-L/16 at 384 pixels, ten tokens a frame.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from peft import LoraConfig

from model.errors import CheckpointError

PEFT_PREFIX = "base_model.model."
PUBLISHED_VISION = "google/siglip-large-patch16-384"


@dataclass(frozen=True)
class ReferenceParts:
    """What `find_reference` found. vision, grammar: arguments of VisionSpec and GrammarSpec."""

    name: str
    adapter: Path
    base: str
    config: dict
    vision: dict
    grammar: dict


def find_reference(folder: Path) -> ReferenceParts:
    """The parts of a reference checkpoint in `folder` (or its `adapter` subfolder). Raises CheckpointError."""
    adapter = folder / "adapter" if (folder / "adapter" / "adapter_config.json").is_file() else folder
    config = _read_json(adapter / "adapter_config.json", required=True)
    if config.get("peft_type") != "LORA" or "connector" not in (config.get("modules_to_save") or []):
        raise CheckpointError(
            f"{adapter}: not a VideoLLM-online adapter (LoRA with a connector), nor a native checkpoint"
        )
    extra = _read_json(adapter / "onlooker.json", required=False)
    base = str(extra.get("base") or config["base_model_name_or_path"])
    for neighbour in (adapter / base, adapter.parent / base, adapter.parent / "base"):
        if (neighbour / "config.json").is_file():
            base = str(neighbour)
            break
    grammar = {"num_frame_tokens": 10, "has_interval": True} | extra.get("grammar", {})
    vision = _vision(adapter.parent / "vision", grid=3 if grammar["num_frame_tokens"] == 10 else 0)
    return ReferenceParts(folder.name, adapter, base, config, vision | extra.get("vision", {}), grammar)


def adapter_config(lora: LoraConfig, base: str) -> LoraConfig:
    """A PEFT configuration as the published ones are: the connector is saved with the adapter."""
    lora.modules_to_save = ["connector"]
    lora.base_model_name_or_path = base
    lora.inference_mode = True
    return lora


def _vision(folder: Path, grid: int) -> dict:
    found = _read_json(folder / "config.json", required=False)
    size = found.get("vision_config", found).get("image_size", 384) if found else 384
    name = str(folder) if found else PUBLISHED_VISION
    return {"library": "transformers", "name": name, "weights": "", "image_size": size, "grid": grid}


def _read_json(path: Path, *, required: bool) -> dict:
    if not path.is_file() and not required:
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: cannot be read: {error}; a checkpoint folder holds onlooker.json and weights.safetensors, or "
            "adapter_config.json and adapter_model.safetensors"
        ) from error
