"""The sister world: repeatable, possible, unlike the tabletop world where it should be, and never trained on."""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from train.cli import main
from train.clips import ClipFile
from train.features import encode_clips
from train.grounding import load_frames
from train.recipe import RecipeError
from train.scoring.evaluate import ClipResult
from train.scoring.events import ScoredEvent, true_events
from train.scoring.report import traits_table
from train.sister.hands import HANDS, JOINTED, NUM_GRIPS, SCANNED, make_grips
from train.sister.looks import LOOKS, PATTERN_PX
from train.sister.story import LEFT, MIN_EVENT_GAP_S, RIGHT, Story, describe, write_story
from train.sister.world import SisterWorld, eye_axes
from train.tabletop.assets import AssetsError, Surface, encode_parts
from train.tabletop.catalog import HELD_OUT_ITEMS, OBJECTS
from train.tabletop.shapes import Solid, mesh


@pytest.fixture(scope="module")
def stories() -> list[Story]:
    return [write_story(seed) for seed in range(32)]


def test_same_seed_gives_the_same_clip_and_another_seed_another(stories):
    assert describe(write_story(3), 2.0) == describe(stories[3], 2.0)
    assert np.array_equal(write_story(3).eye_track, stories[3].eye_track)
    assert describe(stories[4], 2.0).events != describe(stories[5], 2.0).events


def test_every_hand_is_seen_in_every_place_and_one_clip_in_eight_is_quiet(stories):
    pairs = {(story.hand, story.look.name) for story in stories}
    assert pairs == {(hand, look) for hand in HANDS for look in LOOKS}
    quiet = [story for story in stories if story.is_quiet]
    assert len(quiet) == len(stories) // 8
    assert all(not story.events and not story.spans for story in quiet)
    assert {story.hand for story in quiet} == set(HANDS)


def test_events_are_apart_inside_the_clip_and_in_words_that_can_be_read(stories):
    for story in stories:
        events = story.events
        assert all(b.time_s - a.time_s >= MIN_EVENT_GAP_S - 0.02 for a, b in pairwise(events))
        assert all(0 < event.time_s < story.duration_s for event in events)
        clip = describe(story, 2.0)
        told = [(event.verb, event.object, event.target) for event in clip.events]
        assert [(e.verb, e.object, e.target) for e in true_events(clip)] == told
    assert {event.verb for story in stories for event in story.events} >= {"reach", "pick up", "put down"}


def test_what_is_picked_up_was_reached_for_and_is_let_go_where_it_rests(stories):
    for story in stories:
        held = None
        for event in story.events:
            assert held in (None, event.item)
            held = event.item if event.verb == "pick up" else None if event.verb.startswith("put") else held
        for carry in story.carries:
            before, after = (story.thing_at(carry.item, t)[0] for t in (carry.end_s - 1e-4, carry.end_s + 1e-4))
            assert np.linalg.norm(before - after) < 0.005
            start = story.thing_at(carry.item, carry.start_s - 1e-4)[0]
            assert np.linalg.norm(start - story.thing_at(carry.item, carry.start_s + 1e-4)[0]) < 0.005
            hand = story.hand_at(carry.side, carry.start_s).position
            assert np.linalg.norm((hand - start)[:2]) < OBJECTS[carry.item].radius_m + 0.12
    assert {carry.side for story in stories for carry in story.carries} == {RIGHT, LEFT}


def test_nothing_that_is_held_out_of_training_stands_there(stories):
    assert all(not set(story.start) & set(HELD_OUT_ITEMS) for story in stories)


def test_the_eye_is_above_the_table_and_its_axes_are_a_rotation(stories):
    for story in stories[:8]:
        for time_s in np.linspace(0, story.duration_s, 9):
            eye, target, tilt_rad = story.eye_at(float(time_s))
            assert 0.3 < eye[2] < 1.2
            axes = eye_axes(eye, target, tilt_rad)
            assert np.allclose(axes.T @ axes, np.eye(3), atol=1e-9)
            assert np.linalg.det(axes) > 0.99
            assert (target - eye) @ axes[:, 2] < 0  # a camera looks against its own z


def test_the_jointed_hand_closes(tmp_path):
    grips = make_grips(JOINTED, None)
    assert len(grips) == NUM_GRIPS
    spans = [np.ptp(grip.vertices[:, 0]) for grip in grips]
    assert spans == sorted(spans, reverse=True)
    assert grips[-1].vertices[:, 2].min() < grips[0].vertices[:, 2].min() - 0.02
    with pytest.raises(AssetsError, match="webxr-input-profiles"):
        make_grips(SCANNED, None)


def test_a_skinned_hand_bends_its_fingers_towards_its_palm(tmp_path):
    grips = make_grips(SCANNED, write_scan(tmp_path / "right.glb"))
    tips = [grip.vertices[-1] for grip in grips]
    assert np.linalg.norm(tips[0][:2] - tips[-1][:2]) > 0.02
    assert tips[-1][2] < tips[0][2] - 0.02
    (tmp_path / "bad.glb").write_bytes(b"glTF")
    with pytest.raises(AssetsError, match=r"bad\.glb"):
        make_grips(SCANNED, tmp_path / "bad.glb")


def test_a_clip_is_dressed_and_placed_without_drawing(tmp_path, stories):
    kit = write_kit(tmp_path / "kit")
    world = SisterWorld(kit, (JOINTED,), None, max_size_px=32)
    story = next(story for story in stories if story.hand == JOINTED and story.carries)
    painted = world.dress(story)
    first = int(world.model.tex_adr[painted[0]])
    assert np.array_equal(
        world.model.tex_data[first : first + 3 * PATTERN_PX**2].reshape(PATTERN_PX, PATTERN_PX, 3), story.look.table
    )
    carry = story.carries[0]
    middle_s = (carry.start_s + carry.end_s) / 2
    world.place(story, middle_s)
    body = world.model.body(f"object/{OBJECTS[carry.item].key}").id
    assert np.allclose(world.data.xpos[body], story.thing_at(carry.item, middle_s)[0])
    shown = [g for g in range(world.model.ngeom) if world.model.geom(g).name.startswith("hand/")]
    assert sum(world.model.geom_group[g] == 1 for g in shown) == 2  # one grip of each hand


def test_its_clips_are_refused_for_training(tmp_path, stories):
    clip = describe(stories[0], 2.0)
    path = tmp_path / "clip_sister_0000.npy"
    np.save(path, np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(RecipeError, match="for measuring only"):
        next(encode_clips(_NoTower(), [ClipFile(path, clip)]))  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="for measuring only"):
        load_frames([ClipFile(path, clip)], torch.device("cpu"))


def test_a_scan_that_is_not_there_is_said(tmp_path, capsys):
    kit = write_kit(tmp_path / "kit")
    command = ["sister", "--kit", str(kit), "--scan", str(tmp_path / "no.glb"), "--out", str(tmp_path / "out")]
    assert main(command) != 0
    assert "no.glb" in capsys.readouterr().err


class _NoTower:
    def parameters(self):
        raise AssertionError("nothing may be encoded")


def write_kit(folder: Path) -> Path:
    """A kit in which every object is a small box."""
    (folder / "objects").mkdir(parents=True)
    part = Surface("box", "mesh", [0, 0, 0], [0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1], 0.2, 0.2, [1, 1], False, False)
    part.vertices, part.faces = mesh(Solid("box", (0.03, 0.03, 0.03), (0, 0, 0.03), (1, 0, 0)))
    for item in OBJECTS:
        (folder / f"objects/{item.key}.npz").write_bytes(encode_parts([part]))
    return folder


def write_scan(path: Path) -> Path:
    """A skinned hand of as few vertices as will do: two triangles on a wrist, one on each joint."""
    bones = ("metacarpal", "phalanx-proximal", "phalanx-intermediate", "phalanx-distal", "tip")
    names, places = ["wrist"], [(0.0, 0.0, 0.0)]
    for bone, ahead in zip(("metacarpal", "phalanx-proximal", "phalanx-distal", "tip"), (2, 4, 6, 7), strict=True):
        names.append(f"thumb-{bone}")
        places.append((0.01 * ahead, 0.04, -0.01))
    for number, finger in enumerate(("pinky-finger", "ring-finger", "middle-finger", "index-finger")):
        for bone, ahead in zip(bones, (3, 9, 13, 16, 18), strict=True):
            names.append(f"{finger}-{bone}")
            places.append((0.01 * ahead, 0.02 * number - 0.03, 0.0))
    joints = np.array(places, np.float32)
    corners = np.array([[0, 0, 0], [0.004, 0, 0], [0, 0.004, 0]], np.float32)
    vertices = np.concatenate([joints[i] + corners for i in range(len(names))])
    faces = np.arange(len(vertices), dtype=np.uint16)
    bound = np.zeros((len(vertices), 4), np.uint8)
    bound[:, 0] = np.repeat(np.arange(len(names)), 3)
    weights = np.zeros((len(vertices), 4), np.float32)
    weights[:, 0] = 1
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(names), 1, 1))
    inverse[:, :3, 3] = -joints
    arrays = [(vertices, "VEC3", 5126), (bound, "VEC4", 5121), (weights, "VEC4", 5126), (faces, "SCALAR", 5123),
              (inverse.transpose(0, 2, 1), "MAT4", 5126)]  # fmt: skip
    binary, views, accessors = b"", [], []
    for index, (array, kind, component) in enumerate(arrays):
        views.append({"buffer": 0, "byteOffset": len(binary)})
        accessors.append({"bufferView": index, "componentType": component, "count": len(array), "type": kind})
        content = np.ascontiguousarray(array).tobytes()
        binary += content + bytes(-len(content) % 4)
    scene = {
        "nodes": [{"name": name} for name in names],
        "skins": [{"joints": list(range(len(names))), "inverseBindMatrices": 4}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "JOINTS_0": 1, "WEIGHTS_0": 2}, "indices": 3}]}],
        "accessors": accessors,
        "bufferViews": views,
    }
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    path.write_bytes(
        b"glTF" + struct.pack("<II", 2, 28 + len(text) + len(binary))
        + struct.pack("<I", len(text)) + b"JSON" + text + struct.pack("<I", len(binary)) + b"BIN\0" + binary
    )  # fmt: skip
    return path


def test_reports_tell_hands_and_places_apart():
    right, wrong = [ScoredEvent(1.0, "pick up", "milk")], [ScoredEvent(1.0, "reach", "milk")]

    def clip(hand: str, said: list[ScoredEvent]) -> ClipResult:
        return ClipResult("clip", "sister", 2.0, 10.0, said, right, [], traits={"hand": hand})

    lines = traits_table([clip("scanned", right), clip("jointed", wrong), clip("jointed", right)]).splitlines()
    assert lines[2] == "| hand: jointed | 2 | 0.500 | 0.500 | 1 | 1.000 | 1.000 |"
    assert lines[3] == "| hand: scanned | 1 | 1.000 | 1.000 | 2 | 0.500 | 0.500 |"
    assert traits_table([]) == ""
