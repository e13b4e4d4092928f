"""What several commands share: the configuration option, and a bar for downloads."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assistant.settings import Settings
    from model.fetching import Progress


def add_config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", type=Path, help="configuration file (see `onlooker config path`)")


def settings_of(args: argparse.Namespace, overrides: Mapping[str, tuple[str, Any]] | None = None) -> Settings:
    """The configuration in effect for this command line. Raises ConfigError."""
    from assistant.settings import load_settings

    return load_settings(args.config, overrides)


def overrides_of(args: argparse.Namespace, options: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """What was given on the command line, for `settings_of`. options: their names to "section.key"."""
    given = vars(args)
    return {key: (f"--{name}", given[name]) for name, key in options.items() if given[name] is not None}


def journal_path() -> Path:
    """Where the journal lies: $ONLOOKER_DATA/journal, else the user's data directory."""
    from platformdirs import user_data_path

    override = os.environ.get("ONLOOKER_DATA")
    data = Path(override).expanduser() if override else user_data_path("onlooker")
    return data / "journal" / "journal.db"


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
