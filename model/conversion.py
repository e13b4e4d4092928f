"""Turns downloaded weights into the folders that the rest of the project loads, once.

Functions from a folder of downloaded files to an empty folder; `model/weights.py` keeps the result. Each
checks its own work and raises WeightsError if what it made does not load as it should.

`convert` runs one of them in a child process (`python -m model.conversion KIND SOURCE TARGET`), because it
needs far more memory than the program that waits for it should keep, and because the libraries print bars
of their own.
"""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from model.child import raise_if_full, run_child
from model.errors import WeightsError

LAST_LINES = 3
_TIMM_BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.")

PROBE_TEXT = "\n[,,]\nUser: What's next?\nAssistant: You pick up the red mug, then 12 eggs — naïve 日本 ☕."


def convert_causal_lm_gguf(source: Path, target: Path) -> None:
    """A GGUF file of a causal language model → config.json, model.safetensors (fp16), tokenizer files.

    `source` holds exactly one .gguf. The tensors are de-quantised; fp16 keeps more digits than four bits had.
    Takes about 40 s and 1.6 GB for a 135-million-parameter model; the result reloads in a second or two.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (gguf_file,) = source.glob("*.gguf")
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf_file.name, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=gguf_file.name, dtype=torch.float32, local_files_only=True
    )
    tokenizer.save_pretrained(target)
    reloaded = AutoTokenizer.from_pretrained(target, local_files_only=True)
    if reloaded(PROBE_TEXT).input_ids != tokenizer(PROBE_TEXT).input_ids or len(reloaded) != len(tokenizer):
        raise WeightsError(f"{gguf_file.name}: its tokenizer gives other ids after conversion")

    config = model.config.to_dict()
    config.pop("quantization_config", None)
    config["dtype"] = "float16"
    config["architectures"] = [type(model).__name__]
    (target / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    model.generation_config.save_pretrained(target)

    state = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    if config.get("tie_word_embeddings"):
        state.pop("lm_head.weight", None)  # the same tensor as the embedding; safetensors refuses shared memory
    if not all(torch.isfinite(tensor).all() for tensor in state.values()):
        raise WeightsError(f"{gguf_file.name}: a weight does not fit into fp16")
    save_file(state, target / "model.safetensors", metadata={"format": "pt"})


def convert_efficientnet_lite0(source: Path, target: Path) -> None:
    """The published EfficientNet-Lite0 .pth → model.safetensors, named as timm's tf_efficientnet_lite0."""
    import timm
    import torch
    from safetensors.torch import save_file

    (pth_file,) = source.glob("*.pth")
    published = torch.load(pth_file, map_location="cpu", weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    names = timm_names(list(published), list(model.state_dict()))
    state = {names[name]: tensor.contiguous() for name, tensor in published.items()}
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"{pth_file.name}: not the EfficientNet-Lite0 that timm knows ({error})") from error
    save_file(state, target / "model.safetensors", metadata={"format": "pt"})


def timm_names(published: list[str], wanted: list[str]) -> dict[str, str]:
    """Published parameter name → timm's, for an EfficientNet-Lite; `wanted` are all of timm's names.

    The published blocks are numbered through; timm numbers stage and block. A block without `_expand_conv` is
    depthwise-separable: its projection is timm's `conv_pw`, and its norms are counted from the depthwise one.
    """
    places = sorted({(int(match[1]), int(match[2])) for name in wanted if (match := _TIMM_BLOCK.match(name))})
    expanded = {match[1] for name in published if (match := re.match(r"_blocks\.(\d+)\._expand_conv", name))}
    outside = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    outside["_fc"] = "classifier"
    with_expansion = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
    with_expansion |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    without_expansion = {
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn1",
        "_project_conv": "conv_pw",
        "_bn2": "bn2",
    }
    names = {}
    for name in published:
        parts = name.split(".")
        if parts[0] != "_blocks":
            names[name] = ".".join([outside[parts[0]], *parts[1:]])
            continue
        layers = with_expansion if parts[1] in expanded else without_expansion
        stage, block = places[int(parts[1])]
        names[name] = f"blocks.{stage}.{block}." + ".".join([layers[parts[2]], *parts[3:]])
    return names


def copy_as_it_is(source: Path, target: Path) -> None:
    """The downloaded files, unchanged."""
    for path in source.iterdir():
        shutil.copyfile(path, target / path.name)


CONVERTERS: dict[str, Callable[[Path, Path], None]] = {
    "causal-lm-gguf": convert_causal_lm_gguf,
    "efficientnet-lite0": convert_efficientnet_lite0,
    "as-it-is": copy_as_it_is,
}


def convert(kind: str, source: Path, target: Path, *, timeout_s: float, on_wait: Callable[[], None]) -> None:
    """Run the converter `kind` in a child process and wait; `on_wait` is called several times a second.

    Raises WeightsError with the child's last words if it fails or takes longer than `timeout_s`.
    """
    if kind == "as-it-is":
        return copy_as_it_is(source, target)
    root = str(Path(__file__).resolve().parent.parent)
    search = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    command = [sys.executable, "-m", "model.conversion", kind, str(source), str(target)]
    started_s = time.monotonic()

    def watch() -> None:
        if time.monotonic() - started_s > timeout_s:
            raise WeightsError(f"conversion ({kind}) took longer than {timeout_s:.0f} s and was ended")
        on_wait()

    status, said = run_child(command, {**os.environ, "PYTHONPATH": search}, watch)
    if status != 0:
        raise_if_full(target, said)
        why = " / ".join(line.strip() for line in said[-LAST_LINES:]) or f"exit status {status}"
        raise WeightsError(f"conversion ({kind}) failed: {why}")
    return None


if __name__ == "__main__":
    CONVERTERS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
