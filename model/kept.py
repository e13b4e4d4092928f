"""Quantized decoders on disk, so that a second start reads a quarter of the bytes and rounds nothing.

One folder each, `data_dir()/quantized/NAME-ORIGIN-FORMAT-FINGERPRINT`, sealed by a manifest (`model.manifest`): the
tensors of a `model.fused.FusedDecoder`. The fingerprint is of the files that it was made from, as they lie on this
machine; with other files it is made anew, and what is of no use any more is deleted. Whoever opens a model calls this,
in its thread.
"""

import contextlib
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model import manifest
from model.catalog import SPARE_BYTES
from model.tensors import first_line

log = logging.getLogger("onlooker.weights")

FORMAT = 1
"""Counts on with every change of what the tensors of a fused decoder mean."""
DRAFT, LOCK = ".draft", ".lock"
_PART_BYTES = 1 << 30
_MADE_FROM = ("*.json", "*.safetensors", "*.gguf", "*.bin")


def place(root: Path, name: str, weights: str, dtype: torch.dtype, sources: Iterable[Path]) -> Path:
    """The folder for a decoder that is made of the files in the folders `sources`, whether it is there or not."""
    folders = [str(folder.resolve()) for folder in sources]
    facts = [str(FORMAT), weights, str(dtype)]
    for path in _files(map(Path, folders)):
        stat = path.stat()
        facts.append(f"{path} {stat.st_size} {stat.st_mtime_ns}")
    shown = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80]
    return root / f"{shown}-{_hash(folders)}-{weights}-{_hash(facts)}"


def _hash(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def load(folder: Path, device: torch.device) -> dict[str, Tensor] | None:
    """The tensors kept in `folder`, on `device`; None if there are none, or a file is missing or of another size."""
    if not manifest.is_sealed(folder):
        return None
    tensors: dict[str, Tensor] = {}
    try:
        if not manifest.damaged_files(folder, full=False):
            for part in sorted(folder.glob("part-*.safetensors")):
                tensors |= load_file(part, device=str(device))
            return tensors
    except OSError as error:
        log.warning("%s: cannot be read: %s; the decoder is quantized anew", folder, first_line(error))
        return None
    except SafetensorError as error:
        log.debug("%s: %s", folder, error)
    log.warning("%s: damaged; the decoder is quantized anew", folder)
    shutil.rmtree(folder, ignore_errors=True)
    return None


def save(folder: Path, tensors: dict[str, Tensor], sources: Iterable[Path]) -> bool:
    """Keep the tensors in `folder`, made from `sources` as for `place`; False if they cannot be, with a line in the
    log.

    What was made of the same folders before is deleted, in whatever format, and what has no sources any more. One
    process at a time keeps something; the others go without.
    """
    root, size = folder.parent, sum(tensor.nbytes for tensor in tensors.values())
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root) as is_ours:
            if not is_ours:
                log.info("%s: another process is keeping its weights there", root)
                return False
            _sweep(root, folder)
            if shutil.disk_usage(root).free < size + SPARE_BYTES:
                log.warning(
                    "%s: no room for the quantized weights (%.1f GB); each start makes them anew", root, size / 1e9
                )
                return False
            log.info("keeping the quantized weights (%.1f GB) in %s", size / 1e9, folder)
            _write(root / DRAFT, tensors, sources)
            shutil.rmtree(folder, ignore_errors=True)
            (root / DRAFT).replace(folder)
            manifest.sync_folder(root)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(root / DRAFT, ignore_errors=True)
        log.warning("%s: cannot be written: %s; each start quantizes the weights anew", folder, first_line(error))
        return False
    return True


def _write(draft: Path, tensors: dict[str, Tensor], sources: Iterable[Path]) -> None:
    draft.mkdir()
    for number, part in enumerate(_parts(tensors)):
        save_file(part, draft / f"part-{number:02}.safetensors")
    manifest.seal(draft, {"sources": json.dumps([str(path) for path in _files(sources)])})


def sweep(root: Path) -> None:
    """Delete what is kept of sources that are gone, and what a start that was killed has left. Raises OSError."""
    if root.is_dir():
        with _locked(root) as is_ours:
            if is_ours:
                _sweep(root, None)


def _sweep(root: Path, replaced_by: Path | None) -> None:
    family = None if replaced_by is None else _family(replaced_by)
    for folder in root.iterdir():
        is_useless = folder.name == DRAFT or _family(folder) == family or not _has_sources(folder)
        if is_useless and folder.name != LOCK:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[bool]:
    """Whether no other process keeps or sweeps there; it is kept so meanwhile."""
    from filelock import FileLock, Timeout

    lock = FileLock(root / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _family(folder: Path) -> str:
    """What is the same of all that is made of the same folders."""
    return folder.name.rsplit("-", 2)[0]


def _has_sources(folder: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        facts = json.loads((folder / manifest.MANIFEST).read_text(encoding="utf-8"))
        return all(Path(path).is_file() for path in json.loads(facts["sources"]))
    return False


def _files(folders: Iterable[Path]) -> list[Path]:
    """The files that a decoder is made of, where they truly lie: of a hub's snapshots, named by their content."""
    found = {path.resolve() for folder in folders for kind in _MADE_FROM for path in folder.glob(kind)}
    return sorted(path for path in found if path.is_file())


def _parts(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors in files of about a gibibyte, so that no more of them is in the CPU's memory at a time."""
    part: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if part and sum(other.nbytes for other in part.values()) + tensor.nbytes > _PART_BYTES:
            yield part
            part = {}
        part[name] = tensor.contiguous()
    yield part
