"""What several commands share: the configuration option, questions to a person, files that are not to be lost."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.runtime.folders import absolute

if TYPE_CHECKING:
    from assistant.config.settings import Settings
    from model.published import Fit

Values = dict[tuple[str, str], str | float | bool]
"""What is to be written, by section and key of the configuration."""


UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_SPAN_S = 1000 * 365 * 86400.0


def span_s(text: str) -> float:
    """ "2h" → 7200. Raises ArgumentTypeError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number and s, m, h or d, such as 2h")
    return min(float(match[1]) * UNITS_S[match[2]], MAX_SPAN_S)


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """--config FILE."""
    parser.add_argument(
        "--config", metavar="FILE", type=absolute, help="configuration file (see `onlooker config path`)"
    )


def settings_of(args: argparse.Namespace, overrides: Mapping[str, tuple[str, Any]] | None = None) -> Settings:
    """The configuration in effect for this command line. Raises ConfigError."""
    from assistant.config.settings import load_settings

    return load_settings(args.config, overrides)


def overrides_of(args: argparse.Namespace, options: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """What was given on the command line, for `settings_of`. options: their names to "section.key"."""
    given = vars(args)
    return {key: (f"--{name}", given[name]) for name, key in options.items() if given[name] is not None}


def inputs_of(settings: Settings) -> dict[str, Path]:
    """What an output may not be, by what it is: the user's own files, and those of the model."""
    from assistant.config.paths import own_files
    from assistant.mind.opening import checkpoint_path

    checkpoint = checkpoint_path(settings.config.model.name)
    return own_files(settings) | ({"the folder of the model": checkpoint} if isinstance(checkpoint, Path) else {})


def keys_of(name: str, fit: Fit | None) -> Values:
    """What the configuration says of a checkpoint that fits so; fit: None for one that runs anywhere, as it is."""
    from assistant.config.keys import Config
    from model.published import PUBLISHED

    defaults = Config()
    return {
        ("model", "name"): name,
        ("model", "weights"): fit.weights if fit else defaults.model.weights,
        ("stream", "fps"): PUBLISHED[name].fps if name in PUBLISHED else defaults.stream.fps,
        ("stream", "silence_threshold"): defaults.stream.silence_threshold,
        ("stream", "window_tokens"): fit.window_tokens if fit else defaults.stream.window_tokens,
    }


def changes(values: Values, settings: Settings) -> Values:
    """Those that are not so already; of a checkpoint that stays the same, what was set for it stays, too, but for the
    format of its weights.
    """
    config, name = settings.config, ("model", "name")
    if values.get(name) == config.model.name:
        values = {key: v for key, v in values.items() if key[0] != "stream"}
    return {(section, key): v for (section, key), v in values.items() if getattr(getattr(config, section), key) != v}


def show_value(value: str | float | bool) -> str:
    """As it stands in the file."""
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def confirms(question: str, unanswered: str) -> bool:
    """Whether a person says yes. unanswered: "y" or "n", what an empty line means; nobody there means no."""
    try:
        return (input(question).strip().lower() or unanswered) in ("y", "yes")
    except EOFError:
        print()
        return False
