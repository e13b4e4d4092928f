"""Puts the tabletop world together: one MuJoCo specification of every room, object, fixture, surface, hand, stand-in.

Everything is made hidden (geometry group HIDDEN); `world.py` shows what a clip needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco as untyped_mujoco
import numpy as np
from PIL import Image

from train.tabletop.art import ART_PX
from train.tabletop.assets import AssetsError, Surface, hands_of, load_parts
from train.tabletop.catalog import FIXTURES, OBJECTS, STOVE, SURFACES, TAP, Fixture
from train.tabletop.furniture import MAX_PIECES, SHAPES
from train.tabletop.hand import NUM_GRIPS
from train.tabletop.motion import LEFT, RIGHT, SLEEVE_RADIUS_M
from train.tabletop.scenery import HELD_OUT_ROOM, TRAIN_ROOMS

mujoco: Any = untyped_mujoco  # it comes without types

SHOWN, HIDDEN = 1, 5
HAND_NAMES = {RIGHT: "right", LEFT: "left"}
RGB = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
GEOMS = {
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


def build_spec(kit: Path, *, max_size_px: int) -> Any:
    """An MjSpec, ready to compile. kit: the folder from `assets.open_kit`. Raises AssetsError if it lacks something."""
    spec = mujoco.MjSpec()
    spec.visual.quality.offsamples = 0
    spec.visual.global_.offwidth = max_size_px
    spec.visual.global_.offheight = max_size_px
    spec.stat.extent = 1.0
    spec.visual.map.znear = 0.02
    spec.visual.map.zfar = 20.0
    spec.visual.map.shadowclip = 0.6
    light = spec.worldbody.add_light()
    light.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    light.pos, light.dir, light.castshadow = [0, 0, 3], [0, 0, -1], False
    lamp = spec.worldbody.add_light()
    lamp.type, lamp.pos, lamp.active, lamp.castshadow = mujoco.mjtLightType.mjLIGHT_SPOT, [0, 0, 1], False, False
    lamp.cutoff, lamp.exponent = 75.0, 2.0
    for surface in SURFACES:
        _add_surface(spec, kit, surface)
    canvas = np.zeros((ART_PX, ART_PX, 3), np.uint8)
    for kind in ("table", "wall", "floor"):
        _add_texture(spec, f"art/{kind}/2d", canvas, is_cube=False)
    _add_texture(spec, "art/table/cube", canvas, is_cube=True)
    for room in (*TRAIN_ROOMS, HELD_OUT_ROOM):
        origin = np.array(ROOM_ORIGINS_M[room])
        body = spec.worldbody.add_body(name=f"room/{room}", pos=(-origin).tolist())
        add_parts(spec, body, f"room/{room}", load_parts(kit / f"rooms/{room}.npz"))
    for item in OBJECTS:
        body = spec.worldbody.add_body(name=f"object/{item.key}", mocap=True)
        add_parts(spec, body, f"object/{item.key}", load_parts(kit / f"objects/{item.key}.npz"))
    for number, fixture in enumerate(FIXTURES):
        parts = load_parts(kit / f"fixtures/{fixture.key}.npz")
        for name, moves in (("", False), ("/part", True)):
            body = spec.worldbody.add_body(name=f"fixture/{fixture.key}{name}", mocap=True)
            add_parts(spec, body, f"fixture/{fixture.key}{name}", [part for part in parts if part.moves == moves])
        if number in (STOVE, TAP):
            _add_effect(spec, fixture)
    _add_hands(spec, kit)
    body = spec.worldbody.add_body(name="stream", mocap=True)
    _add_plain(spec, body, "stream", "capsule", [0.005, 0.05, 0], (0.75, 0.80, 0.86))
    for place in range(MAX_PIECES):
        body = spec.worldbody.add_body(name=f"furniture/{place}", mocap=True)
        for shape in SHAPES:
            geom = body.add_geom(type=GEOMS[shape], contype=0, conaffinity=0, group=HIDDEN, mass=0)
            geom.name, geom.size = f"furniture/{place}/{shape}", [0.1, 0.1, 0.1]
    return spec


def _add_surface(spec: Any, kit: Path, surface: str) -> None:
    file = kit / f"surfaces/{surface}.jpg"
    if not file.is_file():
        raise AssetsError(f"{file}: missing from the kit. Pack the kit again.")
    pixels = np.asarray(Image.open(file).convert("RGB"))
    _add_texture(spec, f"surface/{surface}/2d", pixels, is_cube=False)
    _add_texture(spec, f"surface/{surface}/cube", pixels, is_cube=True)


def _add_texture(spec: Any, name: str, pixels: np.ndarray, *, is_cube: bool) -> None:
    texture = spec.add_texture(name=name)
    if is_cube:
        side = min(pixels.shape[:2])
        pixels = np.concatenate([pixels[:side, :side]] * 6)
    texture.type = mujoco.mjtTexture.mjTEXTURE_CUBE if is_cube else mujoco.mjtTexture.mjTEXTURE_2D
    texture.height, texture.width, texture.nchannel = pixels.shape
    texture.data = np.ascontiguousarray(pixels).tobytes()


def add_parts(spec: Any, body: Any, prefix: str, parts: list[Surface]) -> None:
    """Put the surfaces of one baked thing on a body, hidden, each with its material and picture."""
    for index, part in enumerate(parts):
        name = f"{prefix}/{index}/{part.name}"
        material = spec.add_material(name=name)
        material.rgba, material.specular = part.rgba, min(part.specular, 0.3)
        material.shininess, material.reflectance = part.shininess, 0.0
        material.texrepeat, material.texuniform = part.tex_repeat, part.tex_uniform
        if part.texture is not None:
            _add_texture(spec, name, part.texture, is_cube=part.tex_is_cube)
            textures = list(material.textures)
            textures[RGB] = name
            material.textures = textures
        geom = body.add_geom(type=GEOMS[part.kind], contype=0, conaffinity=0, group=HIDDEN, mass=0)
        geom.material = name
        if part.kind == "mesh":
            add_mesh(spec, name, part.vertices, part.faces, part.uv, part.face_uv)
            geom.meshname = name
        else:
            geom.size, geom.pos, geom.quat = part.size, part.pos, part.quat


def add_mesh(
    spec: Any, name: str, vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray, face_uv: np.ndarray
) -> None:
    """Add a triangle mesh; uv may be empty."""
    mesh = spec.add_mesh(name=name)
    mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    mesh.uservert, mesh.userface = vertices.flatten(), faces.flatten()
    if len(uv):
        mesh.usertexcoord, mesh.userfacetexcoord = uv.flatten(), face_uv.flatten()


def _add_effect(spec: Any, fixture: Fixture) -> None:
    """What is to be seen when a stove or a tap is on: a ring that glows, water that runs. A tap has its basin, too."""
    name = f"fixture/{fixture.key}"
    glowing = spec.worldbody.add_body(name=f"{name}/on", mocap=True)
    if fixture.kind == "knob":
        _add_plain(spec, glowing, f"{name}/on", "cylinder", [0.056, 0.0012, 0], (0.95, 0.18, 0.06),
                   at=(0.0, 0.044, 0.0365), glow=0.8)  # fmt: skip
        return
    basin = spec.worldbody.add_body(name=f"{name}/basin", mocap=True)
    _add_plain(spec, basin, f"{name}/basin", "cylinder", [0.055, 0.002, 0], (0.22, 0.24, 0.26), at=(0.072, 0.0, 0.001))
    _add_plain(spec, glowing, f"{name}/water", "cylinder", [0.006, 0.042, 0], (0.70, 0.82, 0.95),
               at=(0.068, 0.0, 0.044), glow=0.25)  # fmt: skip
    _add_plain(spec, glowing, f"{name}/pool", "cylinder", [0.045, 0.0005, 0], (0.60, 0.75, 0.90),
               at=(0.072, 0.0, 0.0036), glow=0.15)  # fmt: skip


def _add_plain(
    spec: Any,
    body: Any,
    name: str,
    kind: str,
    size: list[float],
    colour: tuple[float, float, float],
    *,
    at: tuple[float, float, float] = (0.0, 0.0, 0.0),
    glow: float = 0.0,
) -> None:
    """A shape of one colour on a body; glow: how much of it shines by itself."""
    material = spec.add_material(name=name)
    material.rgba, material.emission, material.specular = [*colour, 1], glow, 0.2
    geom = body.add_geom(type=GEOMS[kind], contype=0, conaffinity=0, group=HIDDEN, mass=0)
    geom.name, geom.material, geom.size, geom.pos = name, name, size, list(at)


def grip_name(side: str, hand: int, grip: int) -> str:
    """What a hand's mesh and geom are called."""
    return f"hand/{side}/{hand}/{grip}"


def _add_hands(spec: Any, kit: Path) -> None:
    """Right hands in all their grips, and left ones that are their mirror images; a sleeve for each side."""
    hands = hands_of(kit)
    tone = np.linspace(0, 1, 64)
    ramp = np.stack([0.70 + 0.30 * tone, 0.60 + 0.44 * tone, 0.56 + 0.48 * tone], axis=-1)
    _add_texture(spec, "hand", np.tile(np.uint8(np.clip(ramp, 0, 1) * 255), (8, 1, 1)), is_cube=False)
    skin = spec.add_material(name="hand")
    skin.specular, skin.shininess = 0.08, 0.2
    textures = list(skin.textures)
    textures[RGB] = "hand"
    skin.textures = textures
    cloth = spec.add_material(name="sleeve")
    cloth.specular, cloth.shininess = 0.02, 0.1
    for side, name in HAND_NAMES.items():
        body = spec.worldbody.add_body(name=f"hand/{name}", mocap=True)
        for hand in hands:
            folder = kit / (f"bodies/{hand - 1}" if hand else "hand")
            for index in range(NUM_GRIPS):
                grip = grip_name(name, hand, index)
                vertices, faces, uv = _load_grip(folder / f"{index}.npz", side)
                add_mesh(spec, grip, vertices, faces, uv, faces)
                geom = body.add_geom(type=GEOMS["mesh"], contype=0, conaffinity=0, group=HIDDEN, mass=0)
                geom.name, geom.meshname, geom.material = grip, grip, "hand"
        sleeve = spec.worldbody.add_body(name=f"sleeve/{name}", mocap=True)
        geom = sleeve.add_geom(type=GEOMS["capsule"], contype=0, conaffinity=0, group=SHOWN, mass=0)
        geom.name, geom.material, geom.size = f"sleeve/{name}", "sleeve", [SLEEVE_RADIUS_M, 0.2, 0]


def _load_grip(file: Path, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, faces and picture coordinates of one grip of one hand."""
    if not file.is_file():
        raise AssetsError(f"{file}: missing from the kit. Pack the kit again.")
    with np.load(file) as arrays:
        vertices, faces = arrays["vertices"], arrays["faces"].astype(np.int32)
        uv = np.stack([arrays["shade"], np.full_like(arrays["shade"], 0.5)], axis=1)
    if side == LEFT:  # mirrored, and so that faces still turn outwards
        vertices, faces = vertices * np.array([1, -1, 1], vertices.dtype), faces[:, ::-1]
    return vertices, np.ascontiguousarray(faces), uv
