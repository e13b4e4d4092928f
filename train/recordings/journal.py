"""A journal that the assistant wrote, as things to learn: its remarks and answers, put right where the user did so.

The lines are those of `onlooker watch --json`: {"time", "kind": "remark" | "query" | "answer", "text"}, others are
passed over; a "video" in a line says which video it is of, else it is the one named like the journal beside it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.video.endings import VIDEO_SUFFIXES
from train.recordings.corrections import Correction, correct, names, read_correction
from train.recordings.lines import Line, read_lines
from train.recordings.record import Readout, Recording, RecordingsError, Spoken, in_order

CORRECTED_WITHIN_S = 20.0
JUST_BEFORE_S = 0.05
"""A remark follows its event by up to a frame: to be said at the same frame again, the event lies just before it."""

SPEECH = ("remark", "query", "answer")
_PASSED_OVER = ("frame", "end")


@dataclass(frozen=True)
class KeptLine:
    """One thing that was said. kind: "remark", "query" or "answer". time_s: seconds in the stream."""

    time_s: float
    kind: str
    text: str
    where: str


@dataclass
class _Said:
    """A remark or an answer, as it stands after the corrections so far. text: None once it is taken back."""

    said_s: float
    original: str
    text: str | None
    question: KeptLine | None
    where: str

    def spoken(self) -> list[Spoken]:
        if self.text is None:
            return []
        if self.question is None:
            return [Spoken(max(0.0, round(self.said_s - JUST_BEFORE_S, 3)), self.text, where=self.where)]
        return [Spoken(self.question.time_s, self.text, self.question.text, self.where)]


def read_journal(path: Path) -> Readout:
    """The recordings of a journal, corrections applied. Raises RecordingsError with a line for every mistake."""
    by_video: dict[Path, list[KeptLine]] = defaultdict(list)
    for made in read_lines(path, lambda line: _journal_line(line, path)):
        if made:
            video, said = made
            by_video[video].append(said)
    recordings, warnings = [], []
    for video, lines in by_video.items():
        spoken, doubts = apply_corrections(lines)
        recordings.append(Recording(video, spoken))
        warnings += doubts
    return Readout(tuple(recordings), tuple(warnings))


def apply_corrections(lines: Sequence[KeptLine]) -> tuple[tuple[Spoken, ...], list[str]]:
    """What is to be learned of one video's journal, in order of time, and warnings about what was not understood.

    A correction within 20 s of a remark or an answer changes it or takes it back. The words of the correction, and
    what was answered to them, are not learned.
    """
    said: list[_Said] = []
    warnings: list[str] = []
    asked: KeptLine | None = None
    for line in sorted(lines, key=lambda line: line.time_s):  # lines that were added by hand may stand anywhere
        if line.kind == "remark":
            said.append(_Said(line.time_s, line.text, line.text, None, line.where))
        elif line.kind == "answer":
            if asked:
                said.append(_Said(line.time_s, line.text, line.text, asked, line.where))
            asked = None
        else:
            recent = [s for s in reversed(said) if 0 <= line.time_s - s.said_s <= CORRECTED_WITHIN_S]
            is_denied = bool(recent) and recent[0].text is None
            correction = read_correction(line.text, after_denial=is_denied)
            asked = line if correction is None else None
            if correction:
                warnings += _put_right(recent, correction, line)
    return in_order(s for one in said for s in one.spoken()), warnings


def _put_right(recent: Sequence[_Said], correction: Correction, line: KeptLine) -> list[str]:
    """Change or take back what was said last, or the last that names the wrong thing; returns warnings."""
    if not recent:
        return [f"{line.where}: {line.text!r} corrects nothing that was said in the {CORRECTED_WITHIN_S:g} s before"]
    wrong = correction.wrong
    target = next((s for s in recent if wrong and names(s.text or s.original, wrong)), recent[0])
    before = target.text or target.original
    target.text = correct(before, correction)
    if target.text is None and (correction.right is not None or not correction.is_clear):
        return [f"{line.where}: {line.text!r} is not understood as a correction of {before!r}, which is left out"]
    return []


def _journal_line(line: Line, path: Path) -> tuple[Path, KeptLine] | None:
    kind = line.values.get("kind")
    if kind in _PASSED_OVER:
        return None
    if kind not in SPEECH:
        raise RecordingsError(f'{line.where}: "kind" is {kind!r}; must be one of {", ".join((*SPEECH, *_PASSED_OVER))}')
    said = KeptLine(line.time_s(), kind, line.words("text"), line.where)
    return (line.video(path.parent) if "video" in line.values else _video_beside(path, line.where)), said


def _video_beside(path: Path, where: str) -> Path:
    for suffix in VIDEO_SUFFIXES:
        for name in (path.with_suffix(suffix), path.with_suffix(suffix.upper())):
            if name.is_file():
                return name
    raise RecordingsError(
        f'{where}: names no video, and there is none beside it; add "video" to the line, or put {path.stem}.mp4 there'
    )
