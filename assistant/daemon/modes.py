"""What the user has switched: paused, private, muted. Kept in a file: no restart opens a camera that was closed.

Owned by the thread that answers requests; the others read `now`, which is replaced and never changed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from assistant.errors import OutputError
from assistant.runtime.small_files import write_small


@dataclass(frozen=True)
class Modes:
    paused: bool = False
    private: bool = False
    muted: bool = False


class ModesFile:
    """Use: `now`; `switch`. path: None keeps them in memory alone.

    A file that cannot be understood counts as paused and private: whatever it said, nothing is seen or kept unasked.
    trouble: what was wrong with it, or "".
    """

    def __init__(self, path: Path | None):
        self.now = Modes()
        self.trouble = ""
        self._path = path
        if path is None or not path.exists():
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if not (isinstance(found, dict) and all(isinstance(value, bool) for value in found.values())):
                raise ValueError("not switches")
            self.now = Modes(**found)
        except (OSError, ValueError, TypeError) as error:
            self.now = Modes(paused=True, private=True)
            self.trouble = f"{path}: cannot be read ({error}); paused and private until you say otherwise"

    def switch(self, **changes: bool) -> None:
        """Change some of them: at once, and then on disk. Raises OutputError if a restart would not know."""
        self.now = replace(self.now, **changes)
        if self._path is None:
            return
        try:
            write_small(self._path, json.dumps(asdict(self.now)))
        except OSError as error:
            raise OutputError(
                f"{self._path}: cannot be written ({error.strerror}): done, but a restart will not know of it"
            ) from None
