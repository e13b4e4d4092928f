"""Plays scripts into pictures: one renderer a process, one clip at a time.

Off-screen through EGL (a GPU, or Mesa on a CPU); without reflections, and with shadows in the wide world only: on a CPU
they cost more than all the rest. `MUJOCO_GL=egl` must be in the environment before this module is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mujoco as untyped_mujoco
import numpy as np

from train.tabletop.build import SHOWN
from train.tabletop.gaze import View
from train.tabletop.record import Script
from train.tabletop.world import World

mujoco: Any = untyped_mujoco  # it comes without types
MAX_GEOMS = 2000


class TabletopPlayer:
    """A world, a drawing context and a camera; belongs to the thread that made it."""

    def __init__(self, kit: Path, size_px: int) -> None:
        """kit: folder from `assets.open_kit`. size_px: side of the square pictures."""
        self._world = World(kit, max_size_px=size_px)
        self._size_px = size_px
        self._rect = mujoco.MjrRect(0, 0, size_px, size_px)
        self._scene = mujoco.MjvScene(self._world.model, maxgeom=MAX_GEOMS)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        # Not mujoco.Renderer, which keeps its context, and so the upload of textures, to itself.
        self._gl = mujoco.GLContext(size_px, size_px)
        self._gl.make_current()
        self._context = mujoco.MjrContext(self._world.model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[SHOWN] = 1

    def close(self) -> None:
        """Give back what was taken from the graphics card; the player draws no more."""
        self._context.free()
        self._gl.free()

    def frames(self, script: Script, times_s: Sequence[float]) -> Iterator[np.ndarray]:
        """The clip at each of these times, S x S x 3 uint8 RGB."""
        world = self._world
        for texture in world.dress(script.look, script.items, list(script.motion.fixtures)):
            mujoco.mjr_uploadTexture(world.model, self._context, texture)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = int(script.look.has_shadows)
        for time_s in times_s:
            world.place(script, time_s)
            world.update()
            view = script.look.head.at(time_s)
            self._camera.lookat[:] = view.look_at_m
            self._camera.distance = view.distance_m
            self._camera.azimuth, self._camera.elevation = view.azimuth_deg, view.elevation_deg
            yield self._draw(view)

    def _draw(self, view: View) -> np.ndarray:
        model, data = self._world.model, self._world.data
        every = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(model, data, self._option, None, self._camera, every, self._scene)
        if view.roll_deg:  # MuJoCo's free camera cannot be tilted
            for camera in self._scene.camera:
                camera.up[:] = view.axes[2]
        mujoco.mjr_render(self._rect, self._scene, self._context)
        pixels = np.empty((self._size_px, self._size_px, 3), np.uint8)
        mujoco.mjr_readPixels(pixels, None, self._rect, self._context)
        return pixels[::-1]  # rows come from the bottom up
