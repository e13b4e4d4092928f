"""The real default weights, as they lie on this machine after conversion (fetched on the first run)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from model import weights
from model.conversion import timm_names

MILITARY_UNIFORM = 652  # ImageNet-1k class
# Ids that the GGUF file's own tokenizer gives, taken before any conversion.
GGUF_IDS = {
    "\n[,,]\nUser: What's next?\nAssistant: You pick up the red mug.<|im_end|>": "198 75 12002 77 198 11126 42 1812 "
    "506 1867 47 198 9519 9531 42 1206 4491 614 260 2382 283 1433 30 2",
    "  leading 1234567 ñandú 漢字 🙂\t\ttab": "216 2899 216 33 34 35 36 37 38 39 5549 126 397 16148 17097 137 112 "
    "36518 47526 197 197 15999",
    "<|im_start|>user\nhi<|im_end|>\n": "1 4093 198 6004 2 198",
}


@pytest.fixture(scope="module")
def language_model_folder() -> Path:
    return weights.ensure("smollm2-135m-instruct")


def test_the_tokenizer_gives_the_ids_of_the_gguf_file(language_model_folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(language_model_folder, local_files_only=True)
    assert len(tokenizer) == 49_152
    for text, numbers in GGUF_IDS.items():
        ids = [int(number) for number in numbers.split()]
        assert tokenizer(text).input_ids == ids
        assert tokenizer.decode(ids) == text


def test_the_language_model_answers(language_model_folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(language_model_folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(language_model_folder, dtype=torch.float32, local_files_only=True)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.inference_mode():
        ids = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(ids)


def photo_BCHW() -> Tensor:
    """A real photograph, 1x3x224x224, normalised as EfficientNet-Lite wants it: (RGB - 127) / 128."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    pixels_HWC = np.array(Image.open(path).convert("RGB").resize((224, 224)))
    return (torch.from_numpy(pixels_HWC).permute(2, 0, 1)[None].float() - 127) / 128


def same_padded(x_BCHW: Tensor, kernel: int, stride: int) -> Tensor:
    """Zero padding so that the output has ceil(size / stride) positions, the odd one at the end (TensorFlow's)."""
    size = x_BCHW.shape[-1]
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    before, after = total // 2, total - total // 2
    return functional.pad(x_BCHW, (before, after, before, after))


def plain_lite0(state: dict[str, Tensor], x_BCHW: Tensor) -> Tensor:
    """EfficientNet-Lite0's 1000 logits, written out from the published parameter names alone."""

    def convolve(x: Tensor, name: str, norm: str, stride: int = 1, relu: bool = True) -> Tensor:
        kernel = state[f"{name}.weight"]
        groups = x.shape[1] // kernel.shape[1]
        x = functional.conv2d(same_padded(x, kernel.shape[-1], stride), kernel, stride=stride, groups=groups)
        statistics = [state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        x = functional.batch_norm(x, *statistics, training=False, eps=1e-3)
        return functional.relu6(x) if relu else x

    x = convolve(x_BCHW, "_conv_stem", "_bn0", stride=2)
    first_of_stage_strides = {1: 2, 3: 2, 5: 2, 11: 2}
    for index in range(16):
        block = f"_blocks.{index}."
        entered = x
        if f"{block}_expand_conv.weight" in state:
            x = convolve(x, f"{block}_expand_conv", f"{block}_bn0")
        x = convolve(x, f"{block}_depthwise_conv", f"{block}_bn1", stride=first_of_stage_strides.get(index, 1))
        x = convolve(x, f"{block}_project_conv", f"{block}_bn2", relu=False)
        x = x + entered if x.shape == entered.shape else x
    x = convolve(x, "_conv_head", "_bn1").mean((2, 3))
    return functional.linear(x, state["_fc.weight"], state["_fc.bias"])


def test_the_image_encoder_is_the_published_one() -> None:
    """timm's network on the converted file = the network written out from the published names, and it sees."""
    import timm
    from safetensors.torch import load_file

    converted = load_file(weights.ensure("efficientnet-lite0") / "model.safetensors")
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict(converted, strict=True)
    to_timm = timm_names(published_names(), list(converted))
    assert sorted(to_timm.values()) == sorted(converted)
    published = {name: converted[timm_name] for name, timm_name in to_timm.items()}
    with torch.inference_mode():
        logits = network.eval()(photo_BCHW())
        torch.testing.assert_close(logits, plain_lite0(published, photo_BCHW()), atol=1e-3, rtol=1e-3)
    assert logits.argmax().item() == MILITARY_UNIFORM


def published_names() -> list[str]:
    """Every parameter name of the published file."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

    def layer(convolution: str, batch_norm: str) -> list[str]:
        return [f"{convolution}.weight", *(f"{batch_norm}.{part}" for part in norm)]

    names = layer("_conv_stem", "_bn0")
    for index in range(16):
        block = f"_blocks.{index}."
        if index > 0:
            names += layer(f"{block}_expand_conv", f"{block}_bn0")
        names += layer(f"{block}_depthwise_conv", f"{block}_bn1")
        names += layer(f"{block}_project_conv", f"{block}_bn2")
    return [*names, *layer("_conv_head", "_bn1"), "_fc.weight", "_fc.bias"]
