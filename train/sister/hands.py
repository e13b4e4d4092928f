"""The sister world's hands as triangle meshes, from open to closed. Pure numpy; runs in the caller's thread.

Two hands, neither of which is the tabletop world's: "jointed", a wooden lay figure's, made of plain shapes here, and
"scanned", the skinned generic hand of the WebXR input profiles (npm `@webxr-input-profiles/assets`, MIT), read from its
`right.glb`. Hand coordinates are the tabletop world's: metres, x towards the finger tips, y towards the thumb, z out
of the back of a right hand, the origin in the middle of the palm.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.tabletop.assets import AssetsError
from train.tabletop.shapes import Solid, mesh

NUM_GRIPS = 7
SCANNED, JOINTED = "scanned", "jointed"
HANDS = (SCANNED, JOINTED)
WRIST_M = np.array([-0.075, 0.0, 0.0])
_FINGERS = ("index-finger", "middle-finger", "ring-finger", "pinky-finger")
_BONES = ("metacarpal", "phalanx-proximal", "phalanx-intermediate", "phalanx-distal", "tip")
_BENDS_RAD = {"phalanx-proximal": 0.85, "phalanx-intermediate": 1.05, "phalanx-distal": 0.6}


@dataclass(frozen=True)
class GripMesh:
    """vertices V x 3 metres, faces F x 3, turned outwards."""

    vertices: np.ndarray
    faces: np.ndarray


def make_grips(hand: str, scan: Path | None) -> list[GripMesh]:
    """A right hand at NUM_GRIPS grips from open to closed. scan: the scanned hand's .glb. Raises AssetsError."""
    grips = np.linspace(0, 1, NUM_GRIPS)
    if hand == JOINTED:
        return [_jointed(float(grip)) for grip in grips]
    if scan is None or not scan.is_file():
        raise AssetsError(
            f"{scan}: the scanned hand is not there; unpack dist/profiles/generic-hand/right.glb of "
            "`npm pack @webxr-input-profiles/assets@1.0.20` and give it by --scan, or leave --scan out"
        )
    skin = _read_skin(scan)
    return [skin.posed(float(grip)) for grip in grips]


# ---- the lay figure's --------------------------------------------------------------------------------------------


def _jointed(grip: float) -> GripMesh:
    pieces = [_piece("box", np.array([-0.008, 0, 0]), np.array([1.0, 0, 0]), (0.043, 0.038, 0.012))]
    for base_y, length in ((0.030, 0.96), (0.010, 1.08), (-0.010, 1.0), (-0.029, 0.80)):
        point, bend = np.array([0.040, base_y, 0.0]), 0.10
        for bone_m, turn in ((0.046, 0.75), (0.030, 0.90), (0.024, 0.55)):
            bend += 0.12 + turn * grip
            ahead = np.array([np.cos(bend), 0.12 * np.sign(base_y) * (1 - grip), -np.sin(bend)])
            ahead /= np.linalg.norm(ahead)
            pieces.append(
                _piece("ellipsoid", point + ahead * bone_m * length / 2, ahead, (0.60 * bone_m, 0.0088, 0.0088))
            )
            point = point + ahead * bone_m * length
    point, out, down = np.array([-0.030, 0.030, -0.004]), 0.85 - 0.35 * grip, 0.15 + 0.75 * grip
    for bone_m, turn in ((0.042, 0.0), (0.036, 0.15), (0.028, 0.3)):
        heading = out - turn
        ahead = np.array([np.cos(heading) * np.cos(down), np.sin(heading) * np.cos(down), -np.sin(down)])
        pieces.append(_piece("ellipsoid", point + ahead * bone_m / 2, ahead, (0.62 * bone_m, 0.0115, 0.0105)))
        point = point + ahead * bone_m
    return _joined(pieces)


def _piece(kind: str, middle: np.ndarray, along: np.ndarray, half_m: tuple[float, float, float]) -> GripMesh:
    """One plain shape, its first axis turned along a direction."""
    vertices, faces = mesh(Solid(kind, half_m, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)))
    side = np.cross([0.0, 0.0, 1.0], along)
    side = side / np.linalg.norm(side) if np.linalg.norm(side) > 1e-6 else np.array([0.0, 1.0, 0.0])
    turn = np.stack([along, side, np.cross(along, side)], axis=1)
    return GripMesh(vertices @ turn.T + middle, faces)


def _joined(pieces: list[GripMesh]) -> GripMesh:
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces[:-1])])
    vertices = np.concatenate([piece.vertices for piece in pieces]).astype(np.float32)
    return GripMesh(
        vertices, np.concatenate([p.faces + s for p, s in zip(pieces, starts, strict=True)]).astype(np.int32)
    )


# ---- the scanned one ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Skin:
    """A skinned mesh at rest in hand coordinates. joints: each one's place; weights: V x J."""

    vertices: np.ndarray
    faces: np.ndarray
    weights: np.ndarray
    names: list[str]
    joints: np.ndarray

    def posed(self, grip: float) -> GripMesh:
        """The mesh with its fingers bent and its thumb under them."""
        vertices = np.zeros_like(self.vertices)
        moves = self._moves(grip)
        for index, name in enumerate(self.names):
            turn, shift = moves[name]
            vertices += self.weights[:, index : index + 1] * (self.vertices @ turn.T + shift)
        return GripMesh(vertices.astype(np.float32), self.faces)

    def _moves(self, grip: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """For each joint the rigid move (turn, shift) of what hangs on it, from the rest pose."""
        still = np.eye(3), np.zeros(3)
        moves = dict.fromkeys(self.names, still)
        for finger in _FINGERS:
            self._bend(moves, finger, _BONES, {bone: 0.10 + angle * grip for bone, angle in _BENDS_RAD.items()}, still)
        under = _turn_about(np.array([1.0, 0.0, 0.0]), -0.9 * grip)
        root = self.joints[self.names.index("thumb-metacarpal")]
        start = under, root - under @ root
        moves["thumb-metacarpal"] = start
        bones = ("metacarpal", "phalanx-proximal", "phalanx-distal", "tip")
        self._bend(moves, "thumb", bones, {"phalanx-proximal": 0.35 * grip, "phalanx-distal": 0.5 * grip}, start)
        return moves

    def _bend(
        self,
        moves: dict[str, tuple[np.ndarray, np.ndarray]],
        finger: str,
        bones: tuple[str, ...],
        angles_rad: dict[str, float],
        start: tuple[np.ndarray, np.ndarray],
    ) -> None:
        turn, shift = start
        for bone, tip in zip(bones[1:], (*bones[2:], bones[-1]), strict=True):
            here, there = (self.joints[self.names.index(f"{finger}-{name}")] for name in (bone, tip))
            if bone in angles_rad:
                ahead = (there - here) / np.linalg.norm(there - here)
                inwards = np.array([0.0, 0.0, 1.0]) if finger != "thumb" else np.array([0.0, 1.0, 0.3])
                axis = np.cross(inwards, ahead)
                bend = _turn_about(axis / np.linalg.norm(axis), angles_rad[bone])
                turn, shift = turn @ bend, turn @ (here - bend @ here) + shift
            moves[f"{finger}-{bone}"] = turn, shift


def _turn_about(axis: np.ndarray, angle_rad: float) -> np.ndarray:
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle_rad) * cross + (1 - np.cos(angle_rad)) * cross @ cross


def _read_skin(path: Path) -> _Skin:
    """The mesh of a binary glTF whose joints are named as WebXR names them. Raises AssetsError."""
    try:
        content = path.read_bytes()
        (length,) = struct.unpack_from("<I", content, 12)
        scene = json.loads(content[20 : 20 + length])
        binary = content[28 + length :]
        skin, primitive = scene["skins"][0], scene["meshes"][0]["primitives"][0]
        names = [scene["nodes"][joint]["name"] for joint in skin["joints"]]

        def read(accessor: int) -> np.ndarray:
            entry = scene["accessors"][accessor]
            view = scene["bufferViews"][entry["bufferView"]]
            width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[entry["type"]]
            kind = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}[entry["componentType"]]
            start = view.get("byteOffset", 0) + entry.get("byteOffset", 0)
            return np.frombuffer(binary, kind, entry["count"] * width, start).reshape(entry["count"], width)

        attributes = primitive["attributes"]
        vertices, faces = read(attributes["POSITION"]).astype(float), read(primitive["indices"]).reshape(-1, 3)
        bound, shares = read(attributes["JOINTS_0"]), read(attributes["WEIGHTS_0"])
        inverse = read(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    except (OSError, ValueError, KeyError, IndexError, struct.error) as error:
        raise AssetsError(f"{path}: cannot be read as a skinned hand (binary glTF): {error!r}") from error
    joints = np.linalg.inv(inverse)[:, :3, 3]
    weights = np.zeros((len(vertices), len(names)))
    np.add.at(weights, (np.arange(len(vertices))[:, None], bound.astype(int)), shares)
    weights /= weights.sum(axis=1, keepdims=True)
    place = dict(zip(names, joints, strict=True))
    wrist, middle = place["wrist"], place["middle-finger-phalanx-proximal"]
    ahead = (middle - wrist) / np.linalg.norm(middle - wrist)
    thumb = place["index-finger-phalanx-proximal"] - place["pinky-finger-phalanx-proximal"]
    thumb = thumb - ahead * (thumb @ ahead)
    thumb /= np.linalg.norm(thumb)
    axes = np.stack([ahead, thumb, np.cross(ahead, thumb)])
    origin = wrist + 0.60 * (middle - wrist)
    return _Skin((vertices - origin) @ axes.T, faces.astype(np.int32), weights, names, (joints - origin) @ axes.T)
