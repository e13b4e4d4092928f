"""What several commands share: the configuration option, and a bar for downloads."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.folders import absolute

if TYPE_CHECKING:
    from assistant.config import VoiceSection
    from assistant.settings import Settings
    from assistant.speech.voice import Voice
    from model.fetching import Progress


def add_config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", metavar="FILE", type=absolute, help="configuration file (see `onlooker config path`)"
    )


def settings_of(args: argparse.Namespace, overrides: Mapping[str, tuple[str, Any]] | None = None) -> Settings:
    """The configuration in effect for this command line. Raises ConfigError."""
    from assistant.settings import load_settings

    return load_settings(args.config, overrides)


def overrides_of(args: argparse.Namespace, options: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """What was given on the command line, for `settings_of`. options: their names to "section.key"."""
    given = vars(args)
    return {key: (f"--{name}", given[name]) for name, key in options.items() if given[name] is not None}


def confirms(question: str, unanswered: str) -> bool:
    """Whether a person says yes. unanswered: "y" or "n", what an empty line means; nobody there means no."""
    try:
        return (input(question).strip().lower() or unanswered) in ("y", "yes")
    except EOFError:
        print()
        return False


def journal_path() -> Path:
    """Where the journal lies: beside the named weights."""
    from model.weights import data_dir

    return data_dir().parent / "journal" / "journal.db"


def token_path() -> Path:
    """Where the token for /metrics lies."""
    return journal_path().parent.parent / "metrics-token"


def modes_path() -> Path:
    """Where the daemon keeps what was paused, muted or private."""
    return journal_path().parent.parent / "modes.json"


def program_version() -> str:
    """Of the installed package."""
    try:
        return metadata.version("onlooker")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def open_voice(
    section: VoiceSection,
    automatic: Path | None,
    stop: threading.Event,
    warn: Callable[[str], object],
    *,
    is_file: bool = False,
    lossless: bool = False,
) -> Voice | None:
    """The voice that the configuration names, or None. automatic: the WAV file for where there is no sound device;
    None: nothing is heard there, and nothing written.
    """
    if not section.enabled or section.engine == "none":
        return None
    from assistant.speech.engines import open_engines
    from assistant.speech.player import open_player
    from assistant.speech.voice import Voice

    player = open_player(section.output, automatic, stop, is_file=is_file, lossless=lossless)
    return Voice(open_engines(section.engine, section.rate_wpm, section.volume, stop), player, warn)


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
