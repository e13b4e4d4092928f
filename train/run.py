"""The stages of a run, each from files to files, so that any of them can be repeated by itself.

clips/{snapshot,val}/ --tune--> RUN/vision.safetensors; with clips/{train,val}/ --encode--> RUN/features/…
--fit--> RUN/checkpoint, RUN/fit.json
"""

import json
import random
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.checkpoint import Checkpoint, CheckpointSpec, LoraSpec, decoder_path, open_tokenizer, write_checkpoint
from model.connector import make_connector
from model.decoder import open_decoder
from model.grammar import Grammar, GrammarSpec
from model.vision import VisionSpec, VisionTower, open_vision
from train.clips import list_clips
from train.dialogue import annotate
from train.features import encode_clips, load_features, save_features
from train.fit import fit
from train.grounding import load_frames, tune_vision
from train.pictures import plot_losses
from train.recipe import Recipe, RecipeError
from train.samples import Sampler

VISION_FILE, FEATURES, CHECKPOINT = "vision.safetensors", "features", "checkpoint"


def vision_spec(recipe: Recipe, *, weights: str) -> VisionSpec:
    """EfficientNet-Lite takes (RGB − 127) / 128."""
    return VisionSpec(
        library="timm",
        name=recipe.vision.name,
        weights=weights,
        image_size=recipe.tabletop.size,
        grid=3,
        layer_norm=True,
        mean=(127 / 255, 127 / 255, 127 / 255),
        std=(128 / 255, 128 / 255, 128 / 255),
    )


def tune(recipe: Recipe, clips_dir: Path, run_dir: Path, device: torch.device) -> VisionTower:
    """Tune the tower on clips_dir/snapshot, or else on clips_dir/train; RUN/vision.safetensors. Returns the tower."""
    torch.manual_seed(recipe.fit.seed)
    random.seed(recipe.fit.seed)
    run_dir.mkdir(parents=True, exist_ok=True)
    tower = _open_tower(recipe, device)
    if recipe.vision.tune_seconds > 0:
        snapshots = clips_dir / "snapshot"
        seen = list_clips(snapshots if snapshots.is_dir() else clips_dir / "train")
        frames, unseen = load_frames(seen, device), load_frames(list_clips(clips_dir / "val"), device)
        scores = tune_vision(tower, frames, unseen, recipe.vision, seed=recipe.fit.seed)
        print(f"vision, on clips not trained on: {json.dumps({k: round(v, 4) for k, v in scores.items()})}", flush=True)
        (run_dir / "vision.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    # What is shipped is bfloat16, so the decoder must be fitted to the features of the rounded tower.
    rounded = {k: v.to(torch.bfloat16) if v.is_floating_point() else v for k, v in tower.state_dict().items()}
    save_file({k: v.contiguous().cpu() for k, v in rounded.items()}, run_dir / VISION_FILE)
    _load_rounded(tower, rounded)
    return tower


def encode(recipe: Recipe, clips_dir: Path, run_dir: Path, device: torch.device) -> None:
    """Write the features of the clips in train and val, by the run's tower; it is tuned first if it is not there."""
    if (run_dir / VISION_FILE).is_file():
        tower = _open_tower(recipe, device)
        _load_rounded(tower, load_file(run_dir / VISION_FILE))
    else:
        tower = tune(recipe, clips_dir, run_dir, device)
    for split, views in (("train", recipe.vision.feature_views), ("val", 1)):
        clips = list_clips(clips_dir / split)
        folder = run_dir / FEATURES / split
        folder.mkdir(parents=True, exist_ok=True)
        for clip, by_view in zip(clips, encode_clips(tower, clips, views=views), strict=True):
            save_features(by_view, folder / f"{clip.path.stem}.safetensors")
            (folder / f"{clip.path.stem}.json").write_text(json.dumps(clip.meta), encoding="utf-8")


def _open_tower(recipe: Recipe, device: torch.device) -> VisionTower:
    tower = open_vision(vision_spec(recipe, weights=recipe.vision.weights))
    return tower.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _load_rounded(tower: VisionTower, tensors: dict[str, Tensor]) -> None:
    tower.load_state_dict({k: v.to(tower.state_dict()[k].dtype) for k, v in tensors.items()})


def fit_run(recipe: Recipe, run_dir: Path, device: torch.device) -> Path:
    """Fit adapters and connector on run_dir/features/train; returns the checkpoint's folder."""
    metas = sorted((run_dir / FEATURES / "train").glob("*.json"))
    if not metas:
        raise RecipeError(f"{run_dir}: has no features; run `python -m train encode` first")
    annotations = [annotate(json.loads(path.read_text(encoding="utf-8"))) for path in metas]
    features = [[v.to(device) for v in load_features(path.with_suffix(".safetensors"))] for path in metas]
    base = decoder_path(recipe.model.decoder)
    tokenizer = open_tokenizer(base)
    spec = CheckpointSpec(
        name=recipe.name,
        decoder=recipe.model.decoder,
        vision=vision_spec(recipe, weights=""),
        grammar=GrammarSpec(bos_token=tokenizer.bos_token, eos_token=tokenizer.eos_token),
        lora=LoraSpec(
            recipe.model.lora_r, recipe.model.lora_alpha, recipe.model.target_modules, recipe.model.lora_dropout
        ),
        fps=recipe.fps,
    )
    assert spec.lora is not None
    decoder = open_decoder(base, dtype=torch.float32, attention="sdpa")
    grammar = Grammar(tokenizer, spec.grammar)
    connector = make_connector(features[0][0].shape[-1], decoder.config.hidden_size)
    sampler = Sampler(
        annotations,
        features,
        grammar,
        batch_clips=recipe.fit.batch_clips,
        slide_prob=recipe.fit.slide_prob,
        seed=recipe.fit.seed,
    )
    fitted = fit(decoder, connector, spec.lora, grammar, sampler, recipe.fit, device=device)
    checkpoint = Checkpoint(
        spec,
        connector={k: v.to(torch.bfloat16) for k, v in fitted.connector.items()},
        lora={k: v.to(torch.bfloat16) for k, v in fitted.lora.items()},
        vision=load_file(run_dir / VISION_FILE),
    )
    write_checkpoint(checkpoint, run_dir / CHECKPOINT)
    report = {"recipe": asdict(recipe), "losses": fitted.losses, "tokens_per_s": fitted.tokens_per_s}
    (run_dir / "fit.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    plot_losses(fitted.losses, run_dir / "loss.png")
    return run_dir / CHECKPOINT
