"""Small files of the user's alone, such as what was switched: whole at any moment, after a power cut too."""

from __future__ import annotations

import os
from pathlib import Path


def write_small(path: Path, text: str) -> None:
    """Put a text in a file's place: whoever reads it finds the old one or the new one. Raises OSError.

    A folder that is missing is made. One thread at a time.
    """
    draft = path.with_name(f"{path.name}.draft")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft.touch(mode=0o600)
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
