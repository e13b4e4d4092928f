"""A journal's lines as files for others: JSONL for `python -m train prepare`, SRT, and Markdown to read.

Each writes to a text stream that the caller opens and closes; `entries` come oldest first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TextIO

from assistant.journal.reading import Entry
from assistant.runtime.subtitles import reading_s, srt_cue
from model.video.endings import VIDEO_SUFFIXES

UNSAID = "broken off, and not all of it heard"


def write_jsonl(entries: Iterable[Entry], out: TextIO, *, video: str | None = None) -> None:
    """One object a line, as `onlooker watch --json` prints them, with "at" (UTC, ISO 8601) and "source" added.

    video: the file these lines are of, relative to where the list will lie; by default the source, where its name is
    that of a video. Notes are left out: they were neither said nor asked; so are lines without words.
    """
    for entry in entries:
        if entry.kind in ("note", "unsaid") or not entry.text.strip():
            continue
        record = {
            "time": round(max(0.0, entry.time_s), 3),
            "kind": entry.kind,
            "text": entry.text,
            "silence_prob": None if entry.silence_prob is None else round(entry.silence_prob, 6),
            "at": datetime.fromtimestamp(entry.at_unix_s, UTC).isoformat(timespec="milliseconds"),
            "source": entry.source,
        }
        named = video or (entry.source if PurePath(entry.source).suffix.lower() in VIDEO_SUFFIXES else None)
        if named is not None:
            record["video"] = named
        out.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_srt(entries: Iterable[Entry], out: TextIO) -> None:
    """What was said, as subtitles at the position in the stream.

    A time that falls means that the stream was begun again: its cues follow after those of the run before.
    """
    cues: list[tuple[float, str]] = []
    offset_s = last_s = 0.0
    for entry in entries:
        if entry.kind not in ("remark", "answer"):
            continue
        if cues and entry.time_s < last_s:
            offset_s = cues[-1][0] + reading_s(cues[-1][1])
        last_s = entry.time_s
        cues.append((offset_s + max(0.0, entry.time_s), " ".join(entry.text.split())))
    nexts = [start_s for start_s, _ in cues[1:]] + [float("inf")]
    for number, ((start_s, text), next_s) in enumerate(zip(cues, nexts, strict=True), 1):
        out.write(srt_cue(number, start_s, next_s, text))


def write_markdown(entries: Iterable[Entry], out: TextIO) -> None:
    """A log to read: a heading a day, one an hour, a line for each thing said; local time. Questions are bold, answers
    stand under them.
    """
    day = hour = ""
    question_id: int | None = None
    for entry in entries:
        at = datetime.fromtimestamp(entry.at_unix_s)
        if f"{at:%Y-%m-%d}" != day:
            out.write(f"{'' if not day else chr(10)}# {at:%Y-%m-%d}\n")
            day, hour = f"{at:%Y-%m-%d}", ""
        if f"{at:%H}" != hour:
            hour = f"{at:%H}"
            out.write(f"\n## {hour}:00\n\n")
            question_id = None
        text = re.sub(r"([\\`*_\[\]<>#|~])", r"\\\1", " ".join(entry.text.split()))
        indent = "  " if entry.kind == "answer" and entry.query_id is not None and entry.query_id == question_id else ""
        marked = {
            "query": f"**{text}**",
            "note": f"*{text}*",
            "unsaid": f"*{UNSAID}: {text}*",
            "answer": f"→ {text}",
        }.get(entry.kind, text)
        out.write(f"{indent}- {at:%H:%M} {marked}\n")
        question_id = entry.id if entry.kind == "query" else question_id if indent else None
