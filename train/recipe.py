"""Recipes: one TOML file is one run. Unknown keys and wrong types are refused, all at once."""

import tomllib
import types
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from model.errors import OnlookerError


class RecipeError(OnlookerError):
    """A recipe cannot be read or says something impossible."""

    exit_code = 2


@dataclass(frozen=True)
class TabletopPart:
    """The rendered world. size: side of the frames in pixels."""

    size: int = 384


@dataclass(frozen=True)
class VisionPart:
    """The vision tower, and how long it is tuned on the rendered frames (0 seconds: frozen).

    tune_seconds bounds the wall time, tune_steps the steps; whichever comes first.
    """

    name: str = "tf_efficientnet_lite0"
    weights: str = "efficientnet-lite0"
    tune_steps: int = 4000
    tune_seconds: float = 300.0
    batch_frames: int = 160
    learning_rate: float = 8e-4
    feature_views: int = 3
    """Differently augmented feature sets of the training clips, against learning single pictures by heart."""


@dataclass(frozen=True)
class ModelPart:
    """The decoder and its adapters."""

    decoder: str = "smollm2-135m-instruct"
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    target_modules: str = r"model.*(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)$"


@dataclass(frozen=True)
class FitPart:
    """The streaming fit. batch_clips dialogues a step; tau weighs the silence loss (equation 4 of the paper)."""

    steps: int = 1500
    max_seconds: float = 600.0
    batch_clips: int = 16
    learning_rate: float = 5e-4
    connector_learning_rate: float = 1e-3
    warmup_share: float = 0.05
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    tau: float = 1.0
    slide_prob: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """One run. name: of the checkpoint. fps: frames a second of the stream."""

    name: str = "onlooker-tabletop-135m"
    fps: float = 2.0
    tabletop: TabletopPart = field(default_factory=TabletopPart)
    vision: VisionPart = field(default_factory=VisionPart)
    model: ModelPart = field(default_factory=ModelPart)
    fit: FitPart = field(default_factory=FitPart)


def read_recipe(path: Path) -> Recipe:
    """The recipe in `path`. Raises RecipeError with every mistake, a line each."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
    mistakes: list[str] = []
    recipe = _build(Recipe, table, "", mistakes)
    if mistakes:
        raise RecipeError("\n".join(f"{path}: {mistake}" for mistake in mistakes))
    return recipe


def _build(kind: type, table: dict[str, Any], prefix: str, mistakes: list[str]) -> Any:
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        if key not in known:
            mistakes.append(f"{name}: unknown key; must be one of {', '.join(sorted(known))}")
        elif is_dataclass(hints[key]):
            if isinstance(value, dict):
                values[key] = _build(hints[key], value, f"{name}.", mistakes)  # type: ignore[arg-type]
            else:
                mistakes.append(f"{name} = {value!r}: must be a table")
        elif _fits(value, hints[key]):
            values[key] = float(value) if hints[key] is float else value
        else:
            mistakes.append(f"{name} = {value!r}: must be of type {getattr(hints[key], '__name__', hints[key])}")
    return kind(**values)


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, int | float) if hint is float else isinstance(value, hint)
