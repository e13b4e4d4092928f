"""Recipes: one TOML file is one run. Unknown keys, wrong types and impossible values are refused, all at once."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model.errors import OnlookerError


class RecipeError(OnlookerError):
    """A recipe cannot be read or says something impossible, or a run has nothing to work on."""

    exit_code = 2


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TabletopPart(_Part):
    """The rendered world. size: side of the frames in pixels."""

    size: int = Field(default=384, ge=32, le=1024)


class VisionPart(_Part):
    """The vision tower, and how long it is tuned on the rendered frames (0 seconds: frozen).

    grid_positions: mark each of the nine cells with its place, for questions about where things are. tune_seconds
    bounds the wall time, tune_steps the steps; whichever comes first. feature_views: differently augmented feature sets
    of the training clips, against learning single pictures by heart. augment: "camera" adds a camera's faults to the
    usual changes, see `train.augment`.
    """

    name: str = "tf_efficientnet_lite0"
    weights: str = "efficientnet-lite0"
    grid_positions: bool = False
    tune_steps: int = Field(default=4000, ge=1)
    tune_seconds: float = Field(default=300.0, ge=0)
    batch_frames: int = Field(default=160, ge=1)
    learning_rate: float = Field(default=8e-4, gt=0)
    feature_views: int = Field(default=3, ge=1, le=32)
    augment: Literal["plain", "camera"] = "plain"


class ModelPart(_Part):
    """The decoder, its frames and its adapters.

    template: how dialogues are written, one of `model.templates`; the decoder's tokenizer must have its special tokens.
    start: a checkpoint to go on from, "default" or a folder; its tower, connector and adapters are taken over, and what
    is said here of their shapes must be true of it. Empty: from the decoder alone.
    frame_tokens: 10 (CLS + 3×3; `,` for silence, where the template has one) or 1 (CLS alone, end-of-sequence for
    silence). lora_r = 0: no
    adapters, all of the decoder's weights are trained. gradient_checkpointing: less memory for a third more time.
    """

    template: Literal["videollm-online", "proassist"] = "videollm-online"
    start: str = ""
    decoder: str = "smollm2-135m-instruct"
    frame_tokens: Literal[1, 10] = 10
    lora_r: int = Field(default=16, ge=0)
    lora_alpha: int = Field(default=32, gt=0)
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str = r"model.*(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)$"
    gradient_checkpointing: bool = False


class ObjectivePart(_Part):
    """What is learned (VideoLLM-online, section 3.1 and its ablations).

    kind: "streaming" (words, and silence or speech after every frame), "per-frame" (every frame a turn with an empty
    or a full reply), "interleaved" (words alone, frames before them).
    loss: of the decisions: "ce" (cross-entropy), "ohem" (only the hardest `ohem_share` of them), "focal"
    (cross-entropy times (1 − p)^focal_gamma). tau: weight of the decisions against the words (equation 4).
    silence_share: share of the silent frames that is learned, drawn anew each time. silence_weight: their weight.
    """

    kind: Literal["streaming", "per-frame", "interleaved"] = "streaming"
    loss: Literal["ce", "ohem", "focal"] = "ce"
    tau: float = Field(default=1.0, ge=0)
    ohem_share: float = Field(default=0.3, gt=0, le=1)
    focal_gamma: float = Field(default=2.0, ge=0)
    silence_share: float = Field(default=1.0, gt=0, le=1)
    silence_weight: float = Field(default=1.0, gt=0)


class SamplesPart(_Part):
    """Which dialogues are made of the clips.

    slide_prob: share that looks like a window that has slid. summary_prob: share with a summary of what was done so
    far, half of which begin with it (`stream.when_full = "summary"`). wrong_reply_prob: share in which one to
    most_wrong_replies remarks are replaced, emptied or left out, against believing one's own words more than one's
    eyes. robust_prob: share that is a question without a picture worth an answer (no video, black, noise), with a
    polite refusal.
    """

    slide_prob: float = Field(default=0.3, ge=0, le=1)
    summary_prob: float = Field(default=0.0, ge=0, le=1)
    wrong_reply_prob: float = Field(default=0.0, ge=0, le=1)
    most_wrong_replies: int = Field(default=1, ge=1)
    robust_prob: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.slide_prob + self.summary_prob > 1:
            raise ValueError("slide_prob and summary_prob together must be at most 1")
        return self


class FitPart(_Part):
    """The fit. batch_clips dialogues a step, over all processes together; a step is the same whatever their number.

    max_seconds: 0 for no limit; with a limit, the learning rate follows the clock, and a run is not repeatable to the
    bit. save_seconds: time between saved states, from which a broken run goes on. workers: processes that make batches.
    precision: of the computation; what is trained is float32 always. "auto" is bfloat16 on a GPU, else float32.
    compile: fuse the operations of each decoder layer (torch.compile) into fewer launches; it takes a minute at first.
    tensorboard: the curves in RUN/tensorboard too. sample_clips: so many clips of val/ are run through the model in the
    end, for RUN/samples.md.
    """

    steps: int = Field(default=1500, ge=1)
    max_seconds: float = Field(default=0.0, ge=0)
    batch_clips: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    connector_learning_rate: float = Field(default=1e-3, gt=0)
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    save_seconds: float = Field(default=120.0, ge=0)
    workers: int = Field(default=2, ge=0, le=64)
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    compile: bool = False
    tensorboard: bool = False
    sample_clips: int = Field(default=3, ge=0)
    seed: int = Field(default=0, ge=0)


class Recipe(_Part):
    """One run. name: of the checkpoint. fps: frames a second of the stream."""

    name: str = "onlooker-tabletop-135m"
    fps: float = Field(default=2.0, gt=0, le=30)
    tabletop: TabletopPart = TabletopPart()
    vision: VisionPart = VisionPart()
    model: ModelPart = ModelPart()
    objective: ObjectivePart = ObjectivePart()
    samples: SamplesPart = SamplesPart()
    fit: FitPart = FitPart()


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe in `path`, with `changes` such as "fit.seed=1". Raises RecipeError with every mistake, a line each."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
    for change in changes:
        _apply(change, table)
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        raise RecipeError("\n".join(f"{path}: {_say(mistake)}" for mistake in error.errors())) from error


def _apply(change: str, table: dict[str, Any]) -> None:
    key, _, value = change.partition("=")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value  # a word needs no quotes
    *parts, name = key.strip().split(".")
    for part in parts:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise RecipeError(f"--set {change}: {part} is not a table of the recipe")
    table[name] = parsed


def _say(mistake) -> str:
    key = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        part: Any = Recipe
        for name in mistake["loc"][:-1]:
            part = part.model_fields[name].annotation
        return f"{key}: unknown key; must be one of {', '.join(sorted(part.model_fields))}"
    said = mistake["msg"].removeprefix("Input ")
    return f"{key} = {mistake['input']!r}: {said}"
