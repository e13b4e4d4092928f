"""What happens in a clip of the sister world, and how its eye and hands move. Pure and seeded; needs no renderer.

World coordinates in metres, the table top at z = 0: the viewer stands at negative y and looks along +y, x points to
the viewer's right, z up. Nothing of the tabletop world's motion is used: hands go in two strokes of least jerk, with a
tremor; the eye wanders by chance, follows the hand a little and tilts. The words, the objects and what the
moments mean are the tabletop world's, for they are what is measured.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np

from train.clip import Clip, FrameLabels
from train.sister.hands import HANDS
from train.sister.looks import SisterLook, choose_look
from train.tabletop.catalog import HELD_OUT_ITEMS, KNOWN_ITEMS, OBJECTS, name_of, word_of
from train.tabletop.ground_truth import describe_event
from train.tabletop.language import remark
from train.tabletop.record import NO_ITEM, PHASE_HOLDING, PHASE_IDLE, PHASE_NONE, PHASE_REACHING, Event, Span

RIGHT, LEFT = 1, -1
NEAR_M = 0.03  # so near the place where it waits, a hand has reached its thing; as in the tabletop world
MIN_EVENT_GAP_S = 1.5
EYE_RATE_HZ = 20.0
CLOSES_ON_M = np.array([0.068, 0.014, -0.050])  # in the hand's own coordinates, between thumb and fingers
_MIRROR, _HAND_MIRROR = np.diag([-1.0, 1.0, 1.0]), np.diag([1.0, -1.0, 1.0])
_WIDE_M, _NEAR_EDGE_M, _FAR_EDGE_M = 0.31, -0.13, 0.24
_BED_M = {"plate": 0.011, "cutting board": 0.0165, "basket": 0.012, "pink basket": 0.012, "wooden crate": 0.012,
          "white bin": 0.012}  # fmt: skip
_ON = ("plate", "cutting board")


@dataclass(frozen=True)
class Pose:
    """Where a hand is: the middle of its palm, its axes (3 x 3, columns), how far it is closed, 0–1."""

    position: np.ndarray
    rotation: np.ndarray
    grip: float


@dataclass
class Track:
    """A hand's key poses in its own world: the real one for a right hand, its mirror image for a left one."""

    times_s: list[float] = field(default_factory=list)
    poses: list[Pose] = field(default_factory=list)

    def go(self, time_s: float, pose: Pose) -> None:
        """Be in a pose at a time, which must not lie before the one added last."""
        assert not self.times_s or time_s >= self.times_s[-1]
        self.times_s.append(time_s)
        self.poses.append(pose)

    def at(self, time_s: float) -> Pose:
        """The pose at any time, between keys with least jerk."""
        after = bisect_right(self.times_s, time_s)
        if after == 0 or after == len(self.times_s):
            return self.poses[min(after, len(self.poses) - 1)]
        start_s, end_s = self.times_s[after - 1 : after + 1]
        u = (time_s - start_s) / max(end_s - start_s, 1e-9)
        u = u**3 * (10 - 15 * u + 6 * u * u)
        a, b = self.poses[after - 1 : after + 1]
        left, _, right = np.linalg.svd(a.rotation * (1 - u) + b.rotation * u)
        return Pose(a.position + (b.position - a.position) * u, left @ right, a.grip + (b.grip - a.grip) * u)


@dataclass(frozen=True)
class Carry:
    """A thing in a hand from `start_s` to `end_s`. offset, turn: of the thing in the hand. rests_at: where after it."""

    start_s: float
    end_s: float
    item: int
    side: int
    offset: np.ndarray
    turn: np.ndarray
    rests_at: tuple[float, float, float, float]


@dataclass
class Story:
    """A whole clip. start: x, y, z and turn about the vertical of each thing when it begins."""

    seed: int
    duration_s: float
    hand: str
    look: SisterLook
    is_quiet: bool
    start: dict[int, tuple[float, float, float, float]]
    tracks: dict[int, Track]
    carries: list[Carry] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    eye_track: np.ndarray = field(default_factory=lambda: np.zeros((0, 7)))  # eye, target, roll at EYE_RATE_HZ

    def hand_at(self, side: int, time_s: float) -> Pose:
        """A hand in the real world; a left hand's mesh is the mirrored right one."""
        pose = self.tracks[side].at(time_s)
        if side == RIGHT:
            return pose
        return Pose(_MIRROR @ pose.position, _MIRROR @ pose.rotation @ _HAND_MIRROR, pose.grip)

    def thing_at(self, item: int, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Middle of the base and axes of a thing."""
        rests = self.start[item]
        for carry in self.carries:
            if carry.item == item and time_s >= carry.start_s:
                rests = carry.rests_at
                if time_s < carry.end_s:
                    pose = self.tracks[carry.side].at(time_s)
                    position, turn = pose.position + pose.rotation @ carry.offset, pose.rotation @ carry.turn
                    if carry.side == LEFT:
                        position, turn = _MIRROR @ position, _MIRROR @ turn @ _MIRROR
                    return position, turn
        return np.array(rests[:3]), _about_z(rests[3])

    def eye_at(self, time_s: float) -> tuple[np.ndarray, np.ndarray, float]:
        """The eye's place, the point it looks at, and how far it is tilted (radians)."""
        place = min(time_s * EYE_RATE_HZ, len(self.eye_track) - 1.001)
        first, u = int(place), place - int(place)
        values = self.eye_track[first] * (1 - u) + self.eye_track[first + 1] * u
        return values[:3], values[3:6], float(values[6])


def write_story(seed: int, hands: tuple[str, ...] = HANDS) -> Story:
    """Clip number `seed`: the hands take turns, so do the looks; one clip in eight is quiet and shows no hand."""
    rng = np.random.default_rng([seed, 4021])
    duration_s = float(rng.integers(70, 101)) / 2
    look = choose_look(rng, seed // len(hands))
    story = Story(seed, duration_s, hands[seed % len(hands)], look, (seed * 5 + seed // 8) % 8 == 3, {},
                  {RIGHT: Track(), LEFT: Track()})  # fmt: skip
    for item in rng.choice(KNOWN_ITEMS, int(rng.integers(4, 8)), replace=False):
        _stand(rng, story, int(item))
    for track in story.tracks.values():
        track.go(0.0, _away(rng))
    if not story.is_quiet:
        _fill(rng, story)
    story.eye_track = _wander(rng, story)
    return story


def describe(story: Story, fps: float) -> Clip:
    """The ground truth of a clip, which may not be trained on."""
    times_s = [index / fps for index in range(round(story.duration_s * fps))]
    spans = [next((s for s in story.spans if s.start_s <= t < s.end_s), None) for t in times_s]
    return Clip(
        name=f"sister_{story.seed}",
        split="sister",
        group="sister",
        measuring_only=True,
        traits={"hand": story.hand, "look": story.look.name},
        seed=story.seed,
        fps=fps,
        num_frames=len(times_s),
        objects=[name_of(item) for item in story.start],
        events=[describe_event(event) for event in story.events],
        questions=[],
        frames=FrameLabels(
            phase=[span.phase if span else PHASE_NONE for span in spans],
            acted=[word_of(span.item) if span and span.item != NO_ITEM else NO_ITEM for span in spans],
        ),
    )


# ---- what stands where -------------------------------------------------------------------------------------------


def _stand(rng: np.random.Generator, story: Story, item: int) -> None:
    assert item not in HELD_OUT_ITEMS
    place = _free_place(rng, story.start, item)
    if place is not None:
        story.start[item] = place


def _free_place(
    rng: np.random.Generator, others: dict[int, tuple[float, float, float, float]], item: int
) -> tuple[float, float, float, float] | None:
    for _ in range(300):
        x, y = rng.uniform([-_WIDE_M, _NEAR_EDGE_M], [_WIDE_M, _FAR_EDGE_M])
        if all(
            np.hypot(x - place[0], y - place[1]) > OBJECTS[item].radius_m + OBJECTS[other].radius_m + 0.02
            for other, place in others.items()
            if other != item
        ):
            low, high = OBJECTS[item].yaws_rad
            # Handles point along a thing's own x axis to the tabletop world's right, which is +y there and +x here.
            return float(x), float(y), 0.0, float(rng.uniform(low, high)) - np.pi / 2
    return None


def _about_z(yaw_rad: float) -> np.ndarray:
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


# ---- hands -------------------------------------------------------------------------------------------------------


def _axes(fingers: np.ndarray, back: np.ndarray) -> np.ndarray:
    x = fingers / np.linalg.norm(fingers)
    z = back - x * (back @ x)
    z = z / np.linalg.norm(z)
    return np.stack([x, np.cross(z, x), z], axis=1)


def _away(rng: np.random.Generator) -> Pose:
    """Out of sight: below the near edge, or beyond the side of the table."""
    is_beside = rng.random() < 0.4
    place = [0.85, rng.uniform(-0.3, 0.1), 0.15] if is_beside else [rng.uniform(0.1, 0.5), -0.75, 0.0]
    return Pose(np.array(place), _axes(np.array([-0.3, 1.0, -0.2]), np.array([0.2, 0.2, 1.0])), 0.2)


def _taking(rng: np.random.Generator, item: int, spot: np.ndarray) -> Pose:
    """The pose in which a hand holds a thing whose base is at `spot` in the hand's world: from its side or above."""
    thing = OBJECTS[item]
    heading = float(rng.uniform(0.1, 0.9))  # fingers ahead and to the left, by so many radians
    if thing.grasp == "side":
        pitch, at_m = float(rng.uniform(0.0, 0.45)), 0.55 * thing.height_m
        back = np.array([1.0, 0.25, float(rng.uniform(0.1, 0.5))])
        middle = spot + np.array([0.0, 0.0, at_m])
    else:
        pitch, at_m = float(rng.uniform(0.55, 1.0)), thing.height_m - 0.006
        back = np.array([0.15, 0.5, 1.0])
        out_m = 0.85 * (min(thing.half_m) if thing.half_m else thing.radius_m)
        middle = spot + np.array([0.6 * out_m, -0.8 * out_m, at_m])
    fingers = np.array([-np.sin(heading) * np.cos(pitch), np.cos(heading) * np.cos(pitch), -np.sin(pitch)])
    rotation = _axes(fingers, back)
    grip = float(np.clip(1.05 - 9.0 * max(thing.grip_m - 0.018, 0.0), 0.4, 1.0))
    return Pose(middle - rotation @ CLOSES_ON_M, rotation, grip)


def _raised(pose: Pose, shift: tuple[float, float, float], grip: float | None = None) -> Pose:
    return Pose(pose.position + np.array(shift), pose.rotation, pose.grip if grip is None else grip)


def _fill(rng: np.random.Generator, story: Story) -> None:
    """Actions and pauses until the clip is full."""
    now_s, rests, taken = float(rng.uniform(1.0, 5.0)), dict(story.start), set()
    while now_s < story.duration_s - 9.0:
        side = RIGHT if rng.random() < 0.6 else LEFT
        free = [item for item in rests if item not in taken]
        draw = rng.random()
        if draw < 0.08 or not free:
            now_s = _wave(rng, story, now_s, side)
        else:
            item = int(rng.choice(free))
            now_s = _handle(rng, story, now_s, side, item, rests, taken, withdraws=draw < 0.16)
        now_s += float(rng.uniform(0.8, 4.0))


def _wave(rng: np.random.Generator, story: Story, start_s: float, side: int) -> float:
    """A hand that comes into the picture, gestures and goes: nothing to remark."""
    track = story.tracks[side]
    middle = rng.uniform([0.05, -0.25, 0.12], [0.25, -0.12, 0.25])
    rotation = _axes(rng.normal([-0.3, 1.0, 0.1], 0.3), rng.normal([0.3, 0.0, 1.0], 0.4))
    track.go(start_s, _away(rng))
    now_s = start_s + float(rng.uniform(0.7, 1.3))
    for _ in range(int(rng.integers(2, 5))):
        track.go(now_s, Pose(middle + rng.normal(0, 0.035, 3), rotation, float(rng.uniform(0, 0.8))))
        now_s += float(rng.uniform(0.4, 0.9))
    track.go(now_s + 0.6, _away(rng))
    story.spans.append(Span(start_s, now_s + 0.6, PHASE_IDLE, NO_ITEM))
    return now_s + 0.6


def _handle(
    rng: np.random.Generator,
    story: Story,
    start_s: float,
    side: int,
    item: int,
    rests: dict[int, tuple[float, float, float, float]],
    taken: set[int],
    *,
    withdraws: bool,
) -> float:
    """Reach for a thing; take it, look at it perhaps, and put it somewhere, or withdraw. Returns the end."""
    track, spot = story.tracks[side], _in_world_of(side, np.array(rests[item][:3]))
    taking = _taking(rng, item, spot)
    # A hand comes from above and from the side of its arm, open, and waits there for a moment.
    waiting = _raised(taking, (0.02, -0.035, float(rng.uniform(0.055, 0.09))), 0.1)
    track.go(start_s, _away(rng))
    arrive_s = start_s + float(rng.uniform(0.9, 1.9))
    track.go(arrive_s, waiting)
    steps_s = np.arange(start_s, arrive_s + 0.005, 0.01)
    reached_s = next(t for t in steps_s if np.linalg.norm(track.at(t).position - waiting.position) <= NEAR_M)
    _note(story, float(reached_s), "reach", item)
    story.spans.append(Span(start_s, arrive_s, PHASE_REACHING, item))
    now_s = arrive_s + float(rng.uniform(0.3, 0.8))
    track.go(now_s, waiting)
    if withdraws:
        end_s = now_s + float(rng.uniform(0.8, 1.4))
        track.go(end_s, _away(rng))
        story.spans.append(Span(arrive_s, end_s, PHASE_IDLE, NO_ITEM))
        return end_s
    now_s += float(rng.uniform(0.45, 0.8))
    track.go(now_s, _raised(taking, (0, 0, 0), 0.1))
    grasped_s = max(now_s + float(rng.uniform(0.2, 0.4)), float(reached_s) + MIN_EVENT_GAP_S)
    track.go(grasped_s, taking)
    _note(story, grasped_s, "pick up", item)
    story.spans.append(Span(arrive_s, grasped_s, PHASE_REACHING, item))
    lifted = _raised(taking, tuple(rng.uniform([-0.06, -0.10, 0.10], [0.06, 0.0, 0.20])))
    now_s = grasped_s + float(rng.uniform(0.6, 1.1))
    track.go(now_s, lifted)
    if rng.random() < 0.4:  # turned before the eye
        turned = Pose(lifted.position + rng.normal(0, 0.02, 3), _tilted(rng, lifted.rotation), lifted.grip)
        track.go(now_s + float(rng.uniform(0.6, 1.2)), turned)
        now_s += float(rng.uniform(1.3, 2.2))
        track.go(now_s, turned)
    holder, place = _destination(rng, rests, taken, item)
    shift = _in_world_of(side, np.array(place[:3])) - spot
    over = _raised(taking, (shift[0], shift[1], shift[2] + float(rng.uniform(0.09, 0.14))))
    now_s += float(rng.uniform(0.7, 1.3))
    track.go(now_s, over)
    down = _raised(taking, tuple(shift))
    placed_s = max(now_s + float(rng.uniform(0.4, 0.8)), grasped_s + MIN_EVENT_GAP_S)
    track.go(placed_s, down)
    verb = "put down" if holder is None else "put on" if OBJECTS[holder].name in _ON else "put in"
    _note(story, placed_s, verb, item, holder)
    story.spans.append(Span(grasped_s, placed_s, PHASE_HOLDING, item))
    yaw_rad = rests[item][3]
    base_turn = _about_z(yaw_rad)
    turn = _MIRROR @ base_turn @ _MIRROR if side == LEFT else base_turn
    offset = taking.rotation.T @ (spot - taking.position)
    rests[item] = (*place[:3], yaw_rad)
    story.carries.append(Carry(grasped_s, placed_s, item, side, offset, taking.rotation.T @ turn, rests[item]))
    if holder is not None:
        taken |= {item, holder}
    track.go(placed_s + float(rng.uniform(0.2, 0.4)), _raised(down, (0, 0, 0), 0.1))
    end_s = placed_s + float(rng.uniform(1.0, 1.8))
    track.go(end_s, _away(rng))
    story.spans.append(Span(placed_s, end_s, PHASE_IDLE, NO_ITEM))
    return end_s


def _destination(
    rng: np.random.Generator, rests: dict[int, tuple[float, float, float, float]], taken: set[int], item: int
) -> tuple[int | None, tuple[float, float, float, float]]:
    """What a thing is put in or on, or None for the table, and where its base then is."""
    thing = OBJECTS[item]
    homes = [
        other
        for other in rests
        if other not in taken | {item}
        and OBJECTS[other].name in _BED_M
        and OBJECTS[item].name not in _BED_M
        and thing.grasp != "handle"
        and thing.radius_m < min(OBJECTS[other].half_m or (OBJECTS[other].radius_m,)) * 0.95
    ]
    if homes and rng.random() < 0.5:
        home = int(rng.choice(homes))
        x, y, z, _ = rests[home]
        return home, (x, y, z + _BED_M[OBJECTS[home].name], rests[item][3])
    return None, _free_place(rng, rests, item) or rests[item]


def _tilted(rng: np.random.Generator, rotation: np.ndarray) -> np.ndarray:
    axis = rng.normal(0, 1, 3)
    x, y, z = axis / np.linalg.norm(axis) * float(rng.uniform(0.2, 0.6))
    left, _, right = np.linalg.svd(np.eye(3) + np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]))
    return left @ right @ rotation


def _in_world_of(side: int, point: np.ndarray) -> np.ndarray:
    return point if side == RIGHT else _MIRROR @ point


def _note(story: Story, time_s: float, verb: str, item: int, target: int | None = None) -> None:
    words = remark(verb, name_of(item), None if target is None else name_of(target))
    story.events.append(Event(round(time_s, 2), verb, item, words, target))


# ---- the eye -----------------------------------------------------------------------------------------------------


def _wander(rng: np.random.Generator, story: Story) -> np.ndarray:
    """Eye, target and tilt by time: an Ornstein–Uhlenbeck walk round a stance, drawn to the hand that acts."""
    count = int(story.duration_s * EYE_RATE_HZ) + 3
    look = story.look
    pull, spread = 1.2 / EYE_RATE_HZ, np.array([0.018, 0.014, 0.012, 0.030, 0.025, 0.010, np.radians(2.0)])
    steps = rng.normal(0, 1, (count, 7)) * spread * np.sqrt(2 * pull)
    walk = np.zeros((count, 7))
    for index in range(1, count):
        walk[index] = walk[index - 1] * (1 - pull) + steps[index]
    slow = np.cumsum(walk, axis=0) * pull * 0.3
    walk += slow - slow.mean(axis=0)
    drawn = np.zeros(3)
    for index in range(count):
        time_s = index / EYE_RATE_HZ
        span = next((s for s in story.spans if s.start_s <= time_s < s.end_s and s.item != NO_ITEM), None)
        towards = np.zeros(3)
        if span is not None:
            towards = look.follows * (story.thing_at(span.item, time_s)[0] - np.array(look.target_m))
        drawn = drawn + (towards - drawn) * (1.5 / EYE_RATE_HZ)
        walk[index, 3:6] += drawn
    return walk + np.array([*look.eye_m, *look.target_m, look.tilt_rad])
