"""The sister world compiled and drawn: one MuJoCo model with both hands and every object, dressed clip by clip.

A `SisterPlayer` belongs to the thread, in practice the process, that made it. Objects come from the tabletop world's
kit, for the same things must be named; table, walls, hands, lights and eye are its own, and it draws shadows.
`MUJOCO_GL=egl` must be in the environment before this module is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mujoco as untyped_mujoco
import numpy as np

from train.sister.hands import JOINTED, NUM_GRIPS, WRIST_M, make_grips
from train.sister.looks import PATTERN_PX, through_sensor, wood_or
from train.sister.story import LEFT, RIGHT, Story
from train.tabletop.assets import load_parts
from train.tabletop.build import GEOMS, HIDDEN, RGB, SHOWN, add_mesh, add_parts
from train.tabletop.catalog import OBJECTS

mujoco: Any = untyped_mujoco  # it comes without types

MAX_GEOMS, MAX_CLUTTER = 1000, 4
TABLE_M = (0.75, 0.45, 0.02)  # half sides
SIDES = {RIGHT: "right", LEFT: "left"}
_SURFACES = ("table", "wall", "floor")
_ELBOW_M = np.array([0.46, -0.58, -0.10])


def build_spec(kit: Path, hands: Sequence[str], scan: Path | None, *, max_size_px: int) -> Any:
    """An MjSpec, ready to compile. kit: the folder from `assets.open_kit`. Raises AssetsError if it lacks something."""
    spec = mujoco.MjSpec()
    spec.visual.quality.offsamples = 4
    spec.visual.quality.shadowsize = 2048
    spec.visual.global_.offwidth = spec.visual.global_.offheight = max_size_px
    spec.stat.extent, spec.visual.map.znear, spec.visual.map.zfar = 1.0, 0.02, 20.0
    lamp = spec.worldbody.add_light()
    lamp.type, lamp.pos, lamp.dir = mujoco.mjtLightType.mjLIGHT_SPOT, [0, 0, 2], [0, 0, -1]
    lamp.castshadow, lamp.cutoff, lamp.exponent = True, 70.0, 2.0
    for name in _SURFACES:
        texture = spec.add_texture(name=name)
        texture.type = mujoco.mjtTexture.mjTEXTURE_2D
        texture.height = texture.width = PATTERN_PX
        texture.nchannel, texture.data = 3, bytes(PATTERN_PX * PATTERN_PX * 3)
        material = spec.add_material(name=name)
        material.texrepeat, material.texuniform, material.specular = [5.0, 5.0], True, 0.25
        textures = list(material.textures)
        textures[RGB] = name
        material.textures = textures
    _add_box(spec, "table", TABLE_M, (0.0, 0.05, -TABLE_M[2]), "table")
    _add_box(spec, "wall", (3.0, 0.02, 2.0), (0.0, 0.6, 0.5), "wall")
    _add_box(spec, "floor", (4.0, 4.0, 0.02), (0.0, 0.0, -0.8), "floor")
    for number in range(MAX_CLUTTER):
        _add_box(spec, f"clutter/{number}", (0.05, 0.05, 0.05), (0.0, 0.0, -0.05), None)
    for item in OBJECTS:
        body = spec.worldbody.add_body(name=f"object/{item.key}", mocap=True)
        add_parts(spec, body, f"object/{item.key}", load_parts(kit / f"objects/{item.key}.npz"))
    for name in ("skin", "sleeve"):
        spec.add_material(name=name).specular = 0.15
    for hand in hands:
        for grip, shape in enumerate(make_grips(hand, scan)):
            for side, label in SIDES.items():
                vertices, faces = shape.vertices, shape.faces
                if side == LEFT:  # mirrored, and so that faces still turn outwards
                    vertices, faces = vertices * np.array([1, -1, 1], np.float32), faces[:, ::-1]
                name = f"hand/{hand}/{label}/{grip}"
                add_mesh(spec, name, vertices, np.ascontiguousarray(faces), np.zeros((0, 2)), faces)
                body = spec.worldbody.add_body(name=name, mocap=True)
                geom = body.add_geom(type=GEOMS["mesh"], contype=0, conaffinity=0, group=HIDDEN, mass=0)
                geom.name, geom.meshname, geom.material = name, name, "skin"
    for label in SIDES.values():
        body = spec.worldbody.add_body(name=f"sleeve/{label}", mocap=True)
        geom = body.add_geom(type=GEOMS["capsule"], contype=0, conaffinity=0, group=SHOWN, mass=0)
        geom.name, geom.material, geom.size = f"sleeve/{label}", "sleeve", [0.04, 0.2, 0]
    eye = spec.worldbody.add_body(name="eye", mocap=True)
    eye.add_camera(name="eye")
    return spec


def _add_box(
    spec: Any, name: str, half_m: tuple[float, float, float], at_m: tuple[float, float, float], material: str | None
) -> None:
    geom = spec.worldbody.add_geom(type=GEOMS["box"], contype=0, conaffinity=0, group=SHOWN, mass=0)
    geom.name, geom.size, geom.pos = name, list(half_m), list(at_m)
    if material:
        geom.material = material


class SisterWorld:
    """The compiled model, dressed and placed for one clip at a time."""

    def __init__(self, kit: Path, hands: Sequence[str], scan: Path | None, *, max_size_px: int = 512) -> None:
        self.model = build_spec(kit, hands, scan, max_size_px=max_size_px).compile()
        self.data = mujoco.MjData(self.model)
        self._hands = tuple(hands)

    def dress(self, story: Story) -> list[int]:
        """Show a clip's place and things; returns the textures that were painted, for the renderer to upload."""
        model, look = self.model, story.look
        painted = []
        for name, pixels in zip(_SURFACES, (look.table, look.wall, look.floor), strict=True):
            texture = model.tex(name).id
            first = int(model.tex_adr[texture])
            model.tex_data[first : first + pixels.size] = pixels.reshape(-1)
            painted.append(texture)
        model.geom_pos[model.geom("wall").id, 1] = look.wall_m
        for number in range(MAX_CLUTTER):
            geom = model.geom(f"clutter/{number}").id
            model.geom_group[geom] = SHOWN if number < len(look.clutter) else HIDDEN
            if number < len(look.clutter):
                half_m, middle_m, colour = look.clutter[number]
                model.geom_size[geom], model.geom_pos[geom] = half_m, middle_m
                model.geom_rgba[geom] = [*colour, 1]
        for item, thing in enumerate(OBJECTS):
            body = model.body(f"object/{thing.key}").id
            model.geom_group[model.geom_bodyid == body] = SHOWN if item in story.start else HIDDEN
        is_jointed = story.hand == JOINTED
        model.mat_rgba[model.mat("skin").id, :3] = wood_or(look.skin, is_jointed=is_jointed)
        model.mat_rgba[model.mat("sleeve").id, :3] = look.sleeve
        towards = np.array([0.0, 0.05, 0.0]) - np.array(look.light_m)
        model.light_pos[0], model.light_dir[0] = look.light_m, towards / np.linalg.norm(towards)
        model.light_diffuse[0], model.light_specular[0] = look.light, 0.3
        model.vis.headlight.ambient[:], model.vis.headlight.diffuse[:] = look.ambient, 0.15
        model.vis.headlight.specular[:] = 0.0
        model.cam_fovy[0] = look.field_of_view_deg
        return painted

    def place(self, story: Story, time_s: float) -> None:
        """Put everything where it is at a time."""
        for item in story.start:
            self._put(f"object/{OBJECTS[item].key}", *story.thing_at(item, time_s))
        for side, label in SIDES.items():
            pose = story.hand_at(side, time_s)
            shown = round(float(np.clip(pose.grip, 0, 1)) * (NUM_GRIPS - 1))
            for hand in self._hands:
                for grip in range(NUM_GRIPS):
                    name = f"hand/{hand}/{label}/{grip}"
                    is_shown = hand == story.hand and grip == shown
                    self.model.geom_group[self.model.geom(name).id] = SHOWN if is_shown else HIDDEN
                    if is_shown:
                        self._put(name, pose.position, pose.rotation)
            elbow = _ELBOW_M * np.array([side, 1.0, 1.0])
            self._stretch(f"sleeve/{label}", pose.position + pose.rotation @ WRIST_M, elbow, story.look.sleeve_radius_m)
        eye, target, tilt_rad = story.eye_at(time_s)
        self._put("eye", eye, eye_axes(eye, target, tilt_rad))
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def _put(self, body: str, position: np.ndarray, rotation: np.ndarray) -> None:
        mocap = self.model.body_mocapid[self.model.body(body).id]
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, np.ascontiguousarray(rotation).flatten())
        self.data.mocap_pos[mocap], self.data.mocap_quat[mocap] = position, quat

    def _stretch(self, name: str, one: np.ndarray, other: np.ndarray, radius_m: float) -> None:
        """Lay a capsule between two points."""
        mocap, quat = self.model.body_mocapid[self.model.body(name).id], np.zeros(4)
        length_m = max(float(np.linalg.norm(one - other)), 1e-3)
        mujoco.mju_quatZ2Vec(quat, (one - other) / length_m)
        self.data.mocap_pos[mocap], self.data.mocap_quat[mocap] = (one + other) / 2, quat
        self.model.geom_size[self.model.geom(name).id, :2] = [radius_m, length_m / 2]


def eye_axes(eye: np.ndarray, target: np.ndarray, tilt_rad: float) -> np.ndarray:
    """A camera's axes as columns, as MuJoCo has them: right, up, backwards."""
    ahead = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, ahead)
    cos, sin = np.cos(tilt_rad), np.sin(tilt_rad)
    return np.stack([cos * right + sin * up, cos * up - sin * right, -ahead], axis=1)


class SisterPlayer:
    """A world and a drawing context."""

    def __init__(self, kit: Path, hands: Sequence[str], scan: Path | None, size_px: int) -> None:
        """kit: folder from `assets.open_kit`. size_px: side of the square pictures."""
        self._world = SisterWorld(kit, hands, scan, max_size_px=size_px)
        model = self._world.model
        self._rect, self._size_px = mujoco.MjrRect(0, 0, size_px, size_px), size_px
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._gl = mujoco.GLContext(size_px, size_px)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._camera = mujoco.MjvCamera()
        self._camera.type, self._camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, 0
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[SHOWN] = 1

    def close(self) -> None:
        """Give back what was taken from the graphics card; the player draws no more."""
        self._context.free()
        self._gl.free()

    def frames(self, story: Story, times_s: Sequence[float]) -> Iterator[np.ndarray]:
        """The clip at each of these times, S x S x 3 uint8 RGB."""
        model, data, rng = self._world.model, self._world.data, np.random.default_rng([story.seed, 77])
        for texture in self._world.dress(story):
            mujoco.mjr_uploadTexture(model, self._context, texture)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = int(story.look.has_shadows)
        for time_s in times_s:
            self._world.place(story, time_s)
            every = mujoco.mjtCatBit.mjCAT_ALL.value
            mujoco.mjv_updateScene(model, data, self._option, None, self._camera, every, self._scene)
            mujoco.mjr_render(self._rect, self._scene, self._context)
            pixels = np.empty((self._size_px, self._size_px, 3), np.uint8)
            mujoco.mjr_readPixels(pixels, None, self._rect, self._context)
            yield through_sensor(pixels[::-1], story.look, rng)
