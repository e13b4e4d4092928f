"""Assembles a checkpoint into a model that runs: weights fetched, adapters merged, everything on its device.

Quantized decoders are taken from where they were kept (`model.kept`), if they were.
"""

import re
from pathlib import Path

import torch
from peft import PeftMixedModel, PeftModel, get_peft_model
from peft.utils import set_peft_model_state_dict
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel

from model import kept
from model import weights as named_weights
from model.checkpoint import Checkpoint, LoraSpec, read_checkpoint
from model.connector import make_connector
from model.decoder import bare_decoder, open_decoder, resolve_attention, tied_names
from model.engine import GraphEngine, Kind, Weights, check_engine, has_graphs, make_encoder, make_engine
from model.errors import CheckpointError, is_of_memory
from model.grammar import Grammar
from model.tensors import first_few, first_line, load_tensors, refuse_not_finite
from model.videolm import VideoLM
from model.vision import open_vision
from model.world import WORLD_FILE

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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
    except RuntimeError as error:
        if not is_of_memory(error):
            raise
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
    kept_at = None
    if (
        keep_in is not None and weights != "dtype" and has_graphs(device) and len(sources) == 2
    ):  # whose files tell it apart
        kept_at = kept.place(keep_in, spec.name, weights, dtype, sources)
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
    try:
        runner = make_engine(decoder, grammar, device, kind=engine, weights=weights, made=made)
    except CheckpointError as error:
        if made is None:
            raise
        raise CheckpointError(f"{kept_at}: {error}; delete that folder") from error
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
