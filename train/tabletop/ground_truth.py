"""What a clip truly shows, frame by frame, in the form it is kept in beside its pictures. Pure; needs no renderer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from train.tabletop.catalog import OBJECTS, VOCABULARY
from train.tabletop.record import NO_ITEM, PHASE_HOLDING, PHASE_REACHING
from train.tabletop.scenery import FIELD_OF_VIEW_DEG
from train.tabletop.script import Script

FPS = 2.0


def frame_times(script: Script, fps: float) -> list[float]:
    """The times of a clip's frames, in seconds from its start."""
    return [index / fps for index in range(round(script.duration_s * fps))]


def describe(script: Script, fps: float = FPS) -> dict[str, Any]:
    """The ground truth of a clip: objects, events, questions, and labels of every frame. Needs no renderer."""
    times_s = frame_times(script, fps)
    spans = [script.span_at(time_s) for time_s in times_s]
    return {
        "clip": f"clip_{script.seed}",
        "split": script.split,
        "seed": script.seed,
        "fps": fps,
        "num_frames": len(times_s),
        "room": script.look.room,
        "objects": [VOCABULARY[item] for item in script.items],
        "events": [
            {"time_s": event.time_s, "verb": event.verb, "object": VOCABULARY[event.item], "text": event.text}
            for event in script.events
        ],
        "questions": [
            {"time_s": asked.time_s, "question": asked.question, "answer": asked.answer} for asked in script.questions
        ],
        "frames": {
            "phase": [span.phase for span in spans],
            "acted": [span.item if span.phase in (PHASE_REACHING, PHASE_HOLDING) else NO_ITEM for span in spans],
            "uv": [_places(script, time_s) for time_s in times_s],
        },
        "vocabulary": list(VOCABULARY),
    }


def _places(script: Script, time_s: float) -> list[list[float]]:
    """[u, v, visible] of every object: visible if inside the picture and no nearer object covers its middle."""
    view = script.look.head.at(time_s)
    spots = []
    for item in script.items:
        base, _ = script.motion.object_at(item, time_s)
        u, v, depth = view.project(base + np.array([0, 0, OBJECTS[item].height_m / 2]))
        width_m = min(OBJECTS[item].radius_m, OBJECTS[item].height_m) if OBJECTS[item].height_m > 0.05 else 0.0
        half_picture = math.tan(math.radians(FIELD_OF_VIEW_DEG / 2)) * max(depth, 1e-6)
        spots.append((u, v, depth, width_m / half_picture / 2))
    places = []
    for index, (u, v, depth, _) in enumerate(spots):
        is_covered = any(
            other != index and their_depth < depth and math.hypot(u - their_u, v - their_v) < 0.7 * reach
            for other, (their_u, their_v, their_depth, reach) in enumerate(spots)
        )
        is_visible = 0 <= u <= 1 and 0 <= v <= 1 and not is_covered
        places.append([round(u, 4), round(v, 4), int(is_visible)])
    return places
