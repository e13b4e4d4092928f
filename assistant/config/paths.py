"""Where the assistant keeps what it writes by itself, besides the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assistant.config.settings import Settings


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


def standing_path() -> Path:
    """What the user has asked to be told, over restarts."""
    return modes_path().with_name("standing.json")


def own_files(settings: Settings) -> dict[str, Path]:
    """Files and folders that no command may write over by mistake, by what they are."""
    from assistant.config.settings import sources_path, user_config_path
    from model.weights import data_dir

    return {
        "the configuration": settings.path or user_config_path(),
        "the file of your sources": sources_path(),
        "the journal": journal_path(),
        "the folder of the journal": journal_path().parent,
        "the token for /metrics": token_path(),
        "the file of what is paused": modes_path(),
        "the file of what is watched for": standing_path(),
        "the folder of the weights": data_dir(),
    }
