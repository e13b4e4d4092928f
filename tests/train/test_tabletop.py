"""The simulated tabletop: its clips are repeatable, their groups are what they are called, and nothing overlaps."""

from __future__ import annotations

import hashlib
import json
from itertools import combinations

import numpy as np
import pytest

from train.tabletop.arrangement import handle_at, is_clear, middle_of
from train.tabletop.catalog import FIXTURES, HELD_OUT_ITEMS, KNOWN_ITEMS, OBJECTS, VOCABULARY
from train.tabletop.gaze import FIELD_OF_VIEW_DEG
from train.tabletop.ground_truth import describe
from train.tabletop.hand import make_hand
from train.tabletop.motion import HOME_M, LEFT, RIGHT
from train.tabletop.scenery import HELD_OUT_ROOM, OWN_SURFACE, TRAIN_ROOMS
from train.tabletop.script import (
    BENCH_GROUPS,
    NUM_BENCH_CLIPS,
    SEEDS_PER_SPLIT,
    SPLITS,
    TAUGHT_ITEM,
    clip_seed,
    is_quiet,
    write_script,
)

BENCH_CLIPS_SHA256 = "dd3cf03f63bf27bffd0b8210cb0c6e90d49b3ec28df5eb93d7d64b2a048d1e0e"


def test_the_clips_of_the_benchmark_are_what_every_checkpoint_was_scored_on(bench_scripts):
    digest = hashlib.sha256()
    for script in bench_scripts:
        said = [(event.time_s, event.text) for event in script.events]
        asked = [(question.time_s, question.question, question.answer) for question in script.questions]
        digest.update(json.dumps([script.duration_s, script.items, said, asked]).encode())
    assert digest.hexdigest() == BENCH_CLIPS_SHA256


def test_same_seed_gives_the_same_clip_and_another_seed_another():
    first = describe(write_script("train", 17))
    assert describe(write_script("train", 17)) == first
    assert describe(write_script("train", 18)).events != first.events


def test_splits_share_no_seed():
    firsts = [clip_seed(split, 0) for split in SPLITS]
    lasts = [clip_seed(split, SEEDS_PER_SPLIT - 1) for split in SPLITS]
    assert all(last < first for last, first in zip(lasts[:-1], firsts[1:], strict=True))


def test_the_benchmark_has_three_groups_that_differ_in_what_is_new(bench_scripts):
    groups = {group: [script for script in bench_scripts if script.group == group] for group in BENCH_GROUPS}
    assert {group: len(scripts) for group, scripts in groups.items()} == {"known": 80, "room": 80, "objects": 40}
    for script in bench_scripts:
        assert (script.look.room == HELD_OUT_ROOM) == (script.group == "room")
        assert bool(set(script.items) & set(HELD_OUT_ITEMS)) == (script.group == "objects")
        if script.group == "room":
            look = script.look
            assert (look.table, look.wall, look.floor, look.quarter_turns) == (OWN_SURFACE,) * 3 + (0,)
            assert look.head.field_of_view_deg == FIELD_OF_VIEW_DEG
            assert not look.furniture
    named = [event.item for script in groups["objects"] for event in script.events]
    assert np.mean([item in HELD_OUT_ITEMS for item in named]) > 0.3


def test_nothing_that_is_held_out_is_in_a_clip_of_the_other_splits(train_scripts):
    others = [write_script(split, clip_seed(split, index)) for split in ("val", "snapshot") for index in range(8)]
    for script in train_scripts + others:
        assert script.look.room in TRAIN_ROOMS
        assert set(script.items) <= set(KNOWN_ITEMS)
        assert {event.item for event in script.events} <= {*KNOWN_ITEMS, *range(100, 100 + len(FIXTURES))}


def test_clips_that_teach_a_new_object_show_it_in_the_usual_words():
    for index in range(6):
        script = write_script("taught", clip_seed("taught", index))
        assert [item for item in script.items if item in HELD_OUT_ITEMS] == [TAUGHT_ITEM]
        assert script.goal is None
        assert script.manner.style == "plain"
        assert script.events


def test_one_in_eight_clips_is_quiet_and_shows_no_hand(bench_scripts, train_scripts):
    assert [is_quiet("bench", script.seed) for script in bench_scripts].count(True) == NUM_BENCH_CLIPS // 8
    assert [is_quiet("bench", script.seed) for script in bench_scripts if script.group == "objects"].count(True) == 5
    assert 0.08 < np.mean([is_quiet("train", seed) for seed in range(1000)]) < 0.16
    quiet = [script for script in bench_scripts + train_scripts if is_quiet(script.split, script.seed)]
    for script in quiet:
        assert not script.events
        assert not script.spans
        assert script.goal is None
        assert all(script.motion.hands[side].times_s == [0.0] for side in (RIGHT, LEFT))
        assert np.array_equal(script.motion.hand_at(RIGHT, script.duration_s / 2).position, HOME_M)


def test_objects_never_overlap_on_the_table_nor_stand_at_a_fixture(train_scripts, bench_scripts):
    for script in train_scripts[:50] + bench_scripts[::5]:
        motion = script.motion
        for time_s in np.arange(0.0, script.duration_s, 1.5):
            bases = {item: motion.object_at(item, time_s)[0] for item in script.items}
            standing = {item: base[:2] for item, base in bases.items() if base[2] < 0.001}
            for item, other in combinations(standing, 2):
                apart = np.linalg.norm(standing[item] - standing[other])
                assert apart >= OBJECTS[item].radius_m + OBJECTS[other].radius_m
            for fixture, place in motion.fixtures.items():
                handle = handle_at(fixture, place, motion.state_at(fixture, time_s))[:2]
                for item, spot in standing.items():
                    apart = np.linalg.norm(spot - middle_of(fixture, place))
                    assert apart >= OBJECTS[item].radius_m + FIXTURES[fixture].radius_m
                    assert np.linalg.norm(spot - handle) > OBJECTS[item].radius_m


def test_two_fixtures_stand_apart(train_scripts, bench_scripts):
    pairs = [script.motion.fixtures for script in train_scripts + bench_scripts if len(script.motion.fixtures) == 2]
    assert len(pairs) > 20
    for pair in pairs:
        (one, place), (other, their_place) = pair.items()
        apart = np.linalg.norm(middle_of(one, place) - middle_of(other, their_place))
        assert apart >= FIXTURES[one].radius_m + FIXTURES[other].radius_m


def test_objects_and_handles_are_in_sight_when_a_clip_begins(train_scripts, bench_scripts):
    for script in train_scripts + bench_scripts:
        view = script.look.head.at(0.0)
        points = [place.position() for place in script.motion.start.values()]
        points += [handle_at(f, place, script.motion.states[f]) for f, place in script.motion.fixtures.items()]
        assert all(0 < u < 1 and 0 < v < 1 for u, v, _ in map(view.project, points))


def test_the_vocabulary_names_fifty_objects_and_six_fixtures_once():
    assert len(set(VOCABULARY)) == len(VOCABULARY) == 56
    assert len(OBJECTS) == 50
    assert len(HELD_OUT_ITEMS) == 4


def test_touching_objects_are_not_clear_of_each_other(train_scripts):
    script = next(script for script in train_scripts if len(script.items) > 1)
    one, two = script.items[:2]
    start = script.motion.start
    assert not is_clear(one, start[one], two, start[one])
    assert is_clear(one, start[one], two, start[two])


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
