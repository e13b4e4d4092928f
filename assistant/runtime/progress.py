"""What a user sees of a download."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.fetching import Progress


class PullBar:
    """A progress bar on stderr for weights that are being fetched; one line a stage where nobody watches."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._shown: tuple[str, str] | None = None

    def __enter__(self) -> PullBar:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def update(self, progress: Progress) -> None:
        """Show where it is now."""
        from tqdm import tqdm

        if self._shown != (progress.name, progress.stage):
            self._close()
            self._shown = (progress.name, progress.stage)
            if sys.stderr.isatty():
                label = f"{progress.stage} {progress.name}"
                self._bar = tqdm(total=progress.total or None, desc=label, unit="B", unit_scale=True, leave=True)
            else:
                print(f"{progress.stage} {progress.name} …", file=sys.stderr, flush=True)
        if self._bar is not None:
            self._bar.total = progress.total or None
            self._bar.update(progress.done - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
