"""The stages of a run, each from files to files, so that any of them can be repeated by itself.

clips/{snapshot,val}/ --tune--> RUN/vision.safetensors; with clips/{train,val}/ --encode--> RUN/features/…
--fit--> RUN/checkpoint, RUN/fit.json, RUN/loss.png, RUN/samples.md, RUN/samples.png
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor

from model.assembly import decoder_path, open_checkpoint, open_tokenizer
from model.checkpoint import DEFAULT, Checkpoint, CheckpointSpec, LoraSpec, read_checkpoint, write_checkpoint
from model.connector import make_connector
from model.decoder import open_decoder
from model.grammar import Grammar, GrammarSpec
from model.tensors import load_tensors
from model.vision import VisionSpec, VisionTower, open_vision
from train.clip import read_clip
from train.clips import ClipFile, list_clips, share
from train.dialogue import annotate_for_study
from train.features import ENCODE_AGAIN, FeatureFile, encode_clips, encode_frames, read_tensors, save_features
from train.fit import fit
from train.grounding import load_frames, tune_vision
from train.pictures import plot_fit
from train.recipe import Recipe, RecipeError
from train.samples import Sampler
from train.store import read_steps, require_tensorboard
from train.throughput import summary_line
from train.transcripts import plot_transcripts, transcribe, write_transcripts

VISION_FILE, FEATURES, CHECKPOINT = "vision.safetensors", "features", "checkpoint"
ROBUST_FILE = "robust.safetensors"
ROBUST_FRAMES = 16


def vision_spec(recipe: Recipe, *, weights: str) -> VisionSpec:
    """The tower as the decoder will see it. EfficientNet-Lite takes (RGB − 127) / 128."""
    return VisionSpec(
        library="timm",
        name=recipe.vision.name,
        weights=weights,
        image_size=recipe.tabletop.size,
        grid=3 if recipe.model.frame_tokens == 10 else 0,
        layer_norm=True,
        mean=(127 / 255, 127 / 255, 127 / 255),
        std=(128 / 255, 128 / 255, 128 / 255),
        grid_positions=recipe.vision.grid_positions,
    )


def tune(recipe: Recipe, clips_dir: Path, run_dir: Path, accelerator: Accelerator) -> VisionTower:
    """Tune the tower on clips_dir/snapshot, or else on clips_dir/train; RUN/vision.safetensors. Returns the tower.

    Every process calls it, with its share of the clips; the main one writes.
    """
    device, rank, num_ranks = accelerator.device, accelerator.process_index, accelerator.num_processes
    torch.manual_seed(recipe.fit.seed)
    run_dir.mkdir(parents=True, exist_ok=True)
    tower = _open_tower(recipe, device)
    if recipe.vision.tune_seconds > 0:
        snapshots = clips_dir / "snapshot"
        seen = share(list_clips(snapshots if snapshots.is_dir() else clips_dir / "train"), rank, num_ranks)
        frames, unseen = load_frames(seen, device), load_frames(list_clips(clips_dir / "val"), device)
        scores = tune_vision(tower, frames, unseen, recipe.vision, seed=recipe.fit.seed, accelerator=accelerator)
        if accelerator.is_main_process:
            shares = json.dumps({name: round(share, 4) for name, share in scores.items()})
            print(f"vision, on clips not trained on: {shares}", flush=True)
            (run_dir / "vision.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    # What is shipped is bfloat16, so the decoder must be fitted to the features of the rounded tower.
    rounded = {k: v.to(torch.bfloat16) if v.is_floating_point() else v for k, v in tower.state_dict().items()}
    if accelerator.is_main_process:
        save_file({k: v.contiguous().cpu() for k, v in rounded.items()}, run_dir / VISION_FILE)
    load_tensors(tower, rounded, "the rounded tower")
    accelerator.wait_for_everyone()
    return tower


def encode(recipe: Recipe, clips_dir: Path, run_dir: Path, accelerator: Accelerator) -> None:
    """Write the features of the clips in train and val, by the run's tower; it is tuned first if it is not there.

    Every process calls it, and encodes its share.
    """
    device, rank, num_ranks = accelerator.device, accelerator.process_index, accelerator.num_processes
    if (run_dir / VISION_FILE).is_file():
        tower = _open_tower(recipe, device)
        load_tensors(tower, _read_tower(run_dir), f"{run_dir / VISION_FILE}: the tower")
    else:
        tower = tune(recipe, clips_dir, run_dir, accelerator)
    for split, views in (("train", recipe.vision.feature_views), ("val", 1)):
        clips = list_clips(clips_dir / split)
        _check_clips(clips, recipe)
        folder = run_dir / FEATURES / split
        folder.mkdir(parents=True, exist_ok=True)
        if accelerator.is_main_process:
            _forget_others(folder, clips)
        clips = clips[rank::num_ranks]
        has_faults = recipe.vision.augment == "camera"
        encoded = encode_clips(tower, clips, views=views, seed=rank, has_camera_faults=has_faults)
        for clip, by_view in zip(clips, encoded, strict=True):
            save_features(by_view, folder / f"{clip.path.stem}.safetensors")
            shutil.copyfile(clip.path.with_suffix(".json"), folder / f"{clip.path.stem}.json")
    if accelerator.is_main_process:
        side = recipe.tabletop.size
        black = torch.zeros(ROBUST_FRAMES, 3, side, side, dtype=torch.uint8, device=device)
        noise = torch.randint_like(black, 256)
        robust = {"black": encode_frames(tower, black), "noise": encode_frames(tower, noise)}
        save_file({k: v.to("cpu", torch.float16) for k, v in robust.items()}, run_dir / FEATURES / ROBUST_FILE)
    accelerator.wait_for_everyone()


def _check_clips(clips: list[ClipFile], recipe: Recipe) -> None:
    """Raises RecipeError if clips are of another rate or size than the recipe's."""
    for clip in clips:
        fps, side = clip.clip.fps, clip.frames().shape[1]
        if fps != recipe.fps:
            raise RecipeError(
                f"{clip.path}: has {fps:g} frames a second, the recipe fps = {recipe.fps:g}; make them agree"
            )
        if side != recipe.tabletop.size:
            raise RecipeError(
                f"{clip.path}: its frames are {side} pixels wide, the recipe's tabletop.size = {recipe.tabletop.size}; "
                "make them agree"
            )


def _forget_others(folder: Path, clips: list[ClipFile]) -> None:
    """Remove what was encoded of clips that are no longer there."""
    kept = {clip.path.stem for clip in clips}
    for path in folder.iterdir():
        if path.stem not in kept:
            path.unlink()


def _open_tower(recipe: Recipe, device: torch.device) -> VisionTower:
    start = _read_start(recipe)
    weights = "" if start and start.vision else recipe.vision.weights
    # Tuned and encoded with all ten tokens; a decoder that takes one gets the first of them.
    tower = open_vision(replace(vision_spec(recipe, weights=weights), grid=3))
    if start and start.vision:
        load_tensors(tower, start.vision, f"{start.where}: its vision tower")
    return tower.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _read_tower(run_dir: Path) -> dict[str, Tensor]:
    return read_tensors(run_dir / VISION_FILE, "run `python -m train tune` again")


def _read_start(recipe: Recipe) -> Checkpoint | None:
    if not recipe.model.start:
        return None
    return read_checkpoint(DEFAULT if recipe.model.start == "default" else recipe.model.start)


def fit_run(recipe: Recipe, run_dir: Path, accelerator: Accelerator, *, encoded_dir: Path | None = None) -> Path:
    """Fit adapters and connector on encoded_dir/features/train; returns the checkpoint's folder, in run_dir.

    encoded_dir: of the run that encoded the clips, this one if not given. Goes on from run_dir/state.pt if that is
    there. Every process calls it; the main one writes.
    """
    encoded_dir = encoded_dir or run_dir
    metas = sorted((encoded_dir / FEATURES / "train").glob("*.json"))
    if not metas:
        raise RecipeError(f"{encoded_dir}: has no features; run `python -m train encode` first")
    if len(metas) < accelerator.num_processes:
        raise RecipeError(
            f"{encoded_dir}: has features of {len(metas)} clips, for {accelerator.num_processes} processes; each needs "
            "one at least: start fewer, or make more clips"
        )
    if recipe.objective.kind == "per-frame" and recipe.model.template != "videollm-online":
        raise RecipeError(f"model.template = {recipe.model.template!r}: has no per-frame dialogues; set objective.kind")
    if recipe.fit.tensorboard:
        require_tensorboard()
    start, tower = (
        _read_start(recipe),
        _read_tower(encoded_dir),
    )  # a fit takes long: what it needs in the end comes first
    part, num_tokens = recipe.model, recipe.model.frame_tokens
    clips = [read_clip(path) for path in metas]
    features = [
        FeatureFile(path.with_suffix(".safetensors"), num_tokens, clip.num_frames)
        for path, clip in zip(metas, clips, strict=True)
    ]
    _check_widths(metas, features)
    base = decoder_path(part.decoder)
    tokenizer = open_tokenizer(base)
    spec = CheckpointSpec(
        name=recipe.name,
        decoder=part.decoder,
        vision=vision_spec(recipe, weights=""),
        grammar=GrammarSpec(
            num_frame_tokens=num_tokens,
            has_interval=num_tokens > 1 and part.template == "videollm-online",
            is_per_frame=recipe.objective.kind == "per-frame",
            bos_token=tokenizer.bos_token,
            eos_token="<|eot_id|>" if part.template == "proassist" else tokenizer.eos_token,
            template=part.template,
        ),
        lora=LoraSpec(part.lora_r, part.lora_alpha, part.target_modules, part.lora_dropout) if part.lora_r else None,
        fps=recipe.fps,
    )
    if start:
        spec = _continued(spec, start.spec, recipe.model.start)
    decoder = open_decoder(base, dtype=torch.float32, attention="sdpa")
    grammar = Grammar(tokenizer, spec.grammar)
    torch.manual_seed(recipe.fit.seed)
    connector = make_connector(features[0].width, decoder.config.hidden_size)
    robust = read_tensors(encoded_dir / FEATURES / ROBUST_FILE, ENCODE_AGAIN) if recipe.samples.robust_prob else {}
    sampler = Sampler(
        [annotate_for_study(clip) for clip in clips],
        features,
        grammar,
        batch_clips=recipe.fit.batch_clips,
        samples=recipe.samples,
        objective=recipe.objective,
        robust={kind: frames[:, :num_tokens] for kind, frames in robust.items()},
        seed=recipe.fit.seed,
    )
    fitted = fit(
        decoder,
        connector,
        spec.lora,
        grammar,
        sampler,
        recipe.fit,
        recipe.objective,
        accelerator=accelerator,
        run_dir=run_dir,
        identity={"recipe": recipe.model_dump(), "clips": [path.stem for path in metas]},
        gradient_checkpointing=part.gradient_checkpointing,
        start=start,
    )
    if accelerator.is_main_process:
        checkpoint = Checkpoint(
            spec,
            connector={k: v.to(torch.bfloat16) for k, v in fitted.connector.items()},
            lora={k: v.to(torch.bfloat16) for k, v in fitted.decoder.items()} if spec.lora else {},
            decoder={} if spec.lora else {k: v.to(torch.bfloat16) for k, v in fitted.decoder.items()},
            vision=tower,
        )
        write_checkpoint(checkpoint, run_dir / CHECKPOINT)
        report = {"recipe": recipe.model_dump(), "report": fitted.report, "losses": fitted.losses}
        (run_dir / "fit.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        plot_fit(read_steps(run_dir), run_dir / "loss.png", title=_title(recipe))
        print(summary_line(fitted.report), flush=True)
    del decoder, connector
    accelerator.free_memory()  # the checkpoint is opened again, and both may not fit
    if accelerator.is_main_process:
        _write_samples(recipe, run_dir, encoded_dir / FEATURES / "val", accelerator.device)
    accelerator.wait_for_everyone()
    return run_dir / CHECKPOINT


def _check_widths(metas: list[Path], features: list[FeatureFile]) -> None:
    """Raises RecipeError if some features were encoded by another tower."""
    for path, file in zip(metas, features, strict=True):
        if file.width != features[0].width:
            raise RecipeError(
                f"{path}: its features are {file.width} wide, those of {metas[0].stem} "
                f"{features[0].width}; {ENCODE_AGAIN}"
            )


def _title(recipe: Recipe) -> str:
    """What was learned, in a line."""
    objective = recipe.objective
    loss = objective.loss if objective.loss == "ce" else f"{objective.loss} on decisions"
    return f"{recipe.name}: {objective.kind}, {loss}, τ = {objective.tau:g}, {recipe.model.frame_tokens} tokens a frame"


def _write_samples(recipe: Recipe, run_dir: Path, features_dir: Path, device: torch.device) -> None:
    """RUN/samples.md and RUN/samples.png, if the recipe wants some and there are encoded clips that were held out."""
    if not recipe.fit.sample_clips or not any(features_dir.glob("*.json")):
        return
    dtype = "bfloat16" if device.type == "cuda" else "float32"
    model = open_checkpoint(run_dir / CHECKPOINT, device=str(device), dtype=dtype)
    transcripts = transcribe(model, features_dir, recipe.fit.sample_clips)
    write_transcripts(transcripts, run_dir / "samples.md", title=_title(recipe))
    plot_transcripts(transcripts, run_dir / "samples.png", threshold=model.silence_threshold)


def _continued(spec: CheckpointSpec, start: CheckpointSpec, name: str) -> CheckpointSpec:
    """The recipe's spec with what only the start knows. Raises RecipeError where the two are of different shapes."""
    mine = replace(
        spec,
        name=start.name,
        silence_threshold=start.silence_threshold,
        grammar=replace(
            spec.grammar,
            system_prompt=start.grammar.system_prompt,
            bos_token=start.grammar.bos_token,
            eos_token=start.grammar.eos_token,
        ),
    )
    for part in ("decoder", "vision", "grammar", "lora", "earlier_loras", "fps"):
        ours, theirs = getattr(mine, part), getattr(start, part)
        if ours != theirs:
            raise RecipeError(f"model.start = {name!r}: its {part} is another than the recipe's: {theirs}, not {ours}")
    return replace(mine, name=spec.name)
