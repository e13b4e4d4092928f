"""Narration subtitles (.srt, .vtt, .ass, .ssa): every cue is a remark, or a question with its answer. By pysubs2."""

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pysubs2

from train.recordings.record import RecordingsError, Spoken, in_order, one_line, read_text, refuse_all

SUBTITLE_SUFFIXES = (".srt", ".vtt", ".ass", ".ssa")
_ARROW = "-->"
_TIMES = {
    ".srt": re.compile(r"\d{1,2}:\d{1,2}:\d{1,2}[.,]\d{1,3}"),
    ".vtt": re.compile(r"(?:\d{1,4}:)?\d{2}:\d{2}\.\d{2,3}"),
}
_EXAMPLES = {".srt": "00:00:12,500 --> 00:00:14,000", ".vtt": "00:00:12.500 --> 00:00:14.000"}
_KARAOKE = re.compile(r"<[\d:.]+>")
_ASKED = re.compile(r"^\s*(?:q|question|user)\s*:\s*(?P<asked>.*)$", re.IGNORECASE | re.DOTALL)
_ANSWERED = re.compile(r"(?:^|\s)(?:a|answer|assistant)\s*:\s*(?P<answer>.*)$", re.IGNORECASE | re.DOTALL)


def read_subtitles(path: Path) -> tuple[Spoken, ...]:
    """All cues of a subtitle file, in order of time; markup and line breaks are gone, empty cues left out.

    A cue "Q: … A: …" or "User: … Assistant: …", on one line or more, is a question with its answer.
    Raises RecordingsError with a line for every mistake.
    """
    cues = _read_ass(path) if path.suffix.lower() in (".ass", ".ssa") else _read_cues(path)
    spoken, mistakes = [], []
    for start_s, end_s, text, where in cues:
        if start_s > end_s:
            mistakes.append(f"{where}: the cue starts at {start_s:g} s, after its end at {end_s:g} s; correct it")
            continue
        try:
            spoken += parse_cue(text, start_s, where)
        except RecordingsError as error:
            mistakes.append(str(error))
    refuse_all(mistakes)
    return in_order(spoken)


def parse_cue(text: str, time_s: float, where: str) -> list[Spoken]:
    """What a cue's plain text says: one thing, or nothing. Raises RecordingsError for half a question."""
    text = _KARAOKE.sub("", text).strip()
    asked = _ASKED.match(text)
    if not asked:
        if _ANSWERED.match(text):
            raise RecordingsError(f"{where}: {one_line(text)!r} answers no question; write it as Q: … A: …")
        return [Spoken(time_s, one_line(text), where=where)] if text else []
    answered = _ANSWERED.search(asked["asked"])
    question = one_line(asked["asked"][: answered.start()] if answered else asked["asked"])
    answer = one_line(answered["answer"]) if answered else ""
    if not question or not answer:
        raise RecordingsError(f"{where}: {one_line(text)!r} is half a question; write it as Q: … A: …")
    return [Spoken(time_s, answer, question, where)]


def _read_cues(path: Path) -> Iterator[tuple[float, float, str, str]]:
    """(start, end, text, where) of each cue of an .srt or .vtt file."""
    suffix = path.suffix.lower()
    lines = read_text(path).splitlines()
    refuse_all(_malformed(path, lines))
    numbers = [number for number, line in enumerate(lines, 1) if _ARROW in line]
    subtitles = pysubs2.SSAFile.from_string("\n".join(_cue_lines(lines)), format_=suffix[1:])
    for number, cue in zip(numbers, subtitles, strict=True):
        yield cue.start / 1000, cue.end / 1000, html.unescape(cue.plaintext), f"{path}:{number}"


def _malformed(path: Path, lines: list[str]) -> list[str]:
    """What the library would pass over in silence: times it cannot read, and in .srt text that belongs to no cue."""
    suffix = path.suffix.lower()
    mistakes = []
    is_inside = False
    for number, line in enumerate(lines, 1):
        if _ARROW in line:
            is_inside = True
            if len(_TIMES[suffix].findall(line)) != 2 or "-" in line.split(_ARROW)[0]:
                mistakes.append(f"{path}:{number}: {line.strip()!r} is no time of a cue; write {_EXAMPLES[suffix]}")
        elif not line.strip():
            is_inside = False
        elif suffix == ".srt" and not is_inside and not line.strip().isdigit():
            mistakes.append(f"{path}:{number}: {line.strip()!r} belongs to no cue; remove the empty line before it")
    return mistakes


def _cue_lines(lines: list[str]) -> Iterator[str]:
    """The lines of the cues alone: without headers, notes, styles, and names of cues."""
    is_inside = False
    for line in lines:
        is_inside = _ARROW in line or (is_inside and bool(line.strip()))
        yield line if is_inside else ""


def _read_ass(path: Path) -> Iterator[tuple[float, float, str, str]]:
    """(start, end, text, where) of each line of dialogue of an .ass or .ssa file."""
    text = read_text(path)
    numbers = [n for n, line in enumerate(text.splitlines(), 1) if line.strip().startswith(("Dialogue:", "Comment:"))]
    try:
        subtitles = pysubs2.SSAFile.from_string(text, format_=path.suffix.lower()[1:])
    except (ValueError, TypeError, KeyError) as error:
        raise RecordingsError(f"{path}: cannot be read as subtitles: {error}; save it anew from its editor") from None
    for number, cue in zip(numbers, subtitles, strict=True):
        if cue.is_text:
            yield cue.start / 1000, cue.end / 1000, cue.plaintext, f"{path}:{number}"
