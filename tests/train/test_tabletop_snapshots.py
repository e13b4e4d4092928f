"""Labels of frames, snapshots for the vision stage, and odd looks of the tabletop world. No rendering, no assets."""

from __future__ import annotations

import argparse
import math
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from train.clip import Clip, ClipEvent
from train.clips import list_clips
from train.grounding import load_frames
from train.tabletop import command
from train.tabletop.art import ART_KINDS, ART_PX, Art, paint
from train.tabletop.catalog import FIRST_FIXTURE, FIXTURES, VOCABULARY
from train.tabletop.ground_truth import describe, describe_snapshots, snapshot_times
from train.tabletop.record import (
    NO_ITEM,
    PHASE_HOLDING,
    PHASE_IDLE,
    PHASE_MOVING,
    PHASE_NONE,
    PHASE_POURING,
    PHASE_REACHING,
    Script,
)
from train.tabletop.scenery import TRAIN_ROOMS
from train.tabletop.script import clip_seed, is_quiet, write_script


@pytest.fixture(scope="module")
def scripts() -> list[Script]:
    return [write_script("snapshot", clip_seed("snapshot", index)) for index in range(24)]


@pytest.fixture(scope="module")
def described(train_scripts: list[Script]) -> list[tuple[Script, Clip]]:
    chosen = [script for script in train_scripts if len({event.verb for event in script.events}) >= 5][:12]
    return [(script, describe(script)) for script in chosen]


def test_labels_of_frames_agree_with_events(described):
    for script, clip in described:
        labels = clip.frames
        assert {len(of_frames) for _, of_frames in labels} == {clip.num_frames}
        assert clip.num_frames == round(script.duration_s * clip.fps)
        for index in range(clip.num_frames):
            past = [event for event in clip.events if event.time_s <= index / clip.fps]
            last = past[-1] if past else ClipEvent(time_s=0.0, text="-")
            phase, acted = labels.phase[index], labels.acted[index]
            assert (phase in (PHASE_HOLDING, PHASE_POURING)) == (last.verb in ("pick up", "pour"))
            assert (phase == PHASE_POURING) <= (last.verb == "pour")
            if phase in (PHASE_MOVING, PHASE_HOLDING, PHASE_POURING):
                assert VOCABULARY[acted] == last.object
            assert (acted == NO_ITEM) <= (labels.target[index] == NO_ITEM)
            if phase == PHASE_POURING:
                assert VOCABULARY[labels.target[index]] == last.target
            elif phase in (PHASE_NONE, PHASE_IDLE):
                assert acted == NO_ITEM
            elif acted == NO_ITEM:
                assert phase == PHASE_REACHING  # and not yet at anything
            else:
                assert VOCABULARY[acted] in clip.objects


def test_what_an_object_is_brought_to_is_labelled_once_it_is_on_its_way(described):
    num_checked = 0
    for _, clip in described:
        events = [event for event in clip.events if event.verb != "pour"]
        for taken, put in pairwise(events):
            if put.target is None:
                continue
            start, end = (math.ceil(event.time_s * clip.fps) for event in (taken, put))
            labels = clip.frames.target[start:end]
            first = labels.index(VOCABULARY.index(put.target))
            assert labels == [NO_ITEM] * first + labels[first : first + 1] * (len(labels) - first)
            assert 0 < first < len(labels)
            num_checked += 1
    assert num_checked > 3


def test_fixtures_are_labelled_open_or_on_as_events_have_it(described):
    verbs = {"open": 1, "turn on": 1, "close": 0, "turn off": 0}
    for script, clip in described:
        for number, fixture in enumerate(FIXTURES):
            labels = [states[number] for states in clip.frames.states]
            if number not in script.motion.fixtures:
                assert set(labels) == {-1}
                continue
            changes = [event for event in clip.events if event.object == fixture.name and event.verb in verbs]
            state = round(script.motion.states[number])
            for index, label in enumerate(labels):
                time_s = index / clip.fps
                state = next((verbs[e.verb] for e in reversed(changes) if e.time_s <= time_s), state)
                if all(abs(event.time_s - time_s) > 1.5 for event in changes):
                    assert label == state
            assert labels[0] == round(script.motion.states[number])


def test_what_is_visible_is_in_the_picture_and_not_shut_in(described):
    for script, clip in described:
        assert len(clip.objects) == len(script.items) + len(script.motion.fixtures)
        spots = np.array(clip.frames.uv)
        assert spots.shape == (clip.num_frames, len(clip.objects), 3)
        u, v, visible = spots[..., 0], spots[..., 1], spots[..., 2]
        assert set(np.unique(visible)) <= {0.0, 1.0}
        assert ((u >= 0) & (u <= 1) & (v >= 0) & (v <= 1))[visible == 1].all()
        assert visible.mean() > 0.6
        for number, item in enumerate(script.items):
            for index in range(clip.num_frames):
                placed = script.motion.placement_at(item, index / clip.fps)
                if placed and placed.holder is not None and placed.holder >= FIRST_FIXTURE:
                    fixture = placed.holder - FIRST_FIXTURE
                    is_shut = FIXTURES[fixture].is_openable and clip.frames.states[index][fixture] == 0
                    assert not (is_shut and visible[index, number])


def test_a_clip_is_the_same_at_any_frame_rate(described):
    script, slow = described[0]
    fast = describe(script, 4.0)
    assert slow.events == fast.events
    assert slow.frames.uv == fast.frames.uv[::2]
    assert fast.num_frames == 2 * slow.num_frames


def test_at_least_half_of_the_snapshots_show_a_hand_that_acts(scripts):
    for script in scripts:
        times_s = snapshot_times(script, 9)
        assert times_s == sorted(times_s) == snapshot_times(script, 9)
        assert all(0 <= time_s <= script.duration_s for time_s in times_s)
        if script.events:
            phases = [script.span_at(time_s).phase for time_s in times_s]
            assert sum(phase not in (PHASE_NONE, PHASE_IDLE) for phase in phases) >= 5


def test_a_snapshot_is_labelled_like_the_same_moment_of_the_whole_clip(scripts):
    for script in scripts[:2]:
        whole = describe(script).frames
        clip = describe_snapshots(script, [3.0, 17.5])
        for key, labels in clip.frames:
            assert labels == [getattr(whole, key)[6], getattr(whole, key)[35]]
        assert (clip.num_frames, clip.fps, clip.events, clip.questions) == (2, 0, [], [])


def test_the_vision_stage_takes_snapshots_as_it_takes_clips(tmp_path: Path, scripts):
    bare = next(script for script in map(quiet_script, range(80)) if not script.items)
    chosen = [*scripts[:3], bare]
    most = 0
    for script in chosen:
        clip = describe_snapshots(script, snapshot_times(script, 5))
        most = max(most, len(clip.objects))
        (tmp_path / f"{clip.name}.json").write_text(clip.to_json())
        np.save(tmp_path / f"{clip.name}.npy", np.zeros((5, 32, 32, 3), np.uint8))
    frames = load_frames(list_clips(tmp_path), torch.device("cpu"))
    assert frames.frames_M3SS.shape == (20, 3, 32, 32)
    assert frames.state_MX.shape == (20, len(FIXTURES))
    assert frames.object_MO.shape == (20, most)
    assert frames.uv_MO2.shape == (20, most, 2)
    assert (frames.acted_M >= 0).sum() >= 6


@cache
def quiet_seeds() -> list[int]:
    return [seed for seed in range(1000) if is_quiet("train", seed)]


def quiet_script(index: int) -> Script:
    return write_script("train", quiet_seeds()[index])


def test_quiet_training_clips_have_painted_tables_and_half_of_them_next_to_nothing_on_it():
    quiet = [quiet_script(index) for index in range(40)]
    assert all(isinstance(script.look.table, Art) for script in quiet)
    assert 0.25 < np.mean([len(script.items) < 4 for script in quiet]) < 0.75
    bare = [script for script in quiet if not script.items and not script.motion.fixtures]
    answers = [asked.answer for script in bare for asked in script.questions if asked.kind != "instruction"]
    assert len(answers) > 3
    assert all(any(word in answer for word in ("othing", "no objects", "not", "can't")) for answer in answers)


def test_looks_outside_the_held_out_room_are_many(scripts):
    looks = [script.look for script in scripts]
    assert {look.room for look in looks} == set(TRAIN_ROOMS)
    painted = [surface for look in looks for surface in (look.table, look.wall, look.floor) if isinstance(surface, Art)]
    assert len(set(painted)) == len(painted) > len(looks)
    for piece in (piece for look in looks for piece in look.furniture):
        x_m, y_m, _ = piece.position_m
        reach_m = np.hypot(*piece.half_m[:2])
        assert max(abs(x_m), abs(y_m)) - reach_m > 0.45  # off the table
    widths = [look.head.field_of_view_deg for look in looks]
    assert min(widths) < 49
    assert max(widths) > 57


@pytest.mark.parametrize("kind", ART_KINDS)
def test_a_painting_is_repeatable_and_has_no_seam(kind: str):
    first, again, other = paint(Art(kind, 1)), paint(Art(kind, 1)), paint(Art(kind, 2))
    assert first.shape == (ART_PX, ART_PX, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    for axis in (0, 1):
        steps = np.abs(np.diff(first.astype(float), axis=axis, append=first.take([0], axis))).mean(axis=(1 - axis, 2))
        assert steps[-1] <= 1.5 * steps.max(initial=0.0, where=np.arange(ART_PX) < ART_PX - 1) + 1


def test_paintings_are_never_the_pale_grey_of_the_held_out_marble():
    for seed in range(30):
        pixels = paint(Art("veins", seed)).reshape(-1, 3).mean(axis=0)
        assert pixels.max() < 200 or np.ptp(pixels) > 8


def test_a_number_of_snapshots_below_one_is_refused(capsys):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["render", "--kit", "k", "--split", "snapshot", "--out", "o", "--snapshots", "0"])
    assert "must be a whole number of 1 or more" in capsys.readouterr().err
