"""Lists of what is to be said, one JSON object a line, and how any such file is read: all mistakes at once."""

import json
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from train.recordings.record import Recording, RecordingsError, Spoken, in_order, one_line, read_text, refuse_all

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """One line of a JSONL file. where: file and number. values: its object."""

    where: str
    values: dict[str, Any]

    def time_s(self) -> float:
        """The value of "time", in seconds. Raises RecordingsError."""
        value = self.values.get("time")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise RecordingsError(f'{self.where}: "time" is {json.dumps(value)}; write seconds, such as "time": 12.5')
        if value < 0:
            raise RecordingsError(f'{self.where}: "time" is {value}; must not be before the start of the video')
        return float(value)

    def words(self, key: str) -> str:
        """The text under `key`, on one line. Raises RecordingsError if there is none."""
        value = self.values.get(key)
        if not isinstance(value, str) or not value.strip():
            raise RecordingsError(f'{self.where}: "{key}" is {json.dumps(value)}; write a text, or remove the line')
        return one_line(value)

    def video(self, folder: Path) -> Path:
        """The file under "video", relative to `folder`. Raises RecordingsError if there is none."""
        video = folder / self.words("video")
        if not video.is_file():
            raise RecordingsError(f"{self.where}: {video} is not there; name the video relative to {folder}")
        return video


def read_lines(path: Path, make: Callable[[Line], T]) -> list[T]:
    """What `make` makes of each line's object, in order; empty lines are passed over.

    Raises RecordingsError with what is wrong with each line, be it no JSON or refused by `make`.
    """
    made, mistakes = [], []
    for number, text in enumerate(read_text(path).splitlines(), 1):
        if not text.strip():
            continue
        where = f"{path}:{number}"
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            mistakes.append(f"{where}: is no JSON: {error.msg} at column {error.colno}; one object a line is expected")
            continue
        if not isinstance(values, dict):
            mistakes.append(f'{where}: {text.strip()[:40]!r} is no object; write {{"video": …, "time": …, "text": …}}')
            continue
        try:
            made.append(make(Line(where, values)))
        except RecordingsError as error:
            mistakes.append(str(error))
    refuse_all(mistakes)
    return made


def read_list(path: Path) -> tuple[Recording, ...]:
    """The recordings of a list, by video in order of first mention.

    Its lines are {"video", "time", "text"} or {"video", "time", "question", "answer"}. Raises RecordingsError.
    """
    by_video: dict[Path, list[Spoken]] = defaultdict(list)
    for video, spoken in read_lines(path, lambda line: (line.video(path.parent), _spoken(line))):
        by_video[video].append(spoken)
    return tuple(Recording(video, in_order(spoken)) for video, spoken in by_video.items())


def _spoken(line: Line) -> Spoken:
    is_remark, is_asked = "text" in line.values, "question" in line.values or "answer" in line.values
    if is_remark == is_asked:
        what = 'both "text" and a question' if is_remark else 'neither "text" nor "question"'
        raise RecordingsError(f'{line.where}: has {what}; write "text", or "question" and "answer"')
    if is_remark:
        return Spoken(line.time_s(), line.words("text"), where=line.where)
    return Spoken(line.time_s(), line.words("answer"), line.words("question"), line.where)
