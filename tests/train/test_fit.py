"""A run as its user starts it: from files to a checkpoint, in one process or two, killed and taken up again."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.assembly import open_checkpoint
from model.checkpoint import read_checkpoint
from model.errors import CheckpointError
from model.vision import VisionSpec, open_vision
from train.clip import read_clip
from train.recipe import RecipeError, read_recipe
from train.run import fit_run
from train.scoring.evaluate import teacher_forced
from train.scoring.freerun import free_run
from train.store import read_steps

ROOT = Path(__file__).parents[2]
BASE = ROOT / "tests" / "golden" / "base"
CHAT = ROOT / "tests" / "golden_proassist" / "i1" / "Meta-Llama-3-tiny"  # of random weights
KINDS = [("streaming", 10), ("streaming", 1), ("per-frame", 10), ("per-frame", 1), ("interleaved", 10)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """A run's folder with features: three patterns, of which the second calls for a remark."""
    run_dir = tmp_path_factory.mktemp("run")
    folder, val = run_dir / "features" / "train", run_dir / "features" / "val"
    folder.mkdir(parents=True)
    val.mkdir()
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(3, 10, 1280, generator=generator)
    for clip in range(8):
        at = 3 + clip % 4
        kinds = [0] * at + [1] + [2] * (9 - at)
        view = patterns[kinds] + 0.1 * torch.randn(10, 10, 1280, generator=generator)
        save_file({"0": view.to(torch.float16)}, folder / f"clip_{clip}.safetensors")
        event = {"time_s": at / 2 - 0.25, "verb": "cut", "object": "tomato", "text": "You cut the tomato."}
        meta = {"fps": 2.0, "num_frames": 10, "events": [event], "questions": []}
        (folder / f"clip_{clip}.json").write_text(json.dumps(meta))
    for name in ("clip_0.json", "clip_0.safetensors"):
        (val / name).symlink_to(folder / name)
    tower = open_vision(VisionSpec("timm", "tf_efficientnet_lite0", "", 32, layer_norm=True))
    save_file({k: v.contiguous() for k, v in tower.state_dict().items()}, run_dir / "vision.safetensors")
    robust = {kind: torch.zeros(4, 10, 1280, dtype=torch.float16) for kind in ("black", "noise")}
    save_file(robust, run_dir / "features" / "robust.safetensors")
    return run_dir


def make_run(clips: Path, folder: Path, *, steps: int = 12, kind: str = "streaming", tokens: int = 10, more: str = "",
             template: str = "videollm-online"):  # fmt: skip
    """A recipe and a fresh run's folder over the same features."""
    folder.mkdir()
    for name in ("features", "vision.safetensors"):
        (folder / name).symlink_to(clips / name)
    recipe = folder / "recipe.toml"
    recipe.write_text(
        f"""
        [tabletop]
        size = 32
        [model]
        template = "{template}"
        decoder = "{CHAT if template == "proassist" else BASE}"
        frame_tokens = {tokens}
        lora_r = {0 if template == "proassist" else 8}
        [objective]
        kind = "{kind}"
        [samples]
        slide_prob = 0.0
        {more}
        [fit]
        steps = {steps}
        batch_clips = 4
        learning_rate = 5e-3
        connector_learning_rate = 5e-3
        save_seconds = 0.01
        workers = 0
        """
    )
    return recipe, folder


def start(recipe: Path, run_dir: Path, **environ: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "train", "fit", str(recipe), "--run", str(run_dir), "--device", "cpu"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | environ
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def start_two(recipe: Path, run_dir: Path) -> list[subprocess.Popen]:
    """Two processes of one run, told of each other as launchers do it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    together = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [start(recipe, run_dir, RANK=str(rank), LOCAL_RANK=str(rank), **together) for rank in range(2)]


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def losses(run_dir: Path) -> list[float | None]:
    return [step["loss"] for step in read_steps(run_dir)]


@pytest.fixture(scope="module")
def uninterrupted(clips, tmp_path_factory) -> Path:
    recipe, folder = make_run(clips, tmp_path_factory.mktemp("whole") / "run")
    finish(start(recipe, folder))
    return folder


def test_a_killed_run_goes_on_as_if_nothing_had_been(clips, uninterrupted, tmp_path):
    recipe, folder = make_run(clips, tmp_path / "run")
    for until in (3, 7):
        process = start(recipe, folder)
        deadline = time.monotonic() + 120
        while not (folder / "state.pt").is_file() or len(losses_so_far(folder)) < until:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(start(recipe, folder))
    assert losses(folder) == losses(uninterrupted)
    whole, resumed = (load_file(f / "checkpoint" / "weights.safetensors") for f in (uninterrupted, folder))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_checkpoint_of_adapters_holds_nothing_else_of_the_decoder(uninterrupted):
    checkpoint = read_checkpoint(uninterrupted / "checkpoint")
    assert checkpoint.lora
    assert all(".lora_" in name for name in checkpoint.lora)
    assert not checkpoint.decoder


def losses_so_far(folder: Path) -> list[str]:
    path = folder / "fit.jsonl"
    return path.read_text().splitlines() if path.is_file() else []


def test_two_processes_take_the_steps_of_one(clips, uninterrupted, tmp_path):
    recipe, folder = make_run(clips, tmp_path / "run")
    for process in start_two(recipe, folder):
        finish(process)
    assert json.loads((folder / "fit.json").read_text())["report"]["processes"] == 2
    assert losses(folder) == pytest.approx(losses(uninterrupted), abs=2e-4)
    one, two = (load_file(f / "checkpoint" / "weights.safetensors") for f in (uninterrupted, folder))
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name].float(), one[name].float(), atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize(("kind", "tokens"), KINDS, ids=[f"{kind} {tokens}" for kind, tokens in KINDS])
def test_every_objective_trains_streams_and_is_measured(clips, tmp_path, kind, tokens):
    recipe, folder = make_run(
        clips, tmp_path / "run", steps=40 if kind == "streaming" else 120, kind=kind, tokens=tokens
    )
    model = open_checkpoint(fit_run(read_recipe(recipe), folder, Accelerator(cpu=True)))
    assert sum(losses(folder)[-4:]) < 0.3 * sum(losses(folder)[:4])
    check_what_a_person_looks_at(folder, kind)
    folder = clips / "features" / "train"
    features = load_file(folder / "clip_0.safetensors")["0"].float()[:, : model.num_frame_tokens]
    stream = model.open_stream(silence_threshold=0.5)
    decisions = stream.observe_many(model.connect(features))
    metrics = teacher_forced(model, read_clip(folder / "clip_0.json"), features, threshold=0.5)
    assert metrics.lm_correctness == 1.0
    if kind != "interleaved":  # which does not learn when
        assert [d.speaks for d in decisions] == [False] * 3 + [True]
        assert "".join(stream.reply()).strip() == "You cut the tomato."
        assert metrics.time_diff_frames == 0.0
        assert metrics.fluency == 1.0


def check_what_a_person_looks_at(folder: Path, kind: str) -> None:
    """Curves, a transcript of held-out clips, and a report that names the bottleneck."""
    steps = read_steps(folder)
    assert [step["step"] for step in steps] == list(range(len(steps)))
    assert all(step["words"] > 0 and step["grad_norm"] > 0 for step in steps)
    if kind == "interleaved":
        assert all(step["decisions"] is None for step in steps)
    else:
        assert all(min(s["words"], s["decisions"]) <= s["loss"] <= max(s["words"], s["decisions"]) for s in steps)
    transcript = (folder / "samples.md").read_text()
    assert "## clip_0" in transcript
    assert "| 1.5 s |  | You cut the tomato. |" in transcript
    if kind != "interleaved":
        assert "| 1.5 s |  | You cut the tomato. | You cut the tomato. | 0.0" in transcript
    assert {(folder / name).read_bytes()[:4] for name in ("loss.png", "samples.png")} == {b"\x89PNG"}
    report = json.loads((folder / "fit.json").read_text())["report"]
    assert report["measured_steps"] == len(steps) - 10
    assert report["bottleneck"] in ("data", "compute")


def test_the_whole_decoder_can_be_trained(clips, tmp_path):
    recipe, folder = make_run(clips, tmp_path / "run", steps=10)
    recipe.write_text(recipe.read_text().replace("lora_r = 8", "lora_r = 0\n        gradient_checkpointing = true"))
    path = fit_run(read_recipe(recipe), folder, Accelerator(cpu=True))
    checkpoint = read_checkpoint(path)
    assert checkpoint.decoder
    assert not checkpoint.lora
    before, after = open_checkpoint(ROOT / "tests" / "golden"), open_checkpoint(path)
    name = "model.layers.0.mlp.up_proj.weight"
    saved = checkpoint.decoder[name].float()
    assert torch.equal(after.decoder.state_dict()[name], saved)
    assert not torch.allclose(before.decoder.state_dict()[name], saved, atol=1e-4)


def test_a_fit_goes_on_from_a_checkpoint(clips, uninterrupted, tmp_path):
    recipe, folder = make_run(clips, tmp_path / "run", steps=1)
    changes = [f"model.start={uninterrupted / 'checkpoint'}", "fit.learning_rate=1e-6", "model.lora_r=8"]
    path = fit_run(read_recipe(recipe, changes), folder, Accelerator(cpu=True), encoded_dir=clips)
    before, after = (load_file(p / "weights.safetensors") for p in (uninterrupted / "checkpoint", path))
    assert before.keys() == after.keys()
    for name in before:
        torch.testing.assert_close(after[name], before[name], atol=1e-2, rtol=1e-2)
    assert losses(folder)[0] == pytest.approx(losses(uninterrupted)[-1], rel=0.5)
    with pytest.raises(RecipeError, match="its lora is another"):
        fit_run(read_recipe(recipe, [*changes, "model.lora_r=4"]), tmp_path / "other", Accelerator(cpu=True),
                encoded_dir=clips)  # fmt: skip


def test_a_loss_that_is_no_number_ends_the_run_and_saves_nothing(clips, tmp_path):
    recipe, folder = make_run(clips, tmp_path / "run")
    changes = ["fit.learning_rate=1e20", "fit.save_seconds=0.001"]
    with pytest.raises(RecipeError, match=r"fit.learning_rate.*: too high .* at step \d+ is .*nan"):
        fit_run(read_recipe(recipe, changes), folder, Accelerator(cpu=True), encoded_dir=clips)
    assert not (folder / "checkpoint").exists()
    state = torch.load(folder / "state.pt", weights_only=True) if (folder / "state.pt").exists() else {"model": {}}
    assert all(tensor.isfinite().all() for tensor in state["model"].values())


def test_changes_of_a_recipe_are_checked_like_the_recipe(clips, tmp_path):
    recipe, _ = make_run(clips, tmp_path / "run")
    changed = read_recipe(recipe, ["fit.seed=3", "objective.kind=per-frame", "samples.slide_prob=0.5"])
    assert (changed.fit.seed, changed.objective.kind, changed.samples.slide_prob) == (3, "per-frame", 0.5)
    for change, said in (
        ("fit.seeds=3", "fit.seeds: unknown"),
        ("fit.seed=x", "fit.seed = 'x'"),
        ("name.x=1", "valid string"),
    ):
        with pytest.raises(RecipeError, match=said):
            read_recipe(recipe, [change])


def test_a_chat_learns_when_to_speak_and_to_answer_at_the_next_frame(clips, tmp_path):
    recipe, folder = make_run(clips, tmp_path / "run", steps=60, tokens=1, template="proassist")
    model = open_checkpoint(fit_run(read_recipe(recipe), folder, Accelerator(cpu=True)))
    assert model.grammar.spec.template == "proassist"
    assert sum(losses(folder)[-4:]) < 0.3 * sum(losses(folder)[:4])
    features = load_file(clips / "features" / "train" / "clip_0.safetensors")["0"].float()[:, :1]
    run = free_run(model.open_stream(silence_threshold=0.5), model.connect(features))
    assert [(said.frame, said.text) for said in run.said] == [(3, "You cut the tomato.")]


def test_a_chat_has_no_per_frame_dialogues(clips, tmp_path):
    recipe, folder = make_run(clips, tmp_path / "run", kind="per-frame", template="proassist")
    with pytest.raises(RecipeError, match="has no per-frame dialogues"):
        fit_run(read_recipe(recipe), folder, Accelerator(cpu=True))


def test_a_state_of_another_recipe_is_refused(clips, tmp_path):
    recipe, folder = make_run(clips, tmp_path / "run", steps=2)
    fit_run(read_recipe(recipe), folder, Accelerator(cpu=True))
    recipe.write_text(recipe.read_text().replace("steps = 2", "steps = 3"))
    with pytest.raises(RecipeError, match="another recipe"):
        fit_run(read_recipe(recipe), folder, Accelerator(cpu=True))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def says(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def narrow(path: Path) -> None:
    save_file({"0": torch.zeros(10, 10, 64, dtype=torch.float16)}, path)


DAMAGES = {
    "features cut short": ("features/train/clip_0.safetensors", cut, "cannot be read: .*train encode` again"),
    "features gone": ("features/train/clip_0.safetensors", Path.unlink, "cannot be read: .*train encode` again"),
    "features of another tower": ("features/train/clip_0.safetensors", narrow, "are .* wide, .*train encode` again"),
    "a clip of other frames": ("features/train/clip_0.json", lambda path: says(path, num_frames=7), "not 7 frames"),
    "a clip without frames": (
        "features/train/clip_0.json",
        lambda path: says(path, num_frames=0),
        "no clip: num_frames: ",
    ),
    "a clip cut short": ("features/train/clip_0.json", lambda path: path.write_text('{"fps":'), "make the clip again"),
    "no description": (
        "features/train/clip_0.json",
        lambda path: path.write_text("{}"),
        "no clip: fps: Field required",
    ),
    "a list": ("features/train/clip_0.json", lambda path: path.write_text("[]"), "describes no clip: the file: "),
    "a time before the start": (
        "features/train/clip_0.json",
        lambda path: says(path, events=[{"time_s": -1, "text": "a"}]),
        "events.0.time_s: ",
    ),
    "a clip of no rate": ("features/train/clip_0.json", lambda path: says(path, fps=0), "0 frames a second"),
    "events of no time": (
        "features/train/clip_0.json",
        lambda path: says(path, events=[{"text": "a"}]),
        "no clip: events.0.time_s: ",
    ),
    "half a tower": ("vision.safetensors", cut, "vision.safetensors: cannot be read: .*train tune` again"),
    "no tower": ("vision.safetensors", Path.unlink, "vision.safetensors: cannot be read: .*train tune` again"),
    "no robust frames": (
        "features/robust.safetensors",
        Path.unlink,
        "robust.safetensors: cannot .*train encode` again",
    ),
    "half a state": ("state.pt", cut, "state.pt: cannot be read: .*; delete it to begin anew"),
    "no state": ("state.pt", lambda path: torch.save({"step": 1}, path), "state.pt: .* delete it to begin anew"),
    "half the notes": ("fit.jsonl", lambda path: path.write_text('{"st'), "fit.jsonl: is damaged; delete it"),
}


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_named_with_what_helps(clips, uninterrupted, tmp_path, name, damage, message):
    recipe, folder = make_run(clips, tmp_path / "run")
    for link in ("features", "vision.safetensors"):
        (folder / link).unlink()
    shutil.copytree(clips / "features", folder / "features")
    for file in (clips / "vision.safetensors", uninterrupted / "state.pt", uninterrupted / "fit.jsonl"):
        shutil.copy(file, folder)
    damage(folder / name)
    changes = ["samples.robust_prob=0.5"] if "robust" in name else []
    with pytest.raises(RecipeError, match=message) as refused:
        fit_run(read_recipe(recipe, changes), folder, Accelerator(cpu=True))
    assert len(str(refused.value).splitlines()) == 1
    assert str((folder / name).parent) in str(refused.value)
    assert not (folder / "checkpoint").exists()


def test_a_run_without_time_for_a_step_makes_no_checkpoint(clips, tmp_path):
    recipe, folder = make_run(clips, tmp_path / "run")
    with pytest.raises(RecipeError, match="max_seconds = 1e-06: over before the first step"):
        fit_run(read_recipe(recipe, ["fit.max_seconds=0.000001"]), folder, Accelerator(cpu=True))
    assert not (folder / "checkpoint").exists()


def test_one_clip_is_enough_for_one_process_and_too_few_for_two(clips, tmp_path):
    recipe, folder = make_run(clips, tmp_path / "run", steps=1)
    (folder / "features").unlink()
    (folder / "features" / "train").mkdir(parents=True)
    for name in ("clip_0.json", "clip_0.safetensors"):
        shutil.copy(clips / "features" / "train" / name, folder / "features" / "train")
    finish(start(recipe, folder))
    for process in start_two(recipe, folder):
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 2
        assert "has features of 1 clips, for 2 processes" in output


def test_a_start_that_does_not_fit_is_refused(clips, uninterrupted, tmp_path):
    recipe, folder = make_run(clips, tmp_path / "run", steps=1)
    shutil.copytree(uninterrupted / "checkpoint", tmp_path / "start")
    weights = tmp_path / "start" / "weights.safetensors"
    whole = load_file(weights)
    for prefix in ("connector.", "lora."):
        gone = next(name for name in sorted(whole) if name.startswith(prefix))
        save_file({name: tensor for name, tensor in whole.items() if name != gone}, weights)
        with pytest.raises(CheckpointError, match=r"not fit.*: missing "):
            fit_run(read_recipe(recipe, [f"model.start={tmp_path / 'start'}"]), folder, Accelerator(cpu=True))


def test_tensorboard_holds_the_curves_or_is_asked_for(clips, tmp_path, monkeypatch):
    recipe, folder = make_run(clips, tmp_path / "run", steps=3)
    changed = read_recipe(recipe, ["fit.tensorboard=true", "fit.sample_clips=0"])
    fit_run(changed, folder, Accelerator(cpu=True))
    assert not (folder / "samples.md").exists()
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    assert [event.value for event in board.Scalars("loss")] == pytest.approx(losses(folder))
    assert {"words", "decisions", "lr", "grad_norm"} <= {*board.Tags()["scalars"]}
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(RecipeError, match="pip install tensorboard"):
        fit_run(changed, folder, Accelerator(cpu=True))
