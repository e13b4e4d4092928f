"""Vision towers: uint8 frames in, a few feature tokens a frame out, whichever library the encoder comes from.

A frame becomes its CLS token and, for ten-token frames, the spatial features average-pooled to 3×3, row by row
(VideoLLM-online, section 3.3). What is CLS and what is spatial differs by family; each tower below says it.

Shapes: B frames, S image side in pixels, N tokens a frame, D feature width, P patches.
"""

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from model import weights as named_weights
from model.errors import CheckpointError
from model.frames import normalize
from model.tensors import first_few, first_line, load_tensors

Library = Literal["timm", "open_clip", "transformers"]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class VisionSpec:
    """Which encoder, and how its features are read.

    library: whose model it is. name: its name there, or a folder for transformers.
    weights: a named weight (model.weights), a file, an open_clip tag, or "" when a checkpoint brings them all.
    image_size: S in pixels. grid: side of the pooled spatial grid, 0 for the CLS token alone.
    layer_norm: normalise each token's features without learned scale (for towers that end in raw activations).
    mean, std: of the pixel values in 0–1, by channel.
    grid_positions: add a fixed code of its row and column to each cell, so that one token alone tells left from right.
    fit: how a picture becomes a square, "letterbox" or "stretch" (`model.frames`).
    """

    library: Library
    name: str
    weights: str
    image_size: int
    grid: int = 3
    layer_norm: bool = False
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    grid_positions: bool = False
    fit: Literal["letterbox", "stretch"] = "letterbox"

    @property
    def num_frame_tokens(self) -> int:
        """CLS and the grid's cells."""
        return 1 + self.grid**2


class VisionTower(nn.Module, ABC):
    """One interface over all encoders: B×3×S×S uint8 → B×N×D features.

    feature_width: D.
    """

    feature_width: int
    _position_codes: Tensor | None

    def __init__(self, spec: VisionSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("_position_codes", None, persistent=False)  # filled in by `open_vision`

    def forward(self, frames_u8: Tensor) -> Tensor:
        """Features of B frames, in the tower's own dtype and on its device."""
        parameter = next(self.parameters())
        pixels = normalize(frames_u8.to(parameter.device), self.spec.mean, self.spec.std).to(parameter.dtype)
        return self.pool(*self.features(pixels))

    def fold(self) -> None:
        """Work into the weights what is fixed after training, for speed. The tower can then not be trained or saved."""

    @abstractmethod
    def features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised pixels → CLS features B×D and spatial features B×D×H×W."""

    def pool(self, cls_BD: Tensor, spatial_BDHW: Tensor) -> Tensor:
        """CLS first, then the grid row by row; layer-normed and marked with their places if the spec says so."""
        tokens = cls_BD[:, None]
        if self.spec.grid:
            cells = F.adaptive_avg_pool2d(spatial_BDHW, self.spec.grid)
            tokens = torch.cat((tokens, cells.flatten(2).transpose(1, 2)), dim=1)
        if self.spec.layer_norm:
            tokens = F.layer_norm(tokens, tokens.shape[-1:])
        if self._position_codes is not None:
            tokens[:, 1:] += self._position_codes
        return tokens


def _position_codes(grid: int, width: int) -> Tensor:
    """grid² × width: sines and cosines of a cell's row in one half of the features, of its column in the other."""
    half = width // 2
    places = (torch.arange(grid) + 0.5) / grid
    angles = torch.pi * places[:, None] * torch.arange(1, half // 2 + 1)
    waves_GH = F.pad(torch.cat((angles.sin(), angles.cos()), dim=1), (0, half % 2))
    rows, columns = waves_GH.repeat_interleave(grid, dim=0), waves_GH.repeat(grid, 1)
    return F.pad(torch.cat((rows, columns), dim=1), (0, width % 2))


def open_vision(spec: VisionSpec, device: torch.device = CPU) -> VisionTower:
    """The tower that `spec` describes, with its weights, in evaluation mode, float32 on `device`.

    Raises CheckpointError if the encoder or its file is unknown, WeightsError if named weights cannot be had.
    """
    towers: dict[Library, type[VisionTower]] = {
        "timm": TimmTower,
        "open_clip": OpenClipTower,
        "transformers": TransformersTower,
    }
    if spec.library not in towers:
        raise CheckpointError(f"vision.library = {spec.library!r}: must be one of {', '.join(towers)}")
    with device:  # on a CPU, the random weights that a large tower begins with take half a minute
        tower = towers[spec.library](spec)
        if spec.grid_positions:
            tower._position_codes = _position_codes(spec.grid, tower.feature_width)
    return tower.eval().requires_grad_(False)


class TimmTower(VisionTower):
    """Any timm image model. Convolutional: CLS is the mean over the picture. Transformer: as the model pools."""

    def __init__(self, spec: VisionSpec) -> None:
        super().__init__(spec)
        import timm

        try:
            self.trunk: Any = timm.create_model(spec.name, pretrained=False, num_classes=0)
        except RuntimeError as error:
            raise CheckpointError(f"vision.name = {spec.name!r}: timm knows no such model") from error
        self.feature_width = int(self.trunk.num_features)
        _lay_out(self.trunk)
        if spec.weights:
            _load_strictly(self.trunk, _weights_file(spec.weights), spec)

    def fold(self) -> None:
        """EfficientNets: each batch norm goes into the convolution before it. A third less time on a CPU."""
        from timm.models.efficientnet import EfficientNet

        if isinstance(self.trunk, EfficientNet):
            for module in list(self.trunk.modules()):
                _fold_norms(module)

    def features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return _read_trunk(self.trunk, self.trunk.forward_features(pixels))


class OpenClipTower(VisionTower):
    """The image half of any open_clip model.

    SigLIP and other timm trunks: CLS is the pooled output, spatial the last hidden state. CLIP's own transformer:
    both from the last hidden state before the final norm, CLS its first token.
    """

    def __init__(self, spec: VisionSpec) -> None:
        super().__init__(spec)
        import open_clip
        from open_clip.timm_model import TimmModel

        if spec.name not in open_clip.list_models():
            raise CheckpointError(f"vision.name = {spec.name!r}: open_clip knows no such model")
        clip = open_clip.create_model(
            spec.name,
            pretrained=spec.weights or None,
            load_weights=bool(spec.weights),
            device=torch.get_default_device(),
        )
        self.visual: Any = clip.visual
        self.trunk: Any = self.visual.trunk if isinstance(self.visual, TimmModel) else None
        _lay_out(self.trunk)
        size = self.visual.image_size
        if (size if isinstance(size, int) else size[0]) != spec.image_size:
            raise CheckpointError(
                f"vision.image_size = {spec.image_size}: {spec.name} takes {size} pixels; set it to that"
            )
        with torch.no_grad():
            probe = torch.zeros(1, 3, spec.image_size, spec.image_size)
            self.feature_width = self.features(probe)[0].shape[-1]

    def features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        if self.trunk is not None:
            return _read_trunk(self.trunk, self.trunk.forward_features(pixels))
        hidden = self.visual.forward_intermediates(
            pixels, indices=1, normalize_intermediates=False, output_fmt="NLC", output_extra_tokens=True
        )
        return hidden["image_intermediates_prefix"][-1][:, 0], _to_grid(hidden["image_intermediates"][-1])


class TransformersTower(VisionTower):
    """SigLIP or CLIP from transformers, by folder or hub name.

    SigLIP: CLS is the pooled output, spatial the last hidden state. CLIP: CLS is the first token of the last
    hidden state, spatial the rest.
    """

    def __init__(self, spec: VisionSpec) -> None:
        super().__init__(spec)
        from transformers import AutoConfig, CLIPVisionModel, SiglipVisionModel

        families = {"siglip": SiglipVisionModel, "clip": CLIPVisionModel}
        name = named_weights.local(spec.weights or spec.name)
        try:
            family = AutoConfig.from_pretrained(name).model_type.removesuffix("_vision_model")
            if family not in families:
                raise CheckpointError(f"vision.name = {name!r}: a {family} model; must be SigLIP or CLIP")
            self.encoder, found = families[family].from_pretrained(name, dtype=torch.float32, output_loading_info=True)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(f"vision.name = {name!r}: cannot be loaded: {first_line(error)}") from error
        if found["missing_keys"]:  # transformers would make them up
            missing = sorted(found["missing_keys"])
            raise CheckpointError(
                f"vision.name = {name!r}: {len(missing)} of its tensors are missing: {first_few(missing)}; get it again"
            )
        self._has_cls_token = family == "clip"
        self.feature_width = self.encoder.config.hidden_size

    def features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        output = self.encoder(pixel_values=pixels)
        if self._has_cls_token:
            return output.last_hidden_state[:, 0], _to_grid(output.last_hidden_state[:, 1:])
        return output.pooler_output, _to_grid(output.last_hidden_state)


def _fold_norms(block: nn.Module) -> None:
    """In a block of timm's EfficientNet, whose norms, with their activations, stand right behind their convolutions."""
    from timm.layers.norm_act import BatchNormAct2d
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    children = list(block.named_children())
    for (name, convolution), (norm_name, norm) in itertools.pairwise(children):
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, BatchNormAct2d):
            setattr(block, name, fuse_conv_bn_eval(convolution, norm))  # pyright: ignore[reportArgumentType]
            setattr(block, norm_name, norm.act)


def _lay_out(trunk: Any) -> None:
    """Let a timm transformer's tokens lie in memory one after the other; all its sums are slow on a GPU otherwise."""
    if hasattr(trunk, "patch_embed") and hasattr(trunk, "num_prefix_tokens"):
        trunk.patch_embed.register_forward_hook(_make_contiguous)


def _make_contiguous(_module: nn.Module, _args: object, tokens: Tensor) -> Tensor:
    return tokens.contiguous()


def _read_trunk(trunk: Any, features: Tensor) -> tuple[Tensor, Tensor]:
    """CLS and spatial features of a timm model's `forward_features`."""
    if features.ndim == 4:
        return features.mean(dim=(2, 3)), features
    num_prefix = int(trunk.num_prefix_tokens)
    pooled = trunk.forward_head(features, pre_logits=True)
    return pooled, _to_grid(features[:, num_prefix:])


def _to_grid(tokens_BPD: Tensor) -> Tensor:
    """B×P×D patch tokens of a square picture → B×D×√P×√P."""
    batch, patches, width = tokens_BPD.shape
    side = round(patches**0.5)
    if side * side != patches:
        raise CheckpointError(f"a vision encoder with {patches} patches: only square grids are supported")
    return tokens_BPD.transpose(1, 2).reshape(batch, width, side, side)


def _weights_file(weights: str) -> Path:
    if weights in named_weights.CATALOG:
        return named_weights.ensure(weights) / "model.safetensors"
    path = Path(weights).expanduser()
    if not path.is_file():
        raise CheckpointError(f"vision.weights = {weights!r}: neither a named weight nor a file")
    return path


def _load_strictly(module: Any, path: Path, spec: VisionSpec) -> None:
    head = f"{module.pretrained_cfg['classifier']}."
    try:
        tensors = {name: tensor for name, tensor in load_file(path).items() if not name.startswith(head)}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors: {first_line(error)}; get it again") from error
    load_tensors(module, tensors, f"{path}: what it holds of {spec.name}")
