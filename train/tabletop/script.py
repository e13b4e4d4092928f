"""Writes what happens in a clip: who stands where, what the hand does when, and what is said of it. Pure and
seeded.

The same (split, seed) always gives the same script, on any machine. Nothing is rendered here and nothing of
MuJoCo is used; `render.py` plays a script at any frame rate.
"""

from __future__ import annotations

import numpy as np

from train.tabletop.actions import handle, linger, reach_and_withdraw, visit
from train.tabletop.arrangement import find_place
from train.tabletop.catalog import OBJECTS
from train.tabletop.language import ask
from train.tabletop.motion import HOME_M, REST, HandTrack, Motion, Placement
from train.tabletop.record import Script
from train.tabletop.scenery import choose_look

SPLITS = ("train", "val", "test", "snapshot")  # in the order of their seeds: add at the end only
SEEDS_PER_SPLIT = 1_000_000
NUM_TEST_CLIPS = 60
_ACTIONS = ("handle", "withdraw", "idle", "linger")
_SHARES = (0.71, 0.10, 0.07, 0.12)
_TEST_SHARES = (0.80, 0.11, 0.09)  # of the first three; the test clips stay what they are


def clip_seed(split: str, index: int) -> int:
    """The seed of a split's clip number `index`; splits have ranges of seeds of their own."""
    assert split in SPLITS
    assert 0 <= index < SEEDS_PER_SPLIT
    return SPLITS.index(split) * SEEDS_PER_SPLIT + index


def is_quiet(split: str, seed: int) -> bool:
    """True for clips in which no hand appears: one in six of the test clips, about one in eight of the others."""
    if split == "test":
        return (seed - clip_seed("test", 0)) % 6 == 5
    return bool(np.random.default_rng([seed, 99]).random() < 0.12)


def write_script(split: str, seed: int, duration_s: float | None = None) -> Script:
    """The clip of a split and seed. duration_s: 30–75 s by chance if not given.

    But for the test clips, half of the quiet ones show a bare or almost bare table, and all of them an odd one.
    """
    rng = np.random.default_rng([seed, 7])
    length_s = duration_s if duration_s is not None else float(rng.integers(60, 151)) / 2
    num_items = int(rng.integers(5, 8))
    is_odd = split != "test" and is_quiet(split, seed)
    if is_odd and rng.random() < 0.5:
        num_items = int(rng.integers(0, 4))
    items = sorted(int(i) for i in rng.choice(len(OBJECTS), num_items, replace=False))
    look = choose_look(split, rng, is_odd=is_odd)
    start: dict[int, Placement] = {}
    for item in sorted(items, key=lambda i: -OBJECTS[i].radius_m):
        placed = find_place(rng, item, start, look, 0.0)
        if placed is not None:
            start[item] = placed
    items = [item for item in items if item in start]
    motion = Motion(HandTrack(), start, [])
    script = Script(split, seed, length_s, look, motion, items)
    motion.hand.go(0.0, HOME_M, REST, 0.1)
    if not is_quiet(split, seed):
        _fill(script, rng)
    script.questions = ask(rng, script.duration_s, script.items, script.events, script.spans)
    return script


def _fill(script: Script, rng: np.random.Generator) -> None:
    """Add quiet spells and actions until the clip is full."""
    standing = dict(script.motion.start)
    now_s = float(rng.uniform(1.0, 6.0))
    handled: list[int] = []
    shares = _TEST_SHARES if script.split == "test" else _SHARES
    while True:
        kind = str(rng.choice(_ACTIONS[: len(shares)], p=shares))
        item = int(rng.choice(script.items))
        if handled and rng.random() < 0.15:
            item = handled[-1]
        before = len(script.events), len(script.spans), len(script.motion.hand.times_s), len(script.motion.holds)
        if kind == "idle":
            end_s = visit(script, rng, now_s)
        elif kind == "linger":
            end_s = linger(script, rng, now_s, standing)
        elif kind == "withdraw":
            end_s = reach_and_withdraw(script, rng, now_s, item, standing)
        else:
            end_s = handle(script, rng, now_s, item, standing)
        if end_s > script.duration_s - 1.0:
            track = script.motion.hand
            del script.events[before[0] :], script.spans[before[1] :], script.motion.holds[before[3] :]
            del track.times_s[before[2] :], track.poses[before[2] :], track.arches_m[before[2] :]
            return
        if kind == "handle":
            handled.append(item)
            standing[item] = script.motion.holds[-1].placed
        quiet_s = float(rng.uniform(1.0, 3.0)) if rng.random() < 0.72 else float(rng.uniform(3.0, 12.0))
        now_s = end_s + quiet_s
