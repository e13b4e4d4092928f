"""Files and whole repositories from the model hub, through its own client: its settings, cache and resume hold.

Everything runs in the calling thread, but for what the client does in threads of its own.
"""

import errno
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model.errors import HubUnreachable, WeightsError
from model.fetching import file_sha256

TIMEOUT_S = 20.0
# The same weights in other formats would double the download for nothing.
LEFT_OUT = ["original/*", "*.pth", "*.msgpack", "*.h5", "*.onnx", "*.gguf"]
_OF_THE_DISK = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT, errno.EIO)
_SHA256 = re.compile("[0-9a-f]{64}")

OnBytes = Callable[[int], None]
"""Called with the bytes that have come so far."""


@contextmanager
def _hub_errors(what: str) -> Iterator[None]:
    """Turn whatever the hub's client raises into one WeightsError; no space left stays an OSError.

    Its retry notices are held back meanwhile: the one message at the end says what there is to say.
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
    from huggingface_hub.utils import logging as notices

    verbosity = notices.get_verbosity()
    notices.set_verbosity_error()
    try:
        yield
    except WeightsError:
        raise
    except GatedRepoError as error:
        raise WeightsError(
            f"{what}: its owners want its licence to be accepted first; do that on its page on the model hub, log in "
            "here (`hf auth login`), and try again"
        ) from error
    except RepositoryNotFoundError as error:
        raise WeightsError(
            f"{what}: the model hub has no such repository, or shows it to some alone (`hf auth login`)"
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            reason = f"{error.filename or cache_folder()}: {error.strerror}"
            raise WeightsError(f"{what}: cannot be kept: {reason}; set $HF_HOME to a folder of yours") from error
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise HubUnreachable(f"{what}: the model hub says: {first_line.rstrip('.')}") from error
    finally:
        notices.set_verbosity(verbosity)


def fetch_hub_file(repository: str, revision: str, filename: str, into: Path) -> Path:
    """One file of a hub repository, in the folder `into`; a broken-off download goes on where it stopped."""
    with _hub_errors(f"{repository}/{filename}"):
        from huggingface_hub import HfApi, hf_hub_download

        HfApi().model_info(repository, timeout=TIMEOUT_S)  # at once says so if the hub is out of reach
        return Path(hf_hub_download(repository, filename, revision=revision, local_dir=into))


def cached_snapshot(repository: str) -> Path | None:
    """The folder in the hub's cache that holds `repository`, as much of it as has come; needs no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    with _hub_errors(repository):
        try:
            return Path(snapshot_download(repository, local_files_only=True))
        except LocalEntryNotFoundError:
            return None


def missing_bytes(repository: str) -> int:
    """What `fetch_snapshot` would still have to bring. Raises WeightsError, for a licence not accepted for example."""
    with _hub_errors(repository):
        from huggingface_hub import HfApi, auth_check, snapshot_download

        HfApi().model_info(repository, timeout=TIMEOUT_S)
        auth_check(repository)
        files: Any = snapshot_download(
            repository, ignore_patterns=LEFT_OUT, dry_run=True, tqdm_class=_counting(lambda _: None)
        )
        return sum(file.file_size or 0 for file in files if file.will_download)


def fetch_snapshot(repository: str, on_bytes: OnBytes | None = None) -> Path:
    """The folder in the hub's cache that holds `repository`, whole; what is missing is downloaded, and looked through.

    Raises WeightsError if the hub does not answer, even when something lies in the cache, and for a file that came
    otherwise than the hub describes it: that one is removed.
    """
    with _hub_errors(repository):
        from huggingface_hub import HfApi, snapshot_download

        # Asked first, because the client would silently give a half-filled cache when the hub is out of reach.
        revision = HfApi().model_info(repository, timeout=TIMEOUT_S).sha
        bars = _counting(on_bytes) if on_bytes else None
        folder = snapshot_download(repository, revision=revision, ignore_patterns=LEFT_OUT, tqdm_class=bars)
        _remove_damaged(Path(folder), repository)
        return Path(folder)


def forget(repository: str) -> bool:
    """Remove a repository from the hub's cache; whether it was there. Raises OSError."""
    folder = cache_folder() / f"models--{repository.replace('/', '--')}"
    if not folder.is_dir():
        return False
    shutil.rmtree(folder.resolve())  # it may be a link to a larger disk
    if folder.is_symlink():
        folder.unlink()
    return True


def cache_folder() -> Path:
    """Where the hub's client keeps what it brings."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _remove_damaged(folder: Path, repository: str) -> None:
    """The client looks at sizes alone. A file of the large kind is called by its SHA-256 in its cache."""
    for path in sorted(folder.rglob("*")):
        blob = path.resolve()
        if path.is_file() and _SHA256.fullmatch(blob.name) and file_sha256(blob) != blob.name:
            path.unlink()
            blob.unlink(missing_ok=True)
            raise WeightsError(f"{repository}: {path.name} came damaged (wrong SHA-256), and is removed; try again")


def _counting(on_bytes: OnBytes) -> Any:
    """A progress bar for the client that shows nothing, and tells of its bytes."""
    from tqdm import tqdm

    class Counting(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            desc = str(options.get("desc"))
            self._counts, self._num_bytes = options.get("unit") == "B" and desc != "Downloading bytes", 0
            super().__init__(*args, **options | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            if self._counts:
                self._num_bytes += int(n or 0)
                on_bytes(self._num_bytes)

    return Counting
