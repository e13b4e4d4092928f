"""Plays scripts into pictures: one renderer a process, one clip at a time.

Off-screen through EGL (a GPU, or Mesa on a CPU); without shadows and reflections, which cost more than they
teach. `MUJOCO_GL=egl` must be in the environment before this module is imported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from train.tabletop.catalog import OBJECTS, VOCABULARY
from train.tabletop.record import PHASE_HOLDING, PHASE_REACHING
from train.tabletop.scenery import FIELD_OF_VIEW_DEG
from train.tabletop.script import Script
from train.tabletop.world import SHOWN, World

FPS = 2.0


@dataclass(frozen=True)
class Clip:
    """frames: T x S x S x 3 uint8 RGB. meta: the ground truth, ready for JSON."""

    frames_THWC: np.ndarray
    meta: dict[str, Any]


class Player:
    """A world, a renderer and a camera; belongs to the process that made it."""

    def __init__(self, kit: Path, size_px: int) -> None:
        """kit: folder from `assets.open_kit`. size_px: side of the square pictures."""
        self._world = World(kit, max_size_px=size_px)
        self._renderer = mujoco.Renderer(self._world.model, size_px, size_px)
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[SHOWN] = 1

    def close(self) -> None:
        self._renderer.close()

    def frames(self, script: Script, fps: float) -> Iterator[np.ndarray]:
        """The clip's frames in order, S x S x 3 uint8 RGB; frame k shows the time k / fps."""
        world = self._world
        world.dress(script.look, script.items)
        for time_s in frame_times(script, fps):
            for item in script.items:
                world.place_object(item, *script.motion.object_at(item, time_s))
            world.place_hand(script.motion.hand.at(time_s))
            world.update()
            view = script.look.head.at(time_s)
            self._camera.lookat[:] = view.look_at_m
            self._camera.distance = view.distance_m
            self._camera.azimuth, self._camera.elevation = view.azimuth_deg, view.elevation_deg
            self._renderer.update_scene(world.data, self._camera, self._option)
            flags = self._renderer.scene.flags
            flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
            yield self._renderer.render()

    def clip(self, script: Script, fps: float = FPS) -> Clip:
        """Render a whole clip into memory."""
        return Clip(np.stack(list(self.frames(script, fps))), describe(script, fps))


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
            "acted": [span.item if span.phase in (PHASE_REACHING, PHASE_HOLDING) else -1 for span in spans],
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
