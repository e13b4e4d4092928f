"""What a clip truly shows, frame by frame, in the form it is kept in beside its pictures. Pure; needs no renderer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from train.tabletop.catalog import OBJECTS, VOCABULARY
from train.tabletop.hand import WRIST_X_M
from train.tabletop.motion import ELBOW_M, SLEEVE_RADIUS_M
from train.tabletop.record import NO_ITEM, PHASE_HOLDING, PHASE_REACHING, Script, Span

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


def describe_snapshots(script: Script, times_s: list[float]) -> dict[str, Any]:
    """The ground truth of single moments of a clip: as `describe`, with `times_s`, an fps of 0 and nothing said."""
    return {
        **_head(script, 0, times_s),
        "snapshots": True,
        "times_s": times_s,
        "events": [],
        "questions": [],
        "frames": _label(script, times_s),
        "vocabulary": list(VOCABULARY),
    }


def describe(script: Script, fps: float = FPS) -> dict[str, Any]:
    """The ground truth of a clip: objects, events, questions, and labels of every frame. Needs no renderer."""
    times_s = frame_times(script, fps)
    return {
        **_head(script, fps, times_s),
        "events": [
            {"time_s": event.time_s, "verb": event.verb, "object": VOCABULARY[event.item], "text": event.text}
            for event in script.events
        ],
        "questions": [
            {"time_s": asked.time_s, "question": asked.question, "answer": asked.answer} for asked in script.questions
        ],
        "frames": _label(script, times_s),
        "vocabulary": list(VOCABULARY),
    }


def _head(script: Script, fps: float, times_s: list[float]) -> dict[str, Any]:
    return {
        "clip": f"clip_{script.seed}",
        "split": script.split,
        "seed": script.seed,
        "fps": fps,
        "num_frames": len(times_s),
        "room": script.look.room,
        "objects": [VOCABULARY[item] for item in script.items],
    }


def _label(script: Script, times_s: list[float]) -> dict[str, Any]:
    spans = [script.span_at(time_s) for time_s in times_s]
    return {
        "phase": [span.phase for span in spans],
        "acted": [span.item if _is_acting(span) else NO_ITEM for span in spans],
        "uv": [_places(script, time_s) for time_s in times_s],
    }


def _is_acting(span: Span) -> bool:
    return span.item != NO_ITEM and span.phase in (PHASE_REACHING, PHASE_HOLDING)


def _places(script: Script, time_s: float) -> list[list[float]]:
    """[u, v, visible] of every object: visible if inside the picture and not covered in its middle."""
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
    arm = [(*view.project(point), radius_m) for point, radius_m in _arm(script, time_s)]
    places = []
    for u, v, depth, _, _ in spots:
        is_covered = any(
            near < depth - 0.03 and math.hypot((u - their_u) / width, (v - their_v) / height) < 1
            for their_u, their_v, near, width, height in spots
        ) or any(
            0 < near < depth and math.hypot(u - their_u, v - their_v) < radius_m / (2 * view.half_width(near))
            for their_u, their_v, near, radius_m in arm
        )
        is_visible = 0 <= u <= 1 and 0 <= v <= 1 and not is_covered
        places.append([round(u, 4), round(v, 4), int(is_visible)])
    return places


def _arm(script: Script, time_s: float) -> list[tuple[np.ndarray, float]]:
    """Balls along palm and forearm: middle and radius in metres. Fingers hide little."""
    hand = script.motion.hand.at(time_s)
    wrist = hand.position + hand.rotation @ np.array([WRIST_X_M, 0.0, 0.0])
    palm = [(hand.position + (wrist - hand.position) * u, 0.03) for u in (-0.3, 0.2, 0.7)]
    return palm + [(wrist + (ELBOW_M - wrist) * u, SLEEVE_RADIUS_M) for u in np.linspace(0, 1, 14)]
