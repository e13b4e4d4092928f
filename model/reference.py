"""Published checkpoints of both families: where their parts lie, and what they leave unsaid.

VideoLLM-online: an adapter folder names its base but neither its vision encoder nor its frame tokens. A folder `base`
or `vision` beside the adapter takes precedence; an `onlooker.json` in the adapter's folder may set "vision", "grammar"
and "base"; otherwise it is v1+: SigLIP-L/16 at 384 pixels, ten tokens a frame.

ProAssist: a `config.json` beside the adapter says all of that. Adapters of earlier rounds of training lie in
`adapter_0`, `adapter_1` … in its folder, and are merged into the base in that order, before its own.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from peft import LoraConfig

from model.errors import CheckpointError

PEFT_PREFIX = "base_model.model."
PUBLISHED_VISION = "google/siglip-large-patch16-384"
PROASSIST_CONFIG = "config.json"
PROASSIST_THRESHOLD = 0.4
"""In the middle of those at which it was published (0.2 to 0.6)."""

CONNECTORS = {"videollm-online": "connector", "proassist": "mm_projector"}
"""By the template of the grammar: what the connector is called in an adapter."""


@dataclass(frozen=True)
class ReferenceParts:
    """What `find_reference` found.

    configs: by folder, the PEFT configuration of each adapter, in the order in which they are merged; the last one has
    the connector. vision, grammar: arguments of VisionSpec and GrammarSpec. silence_threshold: 0–1.
    """

    name: str
    configs: dict[Path, dict]
    base: str
    vision: dict
    grammar: dict
    silence_threshold: float = 0.725

    @property
    def adapter(self) -> Path:
        """The folder of the last adapter."""
        return next(reversed(self.configs))


def find_reference(folder: Path) -> ReferenceParts:
    """The parts of a reference checkpoint in `folder` (or its `adapter` subfolder). Raises CheckpointError."""
    try:
        return _find(folder)
    except (TypeError, KeyError, ValueError, AttributeError, RecursionError) as error:  # JSON of another shape
        raise CheckpointError(
            f"{folder}: its adapter_config.json, config.json or onlooker.json cannot be understood: {error}; get the "
            "checkpoint again"
        ) from error


def _find(folder: Path) -> ReferenceParts:
    adapter = next((f for f in (folder, folder / "adapter", folder / "checkpoint") if _is_adapter(f)), folder)
    config = _read_json(adapter / "adapter_config.json", required=True)
    saved = config.get("modules_to_save") or []
    if config.get("peft_type") != "LORA" or len(saved) != 1 or saved[0] not in CONNECTORS.values():
        raise CheckpointError(
            f"{adapter}: not an adapter of VideoLLM-online or ProAssist (LoRA, connector), nor a native checkpoint"
        )
    if CONNECTORS["proassist"] in saved:
        return _find_proassist(folder.name, adapter, config)
    extra = _read_json(adapter / "onlooker.json", required=False)
    base = str(extra.get("base") or config["base_model_name_or_path"])
    grammar = {"num_frame_tokens": 10, "has_interval": True} | extra.get("grammar", {})
    vision = _vision(adapter.parent / "vision", grid=3 if grammar["num_frame_tokens"] == 10 else 0)
    return ReferenceParts(
        folder.name, {adapter: config}, _beside(adapter, base, "base"), vision | extra.get("vision", {}), grammar
    )


def _find_proassist(name: str, adapter: Path, config: dict) -> ReferenceParts:
    path = adapter / PROASSIST_CONFIG
    said = _read_json(path, required=True)
    for key, wanted in (("use_img_cls_token", True), ("img_sep_token", ""), ("use_binary_decision_head", False),
                        ("use_pose", False)):  # fmt: skip
        if said.get(key, wanted) != wanted:
            raise CheckpointError(
                f"{path}: {key} = {said[key]!r}: only {wanted!r} is known here; take another checkpoint"
            )
    try:
        grid, base, vision = said["img_patch_token_size"], said["llm_pretrained"], said["vision_pretrained"]
    except KeyError as error:
        raise CheckpointError(f"{path}: lacks {error}; get the checkpoint again") from None
    for key in ("llm_pretrained", "vision_pretrained", "eos_token"):
        if not isinstance(said.get(key, ""), str):
            raise CheckpointError(f"{path}: {key} = {said[key]!r}: must be a text; get the checkpoint again")
    if grid not in (0, 2, 3) or type(grid) is not int:
        raise CheckpointError(f"{path}: img_patch_token_size = {grid!r}: must be 0, 2 or 3")
    found = Path(_beside(adapter, vision, "vision"))
    tower = _vision(found, grid=grid) | {"fit": "stretch"}
    if not found.is_dir():
        tower |= {"name": vision, "image_size": said.get("img_resolution") or tower["image_size"]}
    grammar = {
        "template": "proassist",
        "num_frame_tokens": 1 + grid * grid,
        "has_interval": False,
        "eos_token": said.get("eos_token") or "<|eot_id|>",
    }
    rounds = _rounds(adapter)
    configs = {f: _read_json(f / "adapter_config.json", required=True) for f in rounds} | {adapter: config}
    return ReferenceParts(name, configs, _beside(adapter, base, "base"), tower, grammar, PROASSIST_THRESHOLD)


def _rounds(adapter: Path) -> list[Path]:
    """The folders of earlier rounds, adapter_0 and on. Raises CheckpointError if one is missing, or is none."""
    found = [path for path in adapter.glob("adapter_*") if re.fullmatch(r"adapter_[0-9]+", path.name)]
    wanted = [adapter / f"adapter_{number}" for number in range(len(found))]
    for path in (*found, *wanted):
        if path not in wanted or not _is_adapter(path):
            raise CheckpointError(
                f"{path}: earlier rounds are folders adapter_0, adapter_1 … without a gap, each with its "
                "adapter_config.json; get the checkpoint again"
            )
    return wanted


def _is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


def _beside(adapter: Path, name: str, usual: str) -> str:
    """The folder of another part: of its own name in the adapter's folder or beside it, or beside it of the usual name;
    without any, the name, which is one on the hub."""
    for folder in (adapter / name, adapter.parent / name, adapter.parent / usual):
        if (folder / "config.json").is_file():
            return str(folder)
    return name


def proassist_config(grid: int, base: str, vision: str, image_size: int, eos_token: str) -> dict:
    """What stands in a ProAssist checkpoint's `config.json`, as far as it is read again."""
    return {
        "llm_pretrained": base,
        "vision_pretrained": vision,
        "use_img_cls_token": True,
        "img_patch_token_size": grid,
        "img_sep_token": "",
        "img_resolution": image_size,
        "eos_token": eos_token,
    }


def adapter_config(lora: LoraConfig, base: str, connector: str) -> LoraConfig:
    """A PEFT configuration as the published ones are: the connector is saved with the adapter."""
    lora.modules_to_save = [connector]
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
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no table of keys")
        return found
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: cannot be read: {error}; a checkpoint folder holds onlooker.json and weights.safetensors, or "
            "adapter_config.json and adapter_model.safetensors"
        ) from error
