"""Snapshots for the vision stage, odd looks and hard cases of the tabletop world. No rendering, no assets."""

from __future__ import annotations

import argparse
import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from train.clips import list_clips
from train.grounding import load_frames
from train.tabletop import command
from train.tabletop.art import ART_KINDS, ART_PX, Art, paint
from train.tabletop.catalog import OBJECTS
from train.tabletop.gaze import FIELD_OF_VIEW_DEG
from train.tabletop.ground_truth import describe, describe_snapshots, snapshot_times
from train.tabletop.record import NO_ITEM, PHASE_HOLDING, PHASE_IDLE, PHASE_REACHING, Script
from train.tabletop.scenery import OWN_SURFACE, TRAIN_ROOMS
from train.tabletop.script import NUM_TEST_CLIPS, clip_seed, is_quiet, write_script

TEST_CLIPS_SHA256 = "b769e06bb5c6f1829812a463358850db291bd278a7d64589efc333c62b5f8309"


@pytest.fixture(scope="module")
def scripts() -> list[Script]:
    return [write_script("snapshot", clip_seed("snapshot", index)) for index in range(40)]


def test_the_sixty_test_clips_are_what_every_checkpoint_was_scored_on():
    digest = hashlib.sha256()
    for index in range(NUM_TEST_CLIPS):
        script = write_script("test", clip_seed("test", index))
        said = [(event.time_s, event.text) for event in script.events]
        asked = [(question.time_s, question.question, question.answer) for question in script.questions]
        digest.update(json.dumps([script.duration_s, script.items, said, asked]).encode())
        look = script.look
        assert (look.table, look.wall, look.floor, look.quarter_turns) == (OWN_SURFACE,) * 3 + (0,)
        assert look.head.field_of_view_deg == FIELD_OF_VIEW_DEG
        assert not look.furniture
    assert digest.hexdigest() == TEST_CLIPS_SHA256


def test_at_least_half_of_the_snapshots_show_a_hand_that_acts(scripts):
    for script in scripts:
        times_s = snapshot_times(script, 9)
        assert times_s == sorted(times_s) == snapshot_times(script, 9)
        assert all(0 <= time_s <= script.duration_s for time_s in times_s)
        phases = describe_snapshots(script, times_s)["frames"]["phase"]
        if script.events:
            assert sum(phase in (PHASE_REACHING, PHASE_HOLDING) for phase in phases) >= 5


def test_a_snapshot_is_labelled_like_the_same_moment_of_the_whole_clip(scripts):
    for script in scripts[:4]:
        whole = describe(script, 10.0)["frames"]
        meta = describe_snapshots(script, [3.0, 17.5])
        for key, labels in meta["frames"].items():
            assert labels == [whole[key][30], whole[key][175]]
        assert (meta["num_frames"], meta["fps"], meta["events"], meta["questions"]) == (2, 0, [], [])


def test_the_vision_stage_takes_snapshots_as_it_takes_clips(tmp_path: Path, scripts):
    bare = next(script for script in map(quiet_script, range(80)) if not script.items)
    chosen = [*scripts[:3], bare]
    for script in chosen:
        meta = describe_snapshots(script, snapshot_times(script, 5))
        (tmp_path / f"{meta['clip']}.json").write_text(json.dumps(meta))
        np.save(tmp_path / f"{meta['clip']}.npy", np.zeros((5, 32, 32, 3), np.uint8))
    frames = load_frames(list_clips(tmp_path), torch.device("cpu"))
    most = max(len(script.items) for script in chosen)
    assert frames.index_M2.shape == (20, 2)
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
    answers = [asked.answer for script in quiet if not script.items for asked in script.questions]
    assert all("nothing" in answer or "no objects" in answer or "not" in answer.lower() for answer in answers)


def test_a_hand_that_does_nothing_is_at_no_object(scripts):
    num_checked = 0
    for script in scripts:
        for span in script.spans:
            key = next(k for k, time_s in enumerate(script.motion.hand.times_s) if time_s >= span.start_s)
            if span.phase != PHASE_IDLE or span.item != NO_ITEM or script.motion.hand.times_s[key] != span.start_s:
                continue  # a hand on its way back from an object
            middle_s = script.motion.hand.times_s[key + 1]
            hand = script.motion.hand.at(middle_s)
            for item in script.items:
                base, _ = script.motion.object_at(item, middle_s)
                assert np.hypot(*(hand.position - base)[:2]) > OBJECTS[item].radius_m
            num_checked += 1
    assert num_checked > 10


def test_looks_outside_the_test_room_are_many(scripts):
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
