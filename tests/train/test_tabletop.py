"""The simulated tabletop: scripts are repeatable, possible, and say only what is true. No rendering, no assets."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from train.tabletop.actions import MIN_EVENT_GAP_S
from train.tabletop.arrangement import is_clear
from train.tabletop.catalog import OBJECTS, VOCABULARY
from train.tabletop.ground_truth import describe, frame_times
from train.tabletop.hand import make_hand
from train.tabletop.language import QUESTIONS, listing, remark
from train.tabletop.motion import HOME_M
from train.tabletop.record import PHASE_HOLDING, PHASE_NONE, Script
from train.tabletop.scenery import HELD_OUT_ROOM, OWN_SURFACE, TRAIN_ROOMS
from train.tabletop.script import (
    NUM_TEST_CLIPS,
    SPLITS,
    clip_seed,
    is_quiet,
    write_script,
)

HAND_WIDTH_M = 0.09


@pytest.fixture(scope="module")
def scripts() -> list[Script]:
    train = [write_script("train", clip_seed("train", index)) for index in range(24)]
    return train + [write_script("test", clip_seed("test", index)) for index in range(12)]


@pytest.fixture(scope="module")
def truths(scripts) -> list[dict[str, Any]]:
    return [describe(script) for script in scripts]


def standing_at(script: Script, time_s: float) -> dict[int, tuple[float, float]]:
    """Where the objects stand on the table, read from the motion alone."""
    places = {item: script.motion.object_at(item, time_s)[0] for item in script.items}
    return {item: (base[0], base[1]) for item, base in places.items() if base[2] < 0.001}


def test_same_seed_gives_the_same_clip_and_another_seed_another():
    first = describe(write_script("train", 17))
    assert describe(write_script("train", 17)) == first
    assert describe(write_script("train", 18))["events"] != first["events"]


def test_splits_share_no_seed_and_the_test_room_is_in_no_other_split(scripts):
    firsts = [clip_seed(split, 0) for split in SPLITS]
    lasts = [clip_seed(split, 999_999) for split in SPLITS]
    assert all(last < first for last, first in zip(lasts[:-1], firsts[1:], strict=True))
    for script in scripts:
        if script.split == "test":
            assert script.look.room == HELD_OUT_ROOM
            assert script.look.table == OWN_SURFACE
        else:
            assert script.look.room in TRAIN_ROOMS


def test_ten_of_the_test_clips_are_quiet_and_some_training_clips_are():
    assert sum(is_quiet("test", clip_seed("test", index)) for index in range(NUM_TEST_CLIPS)) == 10
    assert 0.08 < np.mean([is_quiet("train", seed) for seed in range(1000)]) < 0.16


def test_quiet_clips_have_no_hand_and_no_remark():
    seed = next(seed for seed in range(100) if is_quiet("train", seed))
    script = write_script("train", seed)
    assert not script.events
    assert {script.span_at(time_s).phase for time_s in frame_times(script, 2.0)} == {PHASE_NONE}
    assert np.array_equal(script.motion.hand.at(script.duration_s / 2).position, HOME_M)


def test_events_are_apart_inside_the_clip_and_in_a_possible_order(scripts):
    for script in scripts:
        times_s = [event.time_s for event in script.events]
        assert all(later - earlier >= MIN_EVENT_GAP_S for earlier, later in pairwise(times_s))
        assert all(0 < time_s < script.duration_s - 0.5 for time_s in times_s)
        held = None
        reached = None
        for event in script.events:
            if event.verb == "reach":
                assert held is None
                reached = event.item
            elif event.verb == "pick up":
                assert held is None
                assert reached == event.item
                held = event.item
            else:
                assert held == event.item
                held = None
        assert held is None


def test_pick_up_and_put_down_are_timed_by_the_object_leaving_and_meeting_the_table(scripts):
    for script in scripts:
        for event in script.events:
            before = script.motion.object_at(event.item, event.time_s - 0.6)[0][2]
            after = script.motion.object_at(event.item, event.time_s + 0.6)[0][2]
            if event.verb == "pick up":
                assert before < 0.01 < after
            elif event.verb == "put down":
                assert after == 0.0
            else:
                assert before == after == 0.0


def test_the_hand_is_at_the_object_when_a_reach_is_due(scripts):
    for script in scripts:
        for event in script.events:
            base, _ = script.motion.object_at(event.item, event.time_s)
            hand = script.motion.hand.at(event.time_s)
            finger_tips = hand.position + hand.rotation @ np.array([0.09, 0.0, 0.0])
            nearest = min(np.hypot(*(point - base)[:2]) for point in (hand.position, finger_tips))
            assert nearest - OBJECTS[event.item].radius_m < HAND_WIDTH_M


def test_objects_never_overlap_on_the_table(scripts):
    for script in scripts:
        for time_s in frame_times(script, 1.0):
            standing = standing_at(script, time_s)
            for item, (x, y) in standing.items():
                for other, (their_x, their_y) in standing.items():
                    if item < other:
                        apart = np.hypot(x - their_x, y - their_y)
                        assert apart >= OBJECTS[item].radius_m + OBJECTS[other].radius_m


def test_objects_do_not_jump():
    script = write_script("train", 3)
    assert script.events
    times_s = frame_times(script, 50.0)
    for item in script.items:
        path = np.array([script.motion.object_at(item, time_s)[0] for time_s in times_s])
        assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() < 0.04


def test_a_clip_is_the_same_at_any_frame_rate():
    script = write_script("train", 3)
    slow, fast = describe(script, 2.0), describe(script, 10.0)
    assert slow["events"] == fast["events"]
    assert slow["frames"]["uv"] == fast["frames"]["uv"][::5]
    assert fast["num_frames"] == 5 * slow["num_frames"]


def test_answers_are_true_to_what_happened(scripts):
    wordings = {words: index for index, (variants, _) in enumerate(QUESTIONS) for words in variants}
    num_checked = 0
    for script in scripts:
        for asked in script.questions:
            past = [event for event in script.events if event.time_s <= asked.time_s]
            picked = [event for event in past if event.verb == "pick up"]
            put = [event for event in past if event.verb == "put down"]
            held = picked[-1].item if len(picked) > len(put) else None
            standing = [VOCABULARY[item] for item in script.items if item != held]
            in_hand = f"You are holding the {VOCABULARY[held]}." if held is not None else None
            kind = wordings[asked.question]
            if kind == 0 and in_hand:
                assert asked.answer == in_hand
            elif kind == 0:
                assert asked.answer.startswith(("You are reaching for", "You are not doing"))
            elif kind == 1:
                assert asked.answer == (in_hand or "Nothing, your hands are free.")
            elif kind in (2, 3):
                last = picked if kind == 2 else put
                assert asked.answer.endswith(f"the {VOCABULARY[last[-1].item]}." if last else "anything yet.")
            elif kind == 4:
                assert asked.answer == f"There is {listing(standing) if standing else 'nothing'} on the table."
            else:
                number = ["no", "one", "two", "three", "four", "five", "six", "seven"][len(standing)]
                assert re.match(rf"There (is|are) {number} objects?\b", asked.answer)
            num_checked += 1
    assert num_checked > 20


def test_labels_of_frames_agree_with_events(truths):
    for meta in truths:
        num_frames = meta["num_frames"]
        assert {len(labels) for labels in meta["frames"].values()} == {num_frames}
        for index in range(num_frames):
            is_held = sum(
                (event["verb"] == "pick up") - (event["verb"] == "put down")
                for event in meta["events"]
                if event["time_s"] <= index / meta["fps"]
            )
            assert (meta["frames"]["phase"][index] == PHASE_HOLDING) == bool(is_held)
        for u, v, visible in (spot for frame in meta["frames"]["uv"] for spot in frame):
            assert not visible or (0 <= u <= 1 and 0 <= v <= 1)


def test_objects_are_in_sight_when_a_clip_begins(truths):
    for meta in truths:
        assert all(0.05 < u < 0.95 and 0.05 < v < 0.95 for u, v, _ in meta["frames"]["uv"][0])


def test_names_are_distinct_and_remarks_are_as_spoken():
    assert len(set(VOCABULARY)) == len(OBJECTS) >= 17
    assert remark("reach", "red mug") == "You reach for the red mug."
    assert remark("pick up", "red mug") == "You pick up the red mug."
    assert remark("put down", "red mug") == "You put down the red mug."
    assert listing(["milk", "plate", "red mug"]) == "the milk, the plate and the red mug"


def test_touching_objects_are_not_clear_of_each_other():
    script = write_script("train", 0)
    one, two = script.items[:2]
    assert not is_clear(one, script.motion.start[one], two, script.motion.start[one])
    assert is_clear(one, script.motion.start[one], two, script.motion.start[two])


@pytest.mark.parametrize("grip", [0.0, 1.0])
def test_the_hand_is_one_closed_surface_with_a_thumb_on_its_own_side(grip):
    mesh = make_hand(grip)
    edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert np.mean(counts == 2) > 0.98  # the forearm's open end apart
    corners = mesh.vertices[mesh.faces]
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume > 0  # faces turn outwards
    assert mesh.vertices[:, 1].max() > -mesh.vertices[:, 1].min()
