"""Plays scripts into pictures: one renderer a process, one clip at a time.

Off-screen through EGL (a GPU, or Mesa on a CPU); without shadows and reflections, which cost more than they
teach. `MUJOCO_GL=egl` must be in the environment before this module is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco as untyped_mujoco
import numpy as np

from train.tabletop.ground_truth import FPS, describe, frame_times
from train.tabletop.script import Script
from train.tabletop.world import SHOWN, World

mujoco: Any = untyped_mujoco  # it comes without types


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
