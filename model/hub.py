"""Files and whole repositories from the model hub, through its own client: its settings, cache and resume hold.

Everything runs in the calling thread; the client shows its own bars for large files.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.errors import WeightsError

TIMEOUT_S = 20.0
# The same weights in other formats would double the download for nothing.
LEFT_OUT = ["original/*", "*.pth", "*.msgpack", "*.h5", "*.onnx"]


@contextmanager
def _hub_errors(what: str) -> Iterator[None]:
    """Turn whatever the hub's client raises into one WeightsError; no space left stays an OSError.

    Its retry notices are held back meanwhile: the one message at the end says what there is to say.
    """
    from huggingface_hub.utils import logging as notices

    verbosity = notices.get_verbosity()
    notices.set_verbosity_error()
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{what}: the model hub says: {first_line.rstrip('.')}") from error
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


def fetch_snapshot(repository: str) -> Path:
    """The folder in the hub's cache that holds `repository`, whole; what is missing is downloaded.

    Raises WeightsError if the hub does not answer, even when something lies in the cache.
    """
    with _hub_errors(repository):
        from huggingface_hub import HfApi, snapshot_download

        # Asked first, because the client would silently give a half-filled cache when the hub is out of reach.
        revision = HfApi().model_info(repository, timeout=TIMEOUT_S).sha
        return Path(snapshot_download(repository, revision=revision, ignore_patterns=LEFT_OUT))
