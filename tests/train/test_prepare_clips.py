"""From a user's videos to clips, features and a checkpoint: real small videos, cut where it is quiet, and mistakes."""

import json
import random
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.assembly import open_checkpoint
from tests.train.films import SIDE, film, narrate, seconds_shown
from train.cli import main
from train.clip import ClipEvent
from train.clips import list_clips
from train.grounding import load_frames
from train.prepare import NoRoom, prepare
from train.recipe import RecipeError
from train.recordings.cutting import MAX_SILENT_CLIPS, choose_silent, choose_val, cut, quiet_s
from train.recordings.footage import probe, sample
from train.recordings.record import RecordingsError

LATE_PICTURE = Path(__file__).parents[1] / "model" / "faults" / "video_starts_at_6s.mp4"
BASE = Path(__file__).parents[1] / "golden" / "base"


# Cuts


@settings(max_examples=150, deadline=None)
@given(
    num_frames=st.integers(1, 3000),
    fps=st.sampled_from([1.0, 2.0, 5.0]),
    times=st.lists(st.floats(0, 1500, allow_nan=False), max_size=60),
)
def test_clips_cover_the_video_in_order_and_are_of_a_fit_length(num_frames, fps, times):
    clips = cut(num_frames, fps, times)
    assert [frame for clip in clips for frame in clip] == list(range(num_frames))
    assert cut(num_frames, fps, times) == clips
    if num_frames > 60 * fps:
        assert all(20 * fps <= len(clip) <= 60 * fps for clip in clips)
    else:
        assert len(clips) == 1


def test_cuts_are_made_where_it_is_quiet():
    busy = [float(t) for t in range(90) if t not in (33, 34, 35)]
    assert cut(160, 2.0, busy)[0] == range(68)  # at 34 s
    quiet = [10.0, 38.5, 41.0, 70.0]
    (cut_s,) = [clip.start / 2 for clip in cut(160, 2.0, quiet)[1:]]
    assert quiet_s(cut_s, quiet) >= 2
    assert cut(160, 2.0, [])[1].start == 80


def test_silence_is_kept_in_part_and_words_altogether():
    is_silent = [True, False, True, True, True, False, True]
    kept = choose_silent(is_silent, random.Random(0))
    assert sum(is_silent[i] for i in kept) == MAX_SILENT_CLIPS
    assert {1, 5} <= set(kept)
    assert kept == sorted(kept)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
@pytest.mark.parametrize("num_busy", range(6))
@pytest.mark.parametrize("num_silent", range(4))
def test_both_splits_get_something_and_training_gets_words(num_busy, num_silent, share):
    is_silent = [False] * num_busy + [True] * num_silent
    val = choose_val(is_silent, share, random.Random(1))
    if len(is_silent) < 2:
        assert not val
        return
    assert 0 < len(val) < len(is_silent)
    assert num_busy == 0 or any(i not in val for i in range(num_busy))
    assert num_busy < 2 or any(i in val for i in range(num_busy))


# Clips


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory) -> Path:
    """Two minutes with words in both, and 30 silent seconds."""
    folder = tmp_path_factory.mktemp("kitchen")
    film(folder / "a.mp4", 100, rate=4)
    narrate(
        folder / "a.srt", (3.2, "You cut it."), (12.25, "Q: What is it?\nA: Salt."), (70.0, "You stir."), (99.9, "x")
    )
    film(folder / "b.mp4", 30, rate=4)
    (folder / "b.srt").touch()
    return folder


def test_clips_hold_exactly_what_the_stages_after_them_read(kitchen, tmp_path):
    warnings: list[str] = []
    summary = prepare(kitchen, tmp_path, size=SIDE, warn=warnings.append)
    assert (summary.clips, summary.val_clips, summary.made, summary.removed) == (3, 1, 3, 0)
    assert (summary.remarks, summary.questions, summary.seconds) == (2, 1, 130.0)
    assert str(summary) == "3 clips, 1 of them for validation; 2.2 minutes, 2 remarks, 1 questions; 3 written"
    clips = {c.path.stem: c for split in ("train", "val") for c in list_clips(tmp_path / split)}
    first = clips["clip_000"]
    made_from = first.clip.made_from
    assert json.loads(first.path.with_suffix(".json").read_text()) == {
        "clip": "clip_000",
        "split": first.path.parent.name,
        "fps": 2.0,
        "num_frames": 80,
        "events": [{"time_s": 3.2, "text": "You cut it."}],
        "questions": [{"time_s": 12.25, "question": "What is it?", "answer": "Salt.", "kind": "present"}],
        "source": {"video": "a.mp4", "start_s": 0.0},
        "made_from": made_from,
    }
    second = clips["clip_001"]
    assert (second.clip.source.start_s, second.clip.events) == (40.0, [ClipEvent(time_s=30.0, text="You stir.")])
    for clip in clips.values():
        frames = clip.frames()
        assert (frames.dtype, frames.shape) == (np.uint8, (clip.num_frames, SIDE, SIDE, 3))
        start_s = clip.clip.source.start_s
        assert seconds_shown(frames) == [int(start_s + k / 2) for k in range(clip.num_frames)]
    end, silent = warnings
    assert "a.srt:15: 'x' at 99.9 s is too close to the end of a.mp4, or behind it (100.0 s)" in end
    assert silent.endswith("b.mp4: nothing is said in it; it will be learned as silence")


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {p.relative_to(folder).as_posix(): (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*.*")}


def test_a_second_run_leaves_finished_clips_alone_and_makes_the_missing_ones(kitchen, tmp_path):
    prepare(kitchen, tmp_path, size=SIDE)
    before = snapshot(tmp_path)
    assert prepare(kitchen, tmp_path, size=SIDE).made == 0
    assert snapshot(tmp_path) == before
    lost = next((tmp_path / "train").glob("*.json"))
    kept = lost.read_text()
    lost.unlink()
    (tmp_path / "train" / ".clip_007.draft").write_text("half a clip")
    assert prepare(kitchen, tmp_path, size=SIDE).made == 1
    assert lost.read_text() == kept
    assert snapshot(tmp_path).keys() == before.keys()


def test_other_arguments_replace_the_clips_and_those_of_others_are_never_touched(kitchen, tmp_path):
    prepare(kitchen, tmp_path, size=SIDE)
    other = tmp_path / "train" / "clip_42.json"
    other.write_text("{}")
    only_b = kitchen.parent / "only_b"
    only_b.mkdir()
    for name in ("b.mp4", "b.srt"):
        (only_b / name).write_bytes((kitchen / name).read_bytes())
    summary = prepare(only_b, tmp_path, size=SIDE)
    assert (summary.clips, summary.val_clips, summary.removed) == (1, 1, 2)
    assert other.is_file()
    assert {p.stem for s in ("train", "val") for p in (tmp_path / s).glob("*.npy")} == {"clip_000"}
    np.testing.assert_array_equal(np.load(tmp_path / "train/clip_000.npy"), np.load(tmp_path / "val/clip_000.npy"))
    (tmp_path / "train" / "clip_000.json").write_text("{}")
    with pytest.raises(RecordingsError, match=r"clip_000.json: was not made by `prepare`; name another folder"):
        prepare(only_b, tmp_path, size=SIDE)


def test_the_same_seed_gives_the_same_clips(kitchen, tmp_path):
    for name in ("one", "two"):
        prepare(kitchen, tmp_path / name, size=SIDE, seed=3)
    one, two = ({p: (tmp_path / n / p).read_bytes() for p in snapshot(tmp_path / n)} for n in ("one", "two"))
    assert one == two


def test_what_is_too_close_together_is_told_of(tmp_path):
    film(tmp_path / "a.mp4", 5)
    narrate(tmp_path / "a.srt", *((1 + k / 4, f"Remark {k}.") for k in range(10)))
    warnings: list[str] = []
    prepare(tmp_path, tmp_path / "clips", size=SIDE, warn=warnings.append)
    assert len(warnings) == 6
    assert "'Remark 1.' follows the remark before it by 0.2 s; remarks should be 1 s apart" in warnings[0]
    assert warnings[-1].endswith("a.mp4: … and 4 more warnings")


# Mistakes


def test_videos_that_cannot_be_read_are_named_all_at_once_and_nothing_is_written(tmp_path, capsys):
    film(tmp_path / "good.mp4", 2)
    (tmp_path / "broken.mp4").write_bytes(b"no video at all" * 100)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for name in ("good", "broken", "sound"):
        narrate(tmp_path / f"{name}.srt", (1.0, "x"))
    assert main(["prepare", str(tmp_path), "--out", str(tmp_path / "clips")]) == 2
    broken, sound = [line for line in capsys.readouterr().err.splitlines() if line.startswith(str(tmp_path))]
    assert broken.startswith(f"{tmp_path}/broken.mp4: is not a video that can be read")
    assert sound.startswith(f"{tmp_path}/sound.mp4: has only sound, no picture")
    assert not (tmp_path / "clips").exists()


def test_a_picture_that_stays_for_long_is_held_and_told_of(tmp_path):
    film(tmp_path / "a.mkv", 0, times_s=[0.0, 0.5, 90.0, 90.5])
    warnings: list[str] = []
    indexes = [index for index, _ in sample(probe(tmp_path / "a.mkv"), 2.0, SIDE, warnings.append)]
    assert indexes == list(range(182))
    assert warnings == [f"{tmp_path}/a.mkv: one picture stays for 90 s, from 0.5 s on"]


def test_what_is_said_before_the_picture_begins_is_left_out_and_the_rest_keeps_its_time(tmp_path):
    shutil.copy(LATE_PICTURE, tmp_path / "late.mp4")  # 20 s of pictures, from 6 s on
    narrate(tmp_path / "late.srt", (2.0, "Too early."), (8.2, "In time."))
    warnings: list[str] = []
    prepare(tmp_path, tmp_path / "clips", size=SIDE, warn=warnings.append)
    assert [text for text in warnings if "Too early." in text and "begins at 6.0 s" in text]
    clip = json.loads((tmp_path / "clips" / "train" / "clip_000.json").read_text())
    assert clip["source"] == {"video": "late.mp4", "start_s": 6.0}
    assert [(event["time_s"], event["text"]) for event in clip["events"]] == [(2.2, "In time.")]


def test_impossible_arguments_and_a_full_disk_end_in_one_message(kitchen, tmp_path, capsys):
    command = ["prepare", str(kitchen), "--out", str(tmp_path / "c")]
    assert main([*command, "--fps", "0", "--size", "5000", "--val-share", "1"]) == 2
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == [
        "--fps 0",
        "--size 5000",
        "--val-share 1",
    ]
    (tmp_path / "file").touch()
    with pytest.raises(NoRoom, match="cannot be written"):
        prepare(kitchen, tmp_path / "file", size=SIDE)
    assert NoRoom.exit_code == 3


# From end to end


def test_from_a_video_to_a_checkpoint(kitchen, tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f"""
        [tabletop]
        size = {SIDE}
        [vision]
        weights = ""
        tune_seconds = 0.0
        feature_views = 2
        [model]
        decoder = "{BASE}"
        lora_r = 4
        [fit]
        steps = 12
        batch_clips = 4
        learning_rate = 5e-3
        connector_learning_rate = 5e-3
        workers = 0
        """
    )
    clips, run = str(tmp_path / "clips"), str(tmp_path / "run")
    assert main(["prepare", str(kitchen), "--out", clips, "--size", str(SIDE), "--seed", "2"]) == 0
    assert (
        capsys.readouterr().out
        == f"{clips}: 3 clips, 1 of them for validation; 2.2 minutes, 2 remarks, 1 questions; 3 written\n"
    )
    assert main(["encode", str(recipe), "--clips", clips, "--run", run, "--device", "cpu"]) == 0
    assert main(["fit", str(recipe), "--run", run, "--device", "cpu"]) == 0
    losses = [json.loads(line)["loss"] for line in (Path(run) / "fit.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.5 * losses[0]
    model = open_checkpoint(Path(run) / "checkpoint")
    assert model.num_frame_tokens == 10


def test_a_tower_cannot_be_tuned_on_clips_without_labels(kitchen, tmp_path):
    prepare(kitchen, tmp_path, size=SIDE)
    with pytest.raises(RecipeError, match="without labels of their frames"):
        load_frames(list_clips(tmp_path / "train"), torch.device("cpu"))
