"""SubRip (.srt) text: cues that stay for as long as reading takes, and no longer than until the next one."""

from __future__ import annotations

MIN_CUE_S = 1.5
CUE_S_PER_CHARACTER = 0.06
MIN_SHOWN_S = 0.1


def reading_s(text: str) -> float:
    """For how long a line is to be shown, in seconds."""
    return max(MIN_CUE_S, CUE_S_PER_CHARACTER * len(text))


def srt_cue(number: int, start_s: float, next_s: float, text: str) -> str:
    """One cue. number: from 1 on. next_s: when the next one begins; infinity for the last."""
    end_s = min(start_s + reading_s(text), max(next_s, start_s + MIN_SHOWN_S))
    return f"{number}\n{srt_time(start_s)} --> {srt_time(end_s)}\n{text}\n\n"


def srt_time(time_s: float) -> str:
    """12.5 → "00:00:12,500"."""
    milliseconds = round(time_s * 1000)
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{milliseconds:03d}"
