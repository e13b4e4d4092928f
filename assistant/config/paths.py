"""Where the assistant keeps what it writes by itself, besides the configuration."""

from __future__ import annotations

from pathlib import Path


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
