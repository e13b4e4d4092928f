"""Checkpoints: our own format and the published PEFT format, read, written, and assembled into a model.

Native: a folder with `onlooker.json` (what the checkpoint is) and `weights.safetensors` (`connector.*`, `lora.*` or, if
all of it was trained, `decoder.*`, and where the tower was trained too, `vision.*`). Reference: a PEFT adapter as
VideoLLM-online and ProAssist publish it, its base and vision weights elsewhere. Both become a `Checkpoint`: a spec and
its tensors.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from peft import LoraConfig, PeftMixedModel, PeftModel, get_peft_model
from peft.utils import set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel

from model import kept
from model import weights as named_weights
from model.connector import make_connector
from model.decoder import bare_decoder, open_decoder, resolve_attention, tied_names
from model.engine import GraphEngine, Kind, Weights, check_engine, make_encoder, make_engine
from model.errors import CheckpointError
from model.grammar import Grammar, GrammarSpec
from model.published import PUBLISHED
from model.reference import (
    CONNECTORS,
    PEFT_PREFIX,
    PROASSIST_CONFIG,
    adapter_config,
    find_reference,
    proassist_config,
)
from model.tensors import first_few, first_line, load_tensors, refuse_not_finite
from model.videolm import VideoLM
from model.vision import VisionSpec, open_vision
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

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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


def open_checkpoint(
    path: str | Path,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    attention: str = "auto",
    engine: Kind = "auto",
    weights: Weights = "dtype",
    keep_in: Path | None = None,
) -> VideoLM:
    """The model in `path`, ready to run: a native folder, a reference folder, or a hub name of either.

    device: "cpu", "cuda", "cuda:N". dtype: float32, bfloat16, float16. attention: of the plain engine, see
    `resolve_attention`. engine, weights: see `make_engine`. keep_in: where quantized weights are kept for the next
    start (`model.kept`). Raises CheckpointError, WeightsError, MissingDependency.
    """
    if dtype not in DTYPES:
        raise CheckpointError(f"dtype = {dtype!r}: must be one of {', '.join(DTYPES)}")
    return assemble(
        read_checkpoint(path),
        device=torch.device(device),
        dtype=DTYPES[dtype],
        attention=attention,
        engine=engine,
        weights=weights,
        keep_in=keep_in,
    )


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


def assemble(
    checkpoint: Checkpoint,
    *,
    device: torch.device,
    dtype: torch.dtype,
    attention: str,
    engine: Kind = "plain",
    weights: Weights = "dtype",
    keep_in: Path | None = None,
) -> VideoLM:
    """A running model: weights fetched, LoRA merged into the decoder, everything on `device` in `dtype`.

    keep_in: see `open_checkpoint`.
    """
    if device.type == "cuda" and not torch.cuda.is_available():
        raise CheckpointError(f"device = {str(device)!r}: this machine has no usable CUDA GPU; set it to 'cpu'")
    check_engine(device, kind=engine, weights=weights)
    try:
        return _assemble(checkpoint, device, dtype, attention, engine, weights, keep_in)
    except torch.OutOfMemoryError as error:
        raise CheckpointError(
            f"{checkpoint.spec.name}: does not fit into the memory of {device}; set weights to 'int8' or device to "
            "'cpu'"
        ) from error


def _assemble(
    checkpoint: Checkpoint,
    device: torch.device,
    dtype: torch.dtype,
    attention: str,
    engine: Kind,
    weights: Weights,
    keep_in: Path | None,
) -> VideoLM:
    spec = checkpoint.spec
    base = decoder_path(spec.decoder)
    sources = [folder for folder in (Path(base), checkpoint.folder) if folder is not None and folder.is_dir()]
    is_kept = keep_in is not None and weights != "dtype" and len(sources) == 2  # else there are no files to tell it by
    kept_at = kept.place(keep_in, spec.name, weights, dtype, sources) if keep_in and is_kept else None
    made = kept.load(kept_at, device) if kept_at else None
    if made is None:
        decoder = _open_merged(checkpoint, base, device, dtype, resolve_attention(attention, device), weights)
    else:
        decoder = bare_decoder(base, dtype=dtype)
    vision = open_vision(spec.vision, device)
    if checkpoint.vision:
        load_tensors(vision, checkpoint.vision, f"{checkpoint.where}: its vision tower")
    elif spec.vision.library != "transformers" and not spec.vision.weights:
        raise CheckpointError(f"{checkpoint.where}: holds no vision tower, and names no weights of one; get it again")
    connector = make_connector(vision.feature_width, decoder.config.hidden_size)
    load_tensors(connector, checkpoint.connector, f"{checkpoint.where}: its connector")
    world = checkpoint.world
    if world is not None and len(world.mean_F) != vision.feature_width:
        raise CheckpointError(
            f"{checkpoint.where}: its {WORLD_FILE} is of features {len(world.mean_F)} wide, the tower's are "
            f"{vision.feature_width}; learn it anew (`python -m train world`), or delete it"
        )
    vision.fold()
    vision = vision.to(device, dtype).to(memory_format=torch.channels_last)  # a sixth faster on a CPU
    connector = connector.eval().requires_grad_(False).to(device, dtype)
    grammar = Grammar(open_tokenizer(base), spec.grammar)
    runner = make_engine(decoder, grammar, device, kind=engine, weights=weights, made=made)
    if kept_at and made is None and isinstance(runner, GraphEngine):
        kept.save(kept_at, runner.tensors(), sources)
    return VideoLM(
        name=spec.name,
        engine=runner,
        encoder=make_encoder(vision, connector, kind=engine, world=world),
        grammar=grammar,
        fps=spec.fps,
        silence_threshold=spec.silence_threshold,
        reads_notes=spec.reads_notes,
    )


def _open_merged(
    checkpoint: Checkpoint, base: str | Path, device: torch.device, dtype: torch.dtype, attention: str, weights: Weights
) -> PreTrainedModel:
    """The decoder with what the checkpoint changes in it."""
    spec = checkpoint.spec
    # What is to be rounded goes to the GPU layer by layer: there may be no room for all of it as it is.
    at_once = device if device.type == "cuda" and weights == "dtype" else None
    decoder = open_decoder(base, dtype=dtype, attention=attention, device=at_once)
    for lora, tensors in zip(spec.earlier_loras, checkpoint.earlier_loras, strict=True):
        decoder = _merge_lora(decoder, lora, tensors, checkpoint.where)
    if spec.lora is not None:
        decoder = _merge_lora(decoder, spec.lora, checkpoint.lora, checkpoint.where)
    elif checkpoint.lora:
        raise CheckpointError(f"{checkpoint.where}: holds LoRA weights, but no description of them; get it again")
    if checkpoint.decoder:
        load_tensors(decoder, checkpoint.decoder, f"{checkpoint.where}: its decoder", may_miss=tied_names(decoder))
    return decoder


def decoder_path(decoder: str) -> str | Path:
    """Where transformers finds a spec's decoder: named weights are fetched, a hub's are taken from here if they are."""
    return named_weights.ensure(decoder) if decoder in named_weights.CATALOG else named_weights.local(decoder)


def open_tokenizer(path: str | Path):
    """The fast tokenizer in a folder or of a hub name. Raises CheckpointError."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except Exception as error:  # the tokenizers library has no narrower one for a damaged file
        raise CheckpointError(f"{path}: its tokenizer cannot be loaded: {first_line(error)}") from error
    if not tokenizer.is_fast:
        raise CheckpointError(f"{path}: needs a fast tokenizer (tokenizer.json)")
    return tokenizer


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


def _merge_lora(decoder: PreTrainedModel, spec: LoraSpec, tensors: dict[str, Tensor], name: str) -> PreTrainedModel:
    with decoder.device:  # on a CPU, the random adapters of an 8B decoder take seconds
        try:
            adapted = get_peft_model(decoder, spec.to_peft())
        except (ValueError, TypeError, re.error) as error:
            raise CheckpointError(f"{name}: its LoRA does not fit the decoder: {first_line(error)}") from error
    load_lora(adapted, tensors, name)
    return adapted.merge_and_unload().requires_grad_(False)  # type: ignore[operator]


def load_lora(adapted: PeftModel | PeftMixedModel, tensors: dict[str, Tensor], name: str) -> None:
    """Put a checkpoint's LoRA weights into a decoder with adapters. Raises CheckpointError where they do not fit."""
    what = f"{name}: its LoRA weights do not fit the decoder"
    refuse_not_finite(tensors, name)
    try:
        result = set_peft_model_state_dict(adapted, tensors)
    except RuntimeError as error:  # of another shape; the first line only announces that
        first = next((line.strip() for line in str(error).splitlines()[1:]), str(error))
        raise CheckpointError(f"{what}: {first}") from error
    missing = [name for name in result.missing_keys if "lora_" in name]
    for problem, names in (("missing", missing), ("unknown", result.unexpected_keys)):
        if names:
            raise CheckpointError(f"{what}: {problem} {first_few(names)}; get or export it again")
