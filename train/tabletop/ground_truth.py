"""What a clip truly shows, frame by frame, in the form it is kept in beside its pictures. Pure; needs no renderer."""

from __future__ import annotations

import math

import numpy as np

from train.clip import Clip, ClipEvent, ClipQuestion, FrameLabels
from train.tabletop.catalog import FIRST_FIXTURE, FIXTURES, HELD_OUT_NAMES, OBJECTS, VOCABULARY, name_of, word_of
from train.tabletop.hand import WRIST_X_M
from train.tabletop.motion import LEFT, RIGHT, elbow_at
from train.tabletop.questions import ask_for_study
from train.tabletop.record import NO_ITEM, PHASE_IDLE, PHASE_NONE, Event, Question, Script, Span
from train.tabletop.script import STUDIED

FPS = 2.0


def frame_times(script: Script, fps: float) -> list[float]:
    """The times of a clip's frames, in seconds from its start."""
    return [index / fps for index in range(round(script.duration_s * fps))]


def snapshot_times(script: Script, count: int) -> list[float]:
    """`count` random moments of a clip in order, by its seed: at least half of them while a hand acts, if one does.

    Every action is as likely as any other, short or long, so that reaches are seen as often as objects held.
    """
    rng = np.random.default_rng([script.seed, 11])
    acting = [span for span in script.spans if _is_acting(span)]
    times_s = list(rng.uniform(0.0, script.duration_s, count // 2 if acting else count))
    for _ in range(count - len(times_s)):
        span = acting[int(rng.integers(len(acting)))]
        times_s.append(rng.uniform(span.start_s, span.end_s))
    return sorted(round(float(time_s), 3) for time_s in times_s)


def describe_snapshots(script: Script, times_s: list[float]) -> Clip:
    """The ground truth of single moments of a clip: as `describe`, with `times_s`, an fps of 0 and nothing said."""
    silent = _silent(script, 0.0, times_s)
    return silent.model_copy(update={"snapshots": True, "times_s": times_s})


def describe(script: Script, fps: float = FPS) -> Clip:
    """The ground truth of a clip: objects, events, questions, and labels of every frame. Needs no renderer.

    A clip to train on has other sets of questions too, of which each epoch takes one.
    """
    times_s = frame_times(script, fps)
    study = ask_for_study(script) if script.split in STUDIED else []
    said = {
        "events": [describe_event(event) for event in script.events],
        "questions": [_describe_question(asked) for asked in script.questions],
        "study_questions": [[_describe_question(asked) for asked in one] for one in study],
    }
    return _silent(script, fps, times_s).model_copy(update=said)


def describe_event(event: Event) -> ClipEvent:
    """An event in words."""
    return ClipEvent(
        time_s=event.time_s,
        verb=event.verb,
        object=name_of(event.item),
        target=None if event.target is None else name_of(event.target),
        text=event.text,
    )


def _describe_question(asked: Question) -> ClipQuestion:
    return ClipQuestion(time_s=asked.time_s, question=asked.question, answer=asked.answer, kind=asked.kind)


def _silent(script: Script, fps: float, times_s: list[float]) -> Clip:
    """The clip with all that is to be seen, and nothing said."""
    names = [name_of(thing) for thing in _things(script)]
    return Clip(
        name=f"clip_{script.seed}",
        split=script.split,
        group=script.group,
        seed=script.seed,
        fps=fps,
        num_frames=len(times_s),
        events=[],
        questions=[],
        room=script.look.room,
        style=script.manner.style,
        goal=script.goal.name if script.goal else None,
        objects=names,
        unseen=[name for name in names if name in HELD_OUT_NAMES],
        frames=_label(script, times_s),
        vocabulary=list(VOCABULARY),
    )


def _things(script: Script) -> list[int]:
    """Objects and then fixtures of a clip; fixtures from FIRST_FIXTURE on."""
    return [*script.items, *(fixture + FIRST_FIXTURE for fixture in sorted(script.motion.fixtures))]


def _label(script: Script, times_s: list[float]) -> FrameLabels:
    spans = [script.span_at(time_s) for time_s in times_s]
    motion = script.motion
    return FrameLabels(
        phase=[span.phase for span in spans],
        acted=[word_of(span.item) if _is_acting(span) else NO_ITEM for span in spans],
        target=[word_of(span.target) if _is_acting(span) else NO_ITEM for span in spans],
        uv=[_places(script, time_s) for time_s in times_s],
        states=[
            [round(motion.state_at(f, time_s)) if f in motion.fixtures else -1 for f in range(len(FIXTURES))]
            for time_s in times_s
        ],
    )


def _is_acting(span: Span) -> bool:
    return span.item != NO_ITEM and span.phase not in (PHASE_NONE, PHASE_IDLE)


def _places(script: Script, time_s: float) -> list[list[float]]:
    """[u, v, visible] of every thing: visible if inside the picture and not covered in its middle."""
    view = script.look.head.at(time_s)
    slant = math.radians(-view.elevation_deg)
    spots = []  # u, v, depth, half width and half height in the picture
    for item in script.items:
        thing = OBJECTS[item]
        base, _ = script.motion.object_at(item, time_s)
        u, v, depth = view.project(base + np.array([0, 0, thing.height_m / 2]))
        radius_m = thing.radius_m * (0.55 if thing.grasp == "handle" else 0.8)
        upright_m = thing.height_m / 2 * math.cos(slant) + radius_m * math.sin(slant)
        spots.append((u, v, depth, radius_m / (2 * view.half_width(depth)), upright_m / (2 * view.half_width(depth))))
    for fixture, stand in sorted(script.motion.fixtures.items()):
        deep_m, wide_m, high_m = FIXTURES[fixture].size_m
        u, v, depth = view.project(stand.position() + np.array([0, 0, high_m / 2]))
        upright_m = high_m / 2 * math.cos(slant) + deep_m / 2 * math.sin(slant)
        spots.append((u, v, depth, wide_m / (4 * view.half_width(depth)), upright_m / (4 * view.half_width(depth))))
    arm = [(*view.project(point), radius_m) for side in (RIGHT, LEFT) for point, radius_m in _arm(script, side, time_s)]
    shut_in = [_is_shut_in(script, item, time_s) for item in script.items] + [False] * len(script.motion.fixtures)
    places = []
    for index, (u, v, depth, _, _) in enumerate(spots):
        is_covered = (
            shut_in[index]
            or any(
                near < depth - 0.03 and math.hypot((u - their_u) / width, (v - their_v) / height) < 1
                for their_u, their_v, near, width, height in spots
            )
            or any(
                0 < near < depth and math.hypot(u - their_u, v - their_v) < radius_m / (2 * view.half_width(near))
                for their_u, their_v, near, radius_m in arm
            )
        )
        is_visible = 0 <= u <= 1 and 0 <= v <= 1 and not is_covered
        places.append([round(u, 4), round(v, 4), int(is_visible)])
    return places


def _is_shut_in(script: Script, item: int, time_s: float) -> bool:
    """True if an object is in a fixture that is closed."""
    placed = script.motion.placement_at(item, time_s)
    if placed is None or placed.holder is None or placed.holder < FIRST_FIXTURE:
        return False
    fixture = placed.holder - FIRST_FIXTURE
    return FIXTURES[fixture].is_openable and script.motion.state_at(fixture, time_s) < 0.5


def _arm(script: Script, side: int, time_s: float) -> list[tuple[np.ndarray, float]]:
    """Balls along palm and forearm: middle and radius in metres. Fingers hide little."""
    hand = script.motion.hand_at(side, time_s)
    elbow = elbow_at(side, script.habits.approach_rad)
    wrist = hand.position + hand.rotation @ np.array([WRIST_X_M, 0.0, 0.0])
    palm = [(hand.position + (wrist - hand.position) * u, 0.03) for u in (-0.3, 0.2, 0.7)]
    return palm + [(wrist + (elbow - wrist) * u, script.look.sleeve_radius_m) for u in np.linspace(0, 1, 14)]
