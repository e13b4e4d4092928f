"""Compiles the tabletop world once: every room, object and fixture and two hands, shown or hidden clip by clip.

A `World` belongs to the thread (in practice the process) that made it. What a clip does not need is moved to
a geometry group that is not drawn, so a new scene costs nothing. Nothing is simulated: every body is placed
where the script says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco as untyped_mujoco
import numpy as np

from train.tabletop.art import ART_PX, Art, paint
from train.tabletop.assets import hands_of
from train.tabletop.build import HAND_NAMES, HIDDEN, RGB, SHOWN, build_spec, grip_name
from train.tabletop.catalog import FIXTURES, OBJECTS, STOVE, TAP
from train.tabletop.furniture import Piece
from train.tabletop.hand import NUM_GRIPS, WRIST_X_M
from train.tabletop.motion import HandPose, Motion, Placement, Pour, elbow_at, part_pose, turn_about_z
from train.tabletop.record import Script
from train.tabletop.scenery import OWN_SURFACE, Look

mujoco: Any = untyped_mujoco  # it comes without types

_TABLE_PARTS = ("table_visual", "living_room_table", "desk", "short_coffee_table")


class World:
    """One compiled model with all rooms, objects and hands; `model` and `data` are MuJoCo's."""

    def __init__(self, kit: Path, *, max_size_px: int = 512) -> None:
        """kit: the folder from `assets.open_kit`. Raises AssetsError if something is missing from it."""
        self.model = build_spec(kit, max_size_px=max_size_px).compile()
        self.data = mujoco.MjData(self.model)
        self._index(hands_of(kit))

    def dress(self, look: Look, items: list[int], fixtures: list[int]) -> list[int]:
        """Show one room with one look and only these objects and fixtures.

        Returns the textures that were painted anew, for the renderer to upload. The kit has the look's hand
        (`assets.require_hands`).
        """
        model = self.model
        self._group(self._bodies_of("room/"), HIDDEN)
        self._group([model.body(f"room/{look.room}").id], SHOWN)
        self._group(self._bodies_of("object/"), HIDDEN)
        self._group([self._object_body(item) for item in items], SHOWN)
        self._group(self._bodies_of("fixture/"), HIDDEN)
        for fixture in fixtures:
            name = f"fixture/{FIXTURES[fixture].key}"
            self._group(self._bodies_of(name), SHOWN)
        self._turn_room(look)
        self._group(self._bodies_of("furniture/"), HIDDEN)
        for place, piece in enumerate(look.furniture):
            self._place_furniture(place, piece)
        painted: dict[int, Art] = {}
        for material, kind in self._room_materials[look.room]:
            surface = {"table": look.table, "wall": look.wall, "floor": look.floor}[kind]
            texture = self._surface_texture(material, kind, surface)
            model.mat_texid[material, RGB] = texture
            repeats = surface.repeats if isinstance(surface, Art) else 1
            model.mat_texrepeat[material] = self._own_repeats[material] * repeats
            if isinstance(surface, Art):
                painted[texture] = surface
            if kind == "table":
                model.mat_rgba[material, :3] = 1.0 if isinstance(surface, Art) else look.table_tint
        for texture, art in painted.items():
            self._paint(texture, art)
        model.vis.global_.fovy = look.head.field_of_view_deg
        model.mat_rgba[self._material("hand"), :3] = look.skin
        model.mat_rgba[self._material("sleeve"), :3] = look.sleeve
        model.light_dir[0] = np.array(look.light_direction) / np.linalg.norm(look.light_direction)
        model.light_diffuse[0] = np.array(look.light_colour) * 0.75
        model.light_specular[0] = 0.15
        model.light_castshadow[0] = look.has_shadows
        model.light_active[1] = look.lamp_m is not None
        if look.lamp_m is not None:
            lamp = np.array(look.lamp_m)
            model.light_pos[1], model.light_dir[1] = lamp, -lamp / np.linalg.norm(lamp)
            model.light_diffuse[1], model.light_specular[1] = look.lamp_colour, 0.2
        model.mat_specular[self._material("hand")] = look.gloss
        model.vis.headlight.ambient[:] = look.ambient
        model.vis.headlight.diffuse[:] = 0.3
        model.vis.headlight.specular[:] = 0.05
        return list(painted)

    def place(self, script: Script, time_s: float) -> None:
        """Put everything where it is at a time."""
        motion = script.motion
        for item in script.items:
            self._put(f"object/{OBJECTS[item].key}", *motion.object_at(item, time_s))
        for fixture, stand in motion.fixtures.items():
            self._place_fixture(fixture, stand, motion.state_at(fixture, time_s))
        for side in HAND_NAMES:
            self._place_hand(script, side, motion.hand_at(side, time_s))
        self._place_stream(motion, motion.pour_at(time_s), time_s)

    def _put(self, body: str, position: np.ndarray, rotation: np.ndarray) -> None:
        mocap = self.model.body_mocapid[self.model.body(body).id]
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, np.ascontiguousarray(rotation).flatten())
        self.data.mocap_pos[mocap], self.data.mocap_quat[mocap] = position, quat

    def _place_fixture(self, fixture: int, stand: Placement, state: float) -> None:
        kind = FIXTURES[fixture]
        name, turn = f"fixture/{kind.key}", turn_about_z(stand.yaw_rad)
        shift, part_turn = part_pose(kind, state)
        self._put(name, stand.position(), turn)
        self._put(f"{name}/part", stand.position() + turn @ shift, turn @ part_turn)
        if fixture == TAP:
            self._put(f"{name}/basin", stand.position(), turn)
        if fixture in (STOVE, TAP):
            self._put(f"{name}/on", stand.position(), turn)
            self._group([self.model.body(f"{name}/on").id], SHOWN if state > 0.5 else HIDDEN)

    def _place_hand(self, script: Script, side: int, pose: HandPose) -> None:
        """Put a hand into a pose, and its sleeve between its wrist and its elbow."""
        name = HAND_NAMES[side]
        self._put(f"hand/{name}", pose.position, pose.rotation)
        shown = round(float(np.clip(pose.grip, 0, 1)) * (NUM_GRIPS - 1))
        self.model.geom_group[self._grips[side]] = HIDDEN
        self.model.geom_group[self.model.geom(grip_name(name, script.look.hand, shown)).id] = SHOWN
        wrist = pose.position + pose.rotation @ np.array([WRIST_X_M - 0.028, 0, 0])
        elbow = elbow_at(side, script.habits.approach_rad)
        self._span(f"sleeve/{name}", wrist, elbow, script.look.sleeve_radius_m)

    def _place_stream(self, motion: Motion, pour: Pour | None, time_s: float) -> None:
        """What is poured falls straight from the vessel's lip."""
        self._group([self.model.body("stream").id], HIDDEN if pour is None else SHOWN)
        if pour is None:
            return
        base, turn = motion.object_at(pour.source, time_s)
        lip = base + turn @ np.array([0.0, 0.0, OBJECTS[pour.source].height_m])
        bottom, _ = motion.object_at(pour.target, time_s)
        self._span("stream", lip, np.array([lip[0], lip[1], min(bottom[2] + 0.02, lip[2] - 0.01)]), 0.005)

    def _span(self, name: str, one: np.ndarray, other: np.ndarray, radius_m: float) -> None:
        """Stretch a capsule between two points."""
        model, mocap = self.model, self.model.body_mocapid[self.model.body(name).id]
        quat, length = np.zeros(4), float(np.linalg.norm(one - other))
        mujoco.mju_quatZ2Vec(quat, (one - other) / length)
        self.data.mocap_pos[mocap], self.data.mocap_quat[mocap] = (one + other) / 2, quat
        model.geom_size[model.geom(name).id, :2] = [radius_m, length / 2]

    def update(self) -> None:
        """Compute where everything is after the last placements."""
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def _turn_room(self, look: Look) -> None:
        """Turn a room about its own origin, the middle of a square table; the viewer stays."""
        body = self.model.body(f"room/{look.room}").id
        half_rad = np.pi / 4 * look.quarter_turns
        self.model.body_quat[body] = [np.cos(half_rad), 0, 0, np.sin(half_rad)]

    def _place_furniture(self, place: int, piece: Piece) -> None:
        model, mocap = self.model, self.model.body_mocapid[self.model.body(f"furniture/{place}").id]
        self.data.mocap_pos[mocap] = piece.position_m
        self.data.mocap_quat[mocap] = [np.cos(piece.yaw_rad / 2), 0, 0, np.sin(piece.yaw_rad / 2)]
        geom = model.geom(f"furniture/{place}/{piece.shape}").id
        width_m, depth_m, height_m = piece.half_m
        model.geom_size[geom] = [width_m, height_m, 0] if piece.shape == "cylinder" else [width_m, depth_m, height_m]
        model.geom_rgba[geom] = [*piece.colour, 1]
        model.geom_group[geom] = SHOWN

    def _paint(self, texture: int, art: Art) -> None:
        pixels = paint(art).reshape(-1)
        first, count = int(self.model.tex_adr[texture]), int(self.model.tex_height[texture]) * ART_PX * 3
        self.model.tex_data[first : first + count] = np.tile(pixels, count // len(pixels))

    def _index(self, hands: range) -> None:
        model = self.model
        self._grips = {
            side: [model.geom(grip_name(name, h, grip)).id for h in hands for grip in range(NUM_GRIPS)]
            for side, name in HAND_NAMES.items()
        }
        self._own_texture = model.mat_texid[:, RGB].copy()
        self._own_repeats = model.mat_texrepeat.copy()
        self._room_materials: dict[str, list[tuple[int, str]]] = {}
        for material in range(model.nmat):
            group, _, rest = model.mat(material).name.partition("/")
            if group != "room":
                continue
            room, _, part = rest.split("/", 2)
            kind = (
                "table"
                if part in _TABLE_PARTS
                else "floor"
                if part == "floor"
                else "wall"
                if part.startswith("wall_") and part.endswith("_visual")
                else None
            )
            if kind is not None:
                self._room_materials.setdefault(room, []).append((material, kind))

    def _surface_texture(self, material: int, kind: str, surface: str | Art) -> int:
        own = int(self._own_texture[material])
        if surface == OWN_SURFACE or own < 0:
            return own
        is_cube = int(self.model.tex_type[own]) == int(mujoco.mjtTexture.mjTEXTURE_CUBE)
        source = f"art/{kind}" if isinstance(surface, Art) else f"surface/{surface}"
        return self.model.tex(f"{source}/{'cube' if is_cube else '2d'}").id

    def _bodies_of(self, prefix: str) -> list[int]:
        return [body for body in range(self.model.nbody) if self.model.body(body).name.startswith(prefix)]

    def _group(self, bodies: list[int], group: int) -> None:
        self.model.geom_group[np.isin(self.model.geom_bodyid, bodies)] = group

    def _object_body(self, item: int) -> int:
        return self.model.body(f"object/{OBJECTS[item].key}").id

    def _material(self, name: str) -> int:
        return self.model.mat(name).id
