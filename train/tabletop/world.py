"""Compiles the tabletop world once: every room, every object and a hand, shown or hidden clip by clip.

A `World` belongs to the thread (in practice the process) that made it. What a clip does not need is moved to
a geometry group that is not drawn, so a new scene costs nothing. Nothing is simulated: every body is placed
where the script says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco as untyped_mujoco
import numpy as np
from PIL import Image

from train.tabletop.art import ART_PX, Art, paint
from train.tabletop.assets import AssetsError, Part, load_parts
from train.tabletop.catalog import OBJECTS, SURFACES
from train.tabletop.furniture import MAX_PIECES, SHAPES, Piece
from train.tabletop.hand import NUM_GRIPS, WRIST_X_M
from train.tabletop.motion import ELBOW_M, SLEEVE_RADIUS_M, HandPose
from train.tabletop.scenery import HELD_OUT_ROOM, OWN_SURFACE, TRAIN_ROOMS, Look

mujoco: Any = untyped_mujoco  # it comes without types

SHOWN, HIDDEN = 1, 5
_RGB = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
_GEOMS = {
    "mesh": mujoco.mjtGeom.mjGEOM_MESH,
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "plane": mujoco.mjtGeom.mjGEOM_PLANE,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "ellipsoid": mujoco.mjtGeom.mjGEOM_ELLIPSOID,
}

# The point of each room that becomes the origin, in metres: within reach of the viewer and half a millimetre above the
# table top, so that thin bases do not flicker through it.
ROOM_ORIGINS_M = {
    "kitchen": (0.10, 0.0, 0.8005),
    "dining": (0.10, 0.0, 0.8005),
    "living_room": (0.06, 0.03, 0.4254),
    "study": (0.41, 0.0, 0.8809),
    "coffee_table": (0.05, 0.06, 0.4305),
}
_TABLE_PARTS = ("table_visual", "living_room_table", "desk", "short_coffee_table")


class World:
    """One compiled model with all rooms, objects and the hand; `model` and `data` are MuJoCo's."""

    def __init__(self, kit: Path, *, max_size_px: int = 512) -> None:
        """kit: the folder from `assets.open_kit`. Raises AssetsError if something is missing from it."""
        self._spec = mujoco.MjSpec()
        self._spec.visual.quality.offsamples = 0
        self._spec.visual.global_.offwidth = max_size_px
        self._spec.visual.global_.offheight = max_size_px
        self._spec.stat.extent = 1.0
        self._spec.visual.map.znear = 0.02
        self._spec.visual.map.zfar = 20.0
        light = self._spec.worldbody.add_light()
        light.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
        light.pos, light.dir, light.castshadow = [0, 0, 3], [0, 0, -1], False
        for surface in SURFACES:
            self._add_surface(kit, surface)
        canvas = np.zeros((ART_PX, ART_PX, 3), np.uint8)
        for kind in ("table", "wall", "floor"):
            self._add_texture(f"art/{kind}/2d", canvas, is_cube=False)
        self._add_texture("art/table/cube", canvas, is_cube=True)
        for room in (*TRAIN_ROOMS, HELD_OUT_ROOM):
            origin = np.array(ROOM_ORIGINS_M[room])
            body = self._spec.worldbody.add_body(name=f"room/{room}", pos=(-origin).tolist())
            self._add_parts(body, f"room/{room}", load_parts(kit / f"rooms/{room}.npz"))
        for item in OBJECTS:
            body = self._spec.worldbody.add_body(name=f"object/{item.key}", mocap=True)
            self._add_parts(body, f"object/{item.key}", load_parts(kit / f"objects/{item.key}.npz"))
        self._add_hand(kit)
        for place in range(MAX_PIECES):
            body = self._spec.worldbody.add_body(name=f"furniture/{place}", mocap=True)
            for shape in SHAPES:
                geom = body.add_geom(type=_GEOMS[shape], contype=0, conaffinity=0, group=HIDDEN, mass=0)
                geom.name, geom.size = f"furniture/{place}/{shape}", [0.1, 0.1, 0.1]
        self.model = self._spec.compile()
        self.data = mujoco.MjData(self.model)
        self._index()

    def dress(self, look: Look, items: list[int]) -> list[int]:
        """Show one room with one look and only these objects.

        Returns the textures that were painted anew, for the renderer to upload.
        """
        model = self.model
        self._group(self._bodies_of("room/"), HIDDEN)
        self._group([model.body(f"room/{look.room}").id], SHOWN)
        self._group(self._bodies_of("object/"), HIDDEN)
        self._group([self._object_body(item) for item in items], SHOWN)
        self._turn_room(look)
        self._group(self._bodies_of("furniture/"), HIDDEN)
        for place, piece in enumerate(look.furniture):
            self._place_furniture(place, piece)
        painted: dict[int, Art] = {}
        for material, kind in self._room_materials[look.room]:
            surface = {"table": look.table, "wall": look.wall, "floor": look.floor}[kind]
            texture = self._surface_texture(material, kind, surface)
            model.mat_texid[material, _RGB] = texture
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
        model.vis.headlight.ambient[:] = look.ambient
        model.vis.headlight.diffuse[:] = 0.3
        model.vis.headlight.specular[:] = 0.05
        return list(painted)

    def place_object(self, item: int, position: np.ndarray, yaw_rad: float) -> None:
        """Stand an object with the middle of its base at `position` (metres)."""
        mocap = self.model.body_mocapid[self._object_body(item)]
        self.data.mocap_pos[mocap] = position
        self.data.mocap_quat[mocap] = [np.cos(yaw_rad / 2), 0, 0, np.sin(yaw_rad / 2)]

    def place_hand(self, pose: HandPose) -> None:
        """Put the hand into a pose, and the sleeve between its wrist and the viewer's elbow."""
        model, data = self.model, self.data
        mocap = model.body_mocapid[self._hand_body]
        data.mocap_pos[mocap] = pose.position
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, pose.rotation.flatten())
        data.mocap_quat[mocap] = quat
        shown = round(float(np.clip(pose.grip, 0, 1)) * (NUM_GRIPS - 1))
        for index, geom in enumerate(self._grips):
            model.geom_group[geom] = SHOWN if index == shown else HIDDEN
        wrist = pose.position + pose.rotation @ np.array([WRIST_X_M - 0.028, 0, 0])
        arm = wrist - ELBOW_M
        length = float(np.linalg.norm(arm))
        mocap = model.body_mocapid[self._sleeve_body]
        data.mocap_pos[mocap] = (wrist + ELBOW_M) / 2
        mujoco.mju_quatZ2Vec(quat, arm / length)
        data.mocap_quat[mocap] = quat
        model.geom_size[self._sleeve_geom, :2] = [SLEEVE_RADIUS_M, length / 2]

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

    def _add_surface(self, kit: Path, surface: str) -> None:
        file = kit / f"surfaces/{surface}.jpg"
        if not file.is_file():
            raise AssetsError(f"{file}: missing from the kit. Pack the kit again.")
        pixels = np.asarray(Image.open(file).convert("RGB"))
        self._add_texture(f"surface/{surface}/2d", pixels, is_cube=False)
        self._add_texture(f"surface/{surface}/cube", pixels, is_cube=True)

    def _add_texture(self, name: str, pixels: np.ndarray, *, is_cube: bool) -> None:
        texture = self._spec.add_texture(name=name)
        if is_cube:
            side = min(pixels.shape[:2])
            pixels = np.concatenate([pixels[:side, :side]] * 6)
        texture.type = mujoco.mjtTexture.mjTEXTURE_CUBE if is_cube else mujoco.mjtTexture.mjTEXTURE_2D
        texture.height, texture.width, texture.nchannel = pixels.shape
        texture.data = np.ascontiguousarray(pixels).tobytes()

    def _add_parts(self, body: Any, prefix: str, parts: list[Part]) -> None:
        for index, part in enumerate(parts):
            name = f"{prefix}/{index}/{part.name}"
            material = self._spec.add_material(name=name)
            material.rgba, material.specular = part.rgba, min(part.specular, 0.3)
            material.shininess, material.reflectance = part.shininess, 0.0
            material.texrepeat, material.texuniform = part.tex_repeat, part.tex_uniform
            if part.texture is not None:
                self._add_texture(name, part.texture, is_cube=part.tex_is_cube)
                textures = list(material.textures)
                textures[_RGB] = name
                material.textures = textures
            geom = body.add_geom(type=_GEOMS[part.kind], contype=0, conaffinity=0, group=HIDDEN, mass=0)
            geom.material = name
            if part.kind == "mesh":
                self._add_mesh(name, part.vertices, part.faces, part.uv, part.face_uv)
                geom.meshname = name
            else:
                geom.size, geom.pos, geom.quat = part.size, part.pos, part.quat

    def _add_mesh(
        self, name: str, vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray, face_uv: np.ndarray
    ) -> None:
        mesh = self._spec.add_mesh(name=name)
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
        mesh.uservert, mesh.userface = vertices.flatten(), faces.flatten()
        if len(uv):
            mesh.usertexcoord, mesh.userfacetexcoord = uv.flatten(), face_uv.flatten()

    def _add_hand(self, kit: Path) -> None:
        tone = np.linspace(0, 1, 64)
        ramp = np.stack([0.70 + 0.30 * tone, 0.60 + 0.44 * tone, 0.56 + 0.48 * tone], axis=-1)
        self._add_texture("hand", np.tile(np.uint8(np.clip(ramp, 0, 1) * 255), (8, 1, 1)), is_cube=False)
        skin = self._spec.add_material(name="hand")
        skin.specular, skin.shininess = 0.08, 0.2
        textures = list(skin.textures)
        textures[_RGB] = "hand"
        skin.textures = textures
        body = self._spec.worldbody.add_body(name="hand", mocap=True)
        for index in range(NUM_GRIPS):
            file = kit / f"hand/{index}.npz"
            if not file.is_file():
                raise AssetsError(f"{file}: missing from the kit. Pack the kit again.")
            with np.load(file) as arrays:
                faces = arrays["faces"].astype(np.int32)
                uv = np.stack([arrays["shade"], np.full_like(arrays["shade"], 0.5)], axis=1)
                self._add_mesh(f"hand/{index}", arrays["vertices"], faces, uv, faces)
            geom = body.add_geom(type=_GEOMS["mesh"], contype=0, conaffinity=0, group=HIDDEN, mass=0)
            geom.name, geom.meshname, geom.material = f"hand/{index}", f"hand/{index}", "hand"
        cloth = self._spec.add_material(name="sleeve")
        cloth.specular, cloth.shininess = 0.02, 0.1
        sleeve = self._spec.worldbody.add_body(name="sleeve", mocap=True)
        geom = sleeve.add_geom(type=_GEOMS["capsule"], contype=0, conaffinity=0, group=SHOWN, mass=0)
        geom.name, geom.material, geom.size = "sleeve", "sleeve", [SLEEVE_RADIUS_M, 0.2, 0]

    def _index(self) -> None:
        model = self.model
        self._hand_body, self._sleeve_body = model.body("hand").id, model.body("sleeve").id
        self._sleeve_geom = model.geom("sleeve").id
        self._grips = [model.geom(f"hand/{index}").id for index in range(NUM_GRIPS)]
        self._own_texture = model.mat_texid[:, _RGB].copy()
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
