"""What every reader gives: a video and what is to be said in it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from model.errors import OnlookerError

MAX_MISTAKES = 20


class RecordingsError(OnlookerError):
    """A recording, its narration or its journal cannot be used as it is; the message has a line for every mistake."""

    exit_code = 2


@dataclass(frozen=True)
class Spoken:
    """One thing to be said: a remark on what happens at `time_s`, or the answer to a `question` asked then.

    time_s: seconds on the video's own clock, as players show them. where: file and line it was read from, for messages.
    """

    time_s: float
    text: str
    question: str | None = None
    where: str = ""


@dataclass(frozen=True)
class Recording:
    """A video and all that is to be said in it, in order of time."""

    video: Path
    spoken: tuple[Spoken, ...]


@dataclass(frozen=True)
class Readout:
    """What a source holds, and what a person should know about it."""

    recordings: tuple[Recording, ...]
    warnings: tuple[str, ...] = ()


def in_order(spoken: Iterable[Spoken]) -> tuple[Spoken, ...]:
    """By time; what was written first stays first where times are equal."""
    return tuple(sorted(spoken, key=lambda s: s.time_s))


def one_line(text: str) -> str:
    """The text without line breaks and doubled spaces."""
    return " ".join(text.split())


def refuse_all(mistakes: list[str]) -> None:
    """Raise RecordingsError with a line for every mistake, the first twenty of them; nothing if there are none."""
    if not mistakes:
        return
    more = [f"… and {len(mistakes) - MAX_MISTAKES} more"] if len(mistakes) > MAX_MISTAKES else []
    raise RecordingsError("\n".join(mistakes[:MAX_MISTAKES] + more))


def read_text(path: Path) -> str:
    """A UTF-8 text file, with or without a byte order mark. Raises RecordingsError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RecordingsError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise RecordingsError(f"{path}: is not UTF-8 at byte {error.start}; save it as UTF-8") from None
