"""What the hands of the tabletop world do: possible, in order, at the thing, and as often as it should be."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from train.tabletop.actions import FINGER_TIPS_M, MIN_EVENT_GAP_S
from train.tabletop.arrangement import handle_at
from train.tabletop.catalog import FIRST_FIXTURE, FIXTURES, OBJECTS
from train.tabletop.language import VERBS
from train.tabletop.motion import LEFT, RIGHT, Hold, part_pose, turn_about_z
from train.tabletop.record import NO_ITEM, PHASE_IDLE, Event, Script
from train.tabletop.script import WIDE

HAND_WIDTH_M = 0.09
PUT = ("put down", "put on", "put in")
SWITCHED = {"open": True, "turn on": True, "close": False, "turn off": False}


@pytest.fixture(scope="module", params=["train", "wide"])
def scripts(request) -> list[Script]:
    return request.getfixturevalue(f"{request.param}_scripts")


def holds_of(scripts: list[Script]) -> Iterator[tuple[Script, Hold]]:
    return ((script, hold) for script in scripts for hold in script.motion.holds)


def is_at(script: Script, event: Event, side: int) -> bool:
    """Whether a palm or its finger tips are within a hand's width of the thing of an event."""
    hand = script.motion.hand_at(side, event.time_s)
    if event.item < FIRST_FIXTURE:
        spot, radius_m = script.motion.object_at(event.item, event.time_s)[0], OBJECTS[event.item].radius_m
    else:
        fixture = event.item - FIRST_FIXTURE
        state = script.motion.state_at(fixture, event.time_s)
        spot, radius_m = handle_at(fixture, script.motion.fixtures[fixture], state), 0.0
    tips = hand.position + hand.rotation @ FINGER_TIPS_M
    return min(float(np.hypot(*(point - spot)[:2])) for point in (hand.position, tips)) - radius_m < HAND_WIDTH_M


def test_every_action_both_hands_and_gloves_occur(scripts):
    assert {event.verb for script in scripts for event in script.events} == set(VERBS)
    sides = [hold.side for _, hold in holds_of(scripts)]
    assert 0.15 < np.mean([side == LEFT for side in sides]) < 0.45
    switched = {event.item - FIRST_FIXTURE for script in scripts for event in script.events if event.verb in SWITCHED}
    assert switched == set(range(len(FIXTURES)))
    red, green, blue = np.array([script.look.skin for script in scripts]).T
    most = 0.4 if scripts[0].split in WIDE else 0.2
    assert 0.04 < np.mean((red < green) | (green < blue)) < most  # no skin is of such a colour


def test_events_are_apart_and_inside_the_clip(scripts):
    for script in scripts:
        times_s = [event.time_s for event in script.events]
        assert all(later - earlier >= MIN_EVENT_GAP_S - 1e-6 for earlier, later in pairwise(times_s))
        assert all(0 < time_s < script.duration_s - 0.5 for time_s in times_s)


def test_every_action_begins_with_a_reach_and_what_is_taken_is_set_down(scripts):
    for script in scripts:
        held = reached = None
        for event in script.events:
            if event.verb == "reach":
                assert held is None
                reached = event.item
                continue
            assert reached == event.item
            if event.verb == "pick up":
                assert held is None
                held = event.item
            elif event.verb == "pour":
                assert held == event.item != event.target
            elif event.verb in PUT:
                assert held == event.item
                assert (event.target is None) == (event.verb == "put down")
                held = None
            else:
                assert held is None
        assert held is None


def test_only_what_is_closed_is_opened_and_only_what_is_open_takes_something_in(scripts):
    for script in scripts:
        is_on = {fixture: state > 0.5 for fixture, state in script.motion.states.items()}
        taken: set[int] = set()
        for event in script.events:
            if event.verb in SWITCHED:
                fixture = event.item - FIRST_FIXTURE
                assert FIXTURES[fixture].is_openable == (event.verb in ("open", "close"))
                assert is_on[fixture] != SWITCHED[event.verb]
                is_on[fixture] = SWITCHED[event.verb]
                assert round(script.motion.state_at(fixture, event.time_s + 1.9)) == is_on[fixture]
            if event.item < FIRST_FIXTURE or event.verb in PUT:
                assert event.item not in taken  # nothing is taken out again, nor moved with something on it
            if event.target is not None and event.verb in PUT:
                assert event.target not in taken
                if event.target >= FIRST_FIXTURE and FIXTURES[event.target - FIRST_FIXTURE].is_openable:
                    assert is_on[event.target - FIRST_FIXTURE]
                    taken.add(event.item)
                else:
                    taken |= {event.item, event.target}


def test_remarks_are_timed_by_what_objects_do(scripts):
    for script in scripts:
        for event in script.events:
            if event.item >= FIRST_FIXTURE:
                continue
            before = script.motion.object_at(event.item, event.time_s - 0.6)[0]
            now = script.motion.object_at(event.item, event.time_s)[0]
            after = script.motion.object_at(event.item, event.time_s + 0.6)[0]
            if event.verb == "reach":
                assert np.array_equal(before, now)
                assert before[2] == 0.0
            elif event.verb == "pick up":
                assert before[2] < 0.01 < after[2]
            elif event.verb == "move":
                assert before[2] == pytest.approx(0.0, abs=1e-6)
                assert np.linalg.norm(after - before) > 0.02
            elif event.verb in PUT:
                assert np.array_equal(now, after)
                assert (after[2] == 0.0) == (event.verb == "put down")


def test_a_hand_is_at_the_thing_when_a_remark_is_due_and_in_the_picture_at_almost_every_one(scripts):
    seen = []
    for script in scripts:
        for event in script.events:
            sides = [side for side in (RIGHT, LEFT) if is_at(script, event, side)]
            assert sides or event.verb in ("pour", "pick up"), event
            view = script.look.head.at(event.time_s)
            hands = [script.motion.hand_at(side, event.time_s) for side in (RIGHT, LEFT)]
            points = [hand.position + hand.rotation @ FINGER_TIPS_M * share for hand in hands for share in (0, 1)]
            seen.append(any(0 < u < 1 and 0 < v < 1 for u, v, _ in map(view.project, points)))
    assert np.mean(seen) > 0.98


def test_what_is_held_moves_with_its_hand(scripts):
    sides = set()
    for script, hold in holds_of(scripts):
        places = []
        for time_s in np.linspace(hold.start_s, hold.end_s - 0.01, 8):
            hand = script.motion.hand_at(hold.side, time_s)
            assert np.linalg.det(hand.rotation) == pytest.approx(1.0)
            places.append(hand.rotation.T @ (script.motion.object_at(hold.item, time_s)[0] - hand.position))
        assert np.allclose(places, places[0], atol=1e-6)
        sides.add(hold.side)
    assert sides == {LEFT, RIGHT}


def test_nothing_jumps(scripts):
    for script, hold in holds_of(scripts[:50]):
        times_s = np.arange(hold.start_s - 0.1, hold.end_s + 0.4, 0.02)
        path = np.array([script.motion.object_at(hold.item, time_s)[0] for time_s in times_s])
        assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() < 0.04
        assert path[:, 2].min() >= 0.0


def test_what_lies_in_a_drawer_rides_with_it(scripts):
    num_moves = 0
    for script, hold in holds_of(scripts):
        carrier = hold.placed.carrier
        if carrier is None:
            continue
        stand, kind = script.motion.fixtures[carrier], FIXTURES[carrier]
        places = []
        for time_s in np.arange(hold.end_s, script.duration_s, 0.2):
            shift, _ = part_pose(kind, script.motion.state_at(carrier, time_s))
            base, _ = script.motion.object_at(hold.item, time_s)
            places.append(turn_about_z(stand.yaw_rad).T @ (base - stand.position()) - shift)
        assert np.allclose(places, places[0], atol=1e-6)
        num_moves += sum(move.fixture == carrier and move.start_s > hold.end_s for move in script.motion.moves)
    assert num_moves > 0


def test_what_is_poured_falls_into_the_dish_while_the_vessel_is_held(scripts):
    pours = [(script, pour) for script in scripts for pour in script.motion.pours]
    assert len(pours) == sum(event.verb == "pour" for script in scripts for event in script.events)
    for script, pour in pours:
        assert any(
            hold.item == pour.source
            and hold.side == pour.side
            and hold.start_s < pour.start_s < pour.end_s < hold.end_s
            for hold in script.motion.holds
        )
        middle_s = (pour.start_s + pour.end_s) / 2
        base, turn = script.motion.object_at(pour.source, middle_s)
        dish, _ = script.motion.object_at(pour.target, middle_s)
        lip = base + turn @ np.array([0.0, 0.0, OBJECTS[pour.source].height_m])
        assert np.hypot(*(lip - dish)[:2]) < OBJECTS[pour.target].radius_m
        assert lip[2] > dish[2] + OBJECTS[pour.target].height_m
        assert turn[2, 2] < 0.0  # upside down


def test_a_hand_that_does_nothing_is_at_no_object(scripts):
    num_checked = 0
    for script in scripts:
        for span in script.spans:
            starts = [side for side in (RIGHT, LEFT) if span.start_s in script.motion.hands[side].times_s]
            if span.phase != PHASE_IDLE or span.item != NO_ITEM or not starts:
                continue
            track = script.motion.hands[starts[0]]
            key = len(track.times_s) - 1 - track.times_s[::-1].index(span.start_s)
            if not np.array_equal(track.poses[key].position, track.poses[0].position):
                continue  # a hand on its way back from an object
            middle_s = track.times_s[key + 1]
            hand = script.motion.hand_at(starts[0], middle_s)
            for item in script.items:
                base, _ = script.motion.object_at(item, middle_s)
                assert np.hypot(*(hand.position - base)[:2]) > OBJECTS[item].radius_m
            num_checked += 1
    assert num_checked > 10
