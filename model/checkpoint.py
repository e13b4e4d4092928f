"""Checkpoints: our own format and the published PEFT format, read and written; `model.assembly` makes models of them.

Native: a folder with `onlooker.json` (what the checkpoint is) and `weights.safetensors` (`connector.*`, `lora.*` or, if
all of it was trained, `decoder.*`, and where the tower was trained too, `vision.*`). Reference: a PEFT adapter as
VideoLLM-online and ProAssist publish it, its base and vision weights elsewhere. Both become a `Checkpoint`: a spec and
its tensors.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model import weights as named_weights
from model.errors import CheckpointError
from model.grammar import GrammarSpec
from model.published import PUBLISHED
from model.reference import (
    CONNECTORS,
    PEFT_PREFIX,
    PROASSIST_CONFIG,
    adapter_config,
    find_reference,
    proassist_config,
)
from model.tensors import first_few
from model.vision import VisionSpec
from model.world import WORLD_FILE, OwnWorld, read_world, write_world

FORMAT = 1
SPEC_FILE, WEIGHTS_FILE = "onlooker.json", "weights.safetensors"
DEFAULT = Path(__file__).parent / "checkpoints" / "default"
"""The checkpoint that is shipped with the package."""

_GROUPS = ("connector", "lora", "vision", "decoder")
_EARLIER = "lora_"
PLAIN_LORA = {
    "peft_type": "LORA",
    "use_rslora": False,
    "use_dora": False,
    "use_qalora": False,
    "fan_in_fan_out": False,
    "bias": "none",
    "alpha_pattern": {},
    "rank_pattern": {},
    "layers_to_transform": None,
    "layer_replication": None,
    "target_parameters": None,
}
"""Settings of an adapter that change what it computes, as they are where it is what `LoraSpec` describes."""


@dataclass(frozen=True)
class LoraSpec:
    """Low-rank adapters on the decoder (Hu et al. 2021). target_modules: a regular expression or names, as in PEFT."""

    r: int
    alpha: int
    target_modules: str | tuple[str, ...]
    dropout: float = 0.0

    def to_peft(self) -> LoraConfig:
        """The same as PEFT writes it."""
        targets = self.target_modules if isinstance(self.target_modules, str) else list(self.target_modules)
        return LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
        )


@dataclass(frozen=True)
class CheckpointSpec:
    """What a checkpoint is.

    decoder: a named weight, a folder or a hub name. lora: its adapters; earlier_loras: those of earlier rounds of
    training, which are merged before. fps: frames a second. silence_threshold: 0–1. reads_notes: see `VideoLM`.
    """

    name: str
    decoder: str
    vision: VisionSpec
    grammar: GrammarSpec = field(default_factory=GrammarSpec)
    lora: LoraSpec | None = None
    fps: float = 2.0
    silence_threshold: float = 0.725
    reads_notes: bool = False
    earlier_loras: tuple[LoraSpec, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """A spec with its tensors: the connector's, PEFT's LoRA names, the tower's and decoder's if they were trained; and
    what its own world looks like, if that was learned.
    """

    spec: CheckpointSpec
    connector: dict[str, Tensor]
    lora: dict[str, Tensor] = field(default_factory=dict)
    vision: dict[str, Tensor] = field(default_factory=dict)
    decoder: dict[str, Tensor] = field(default_factory=dict)
    earlier_loras: tuple[dict[str, Tensor], ...] = ()
    world: OwnWorld | None = None
    folder: Path | None = field(default=None, compare=False)
    """Where it was read."""

    @property
    def where(self) -> str:
        """For messages: the file of its tensors, or its name where it was not read from one."""
        return self.spec.name if self.folder is None else str(self.folder)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The spec and tensors in `path`, of either format. Raises CheckpointError naming what is wrong with it."""
    folder = _local_folder(path)
    if (folder / SPEC_FILE).is_file() and (folder / WEIGHTS_FILE).is_file():
        return _read_native(folder)
    return _read_reference(folder)


def write_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the native format. Existing files are replaced only when all are written."""
    groups = {name: getattr(checkpoint, name) for name in _GROUPS}
    groups |= {f"{_EARLIER}{number}": group for number, group in enumerate(checkpoint.earlier_loras)}
    tensors = {f"{g}.{k}": v.contiguous() for g, group in groups.items() for k, v in group.items()}
    folder.mkdir(parents=True, exist_ok=True)
    drafts = {name: folder / f".{name}.draft" for name in (WEIGHTS_FILE, SPEC_FILE)}
    save_file(tensors, drafts[WEIGHTS_FILE], metadata={"format": "pt"})
    spec = {"format": FORMAT, **asdict(checkpoint.spec)}
    drafts[SPEC_FILE].write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")
    for name, draft in drafts.items():
        draft.replace(folder / name)
    if checkpoint.world is not None:
        write_world(checkpoint.world, folder)
    else:
        (folder / WORLD_FILE).unlink(missing_ok=True)


def write_reference(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the PEFT format of the published checkpoints. A trained vision tower has no place in it."""
    spec = checkpoint.spec
    if checkpoint.vision or checkpoint.decoder or spec.lora is None:
        raise CheckpointError(f"{spec.name}: the reference format holds LoRA and a connector only; export natively")
    template = spec.grammar.template
    if spec.earlier_loras and template != "proassist":
        raise CheckpointError(f"{spec.name}: has adapters of several rounds, of which this format knows one")
    connector = CONNECTORS[template]
    tensors = {f"{PEFT_PREFIX}{connector}.{k}": v for k, v in checkpoint.connector.items()}
    _write_adapter(folder, tensors | checkpoint.lora, adapter_config(spec.lora.to_peft(), spec.decoder, connector))
    for number, (lora, earlier) in enumerate(zip(spec.earlier_loras, checkpoint.earlier_loras, strict=True)):
        _write_adapter(folder / f"adapter_{number}", earlier, lora.to_peft())
    if template == "proassist":
        vision, eos = spec.vision, spec.grammar.eos_token or "<|eot_id|>"
        config = proassist_config(vision.grid, spec.decoder, vision.name, vision.image_size, eos)
        (folder / PROASSIST_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _write_adapter(folder: Path, tensors: dict[str, Tensor], config: LoraConfig) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(str(folder))


def _local_folder(path: str | Path) -> Path:
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if isinstance(path, str) and path in PUBLISHED:
        if not named_weights.is_present(path):
            raise CheckpointError(f"{path}: not on this machine; get it with `onlooker model pull {path}`")
        return named_weights.ensure(path)
    if isinstance(path, str) and path.count("/") == 1 and not path.startswith((".", "/", "~")):
        return named_weights.ensure(path)
    raise CheckpointError(f"checkpoint {str(path)!r}: no such folder")


def _read_native(folder: Path) -> Checkpoint:
    path = folder / SPEC_FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields.pop("format", None) != FORMAT:
            raise CheckpointError(f"{path}: format must be {FORMAT}; update onlooker or export the checkpoint again")
        vision, lora = fields.pop("vision"), fields.pop("lora")
        earlier = tuple(LoraSpec(**one) for one in fields.pop("earlier_loras", ()))
        spec = CheckpointSpec(
            vision=VisionSpec(**vision | {"mean": tuple(vision["mean"]), "std": tuple(vision["std"])}),
            grammar=GrammarSpec(**fields.pop("grammar")),
            lora=LoraSpec(**lora) if lora else None,
            earlier_loras=earlier,
            **fields,
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error!r}") from error
    groups = _split(_read_tensors(folder / WEIGHTS_FILE), len(earlier), folder / WEIGHTS_FILE)
    loras = tuple(groups.pop(f"{_EARLIER}{number}") for number in range(len(earlier)))
    return Checkpoint(spec, **groups, earlier_loras=loras, world=read_world(folder), folder=folder)


def _read_reference(folder: Path) -> Checkpoint:
    found = find_reference(folder)
    try:
        loras = [_lora_spec(config) for config in found.configs.values()]
        spec = CheckpointSpec(
            name=found.name,
            decoder=found.base,
            vision=VisionSpec(**found.vision),
            grammar=GrammarSpec(**found.grammar),
            lora=loras[-1],
            earlier_loras=tuple(loras[:-1]),
            silence_threshold=found.silence_threshold,
            reads_notes=True,  # its base is a chat model of billions of weights
        )
    except (TypeError, KeyError) as error:
        raise CheckpointError(f"{found.adapter}: its adapter_config.json or onlooker.json lacks {error}") from error
    prefix = f"{PEFT_PREFIX}{CONNECTORS[spec.grammar.template]}."
    *earlier, tensors = [_read_adapter(adapter / "adapter_model.safetensors", prefix) for adapter in found.configs]
    return Checkpoint(
        spec,
        connector={k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)},
        lora=_of_lora(tensors),
        earlier_loras=tuple(_of_lora(one) for one in earlier),
        folder=found.adapter,
    )


def _lora_spec(config: dict) -> LoraSpec:
    """Raises CheckpointError for LoRA of another kind, TypeError or KeyError for what is none."""
    for key, plain in PLAIN_LORA.items():
        if config.get(key, plain) not in (plain, None):
            raise CheckpointError(f"adapter_config.json: {key} = {config[key]!r}: only {plain!r} is known here")
    targets, r, alpha = config["target_modules"], config["r"], config["lora_alpha"]
    if not (type(r) is int and type(alpha) is int and r > 0):
        raise TypeError(f"whole numbers r = {r!r} and lora_alpha = {alpha!r}")
    if not targets or not isinstance(targets, str | list) or not all(isinstance(name, str) for name in targets):
        raise TypeError(f"names in target_modules = {targets!r}")
    return LoraSpec(r, alpha, targets if isinstance(targets, str) else tuple(targets))


def _read_adapter(path: Path, connector: str) -> dict[str, Tensor]:
    """The tensors of one adapter, none of them left over. connector: how the names of the connector's begin."""
    tensors = _read_tensors(path)
    known = _of_lora(tensors)
    left_over = [name for name in tensors if not name.startswith(connector) and name not in known]
    if left_over:
        raise CheckpointError(f"{path}: holds more than LoRA and a connector: {first_few(sorted(left_over))}")
    return tensors


def _of_lora(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The adapters, and a layer below one, which PEFT saves along where it makes words."""
    return {name: tensor for name, tensor in tensors.items() if ".lora_" in name or ".base_layer." in name}


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors: {error}; get the checkpoint again") from error


def _split(tensors: dict[str, Tensor], num_earlier: int, path: Path) -> dict[str, dict[str, Tensor]]:
    names = (*_GROUPS, *(f"{_EARLIER}{number}" for number in range(num_earlier)))
    groups: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    for name, tensor in tensors.items():
        group, _, rest = name.partition(".")
        if group not in groups:
            raise CheckpointError(f"{path}: unknown tensor {name!r}")
        groups[group][rest] = tensor
    return groups
