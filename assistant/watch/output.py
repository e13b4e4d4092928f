"""What a run looks like to the user: lines for people, JSON for programs, subtitles. Main thread, but for `warn`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from assistant.errors import OutputError
from assistant.runtime.messages import Asked, Seen
from assistant.runtime.subtitles import srt_cue
from assistant.runtime.text import printable
from assistant.watch.tally import Tally
from model.outputs import begin


class Terminal:
    """`[00:12.5] You pick up the red mug.` on out; warnings, the progress bar and the summary on err.

    is_paced: in real time; only then does a frame's latency mean anything to a person.
    """

    def __init__(self, out: TextIO, err: TextIO, *, has_bar: bool, is_paced: bool = True):
        self._out, self._err = out, err
        self._is_paced = is_paced
        self._has_bar = has_bar
        self._bar: Any = None

    def opened(self, duration_s: float | None) -> None:
        if self._has_bar and duration_s is not None:
            from tqdm import tqdm

            form = "{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"
            self._bar = tqdm(total=duration_s, file=self._err, bar_format=form, leave=False, mininterval=0)

    def seen(self, seen: Seen) -> None:
        if self._bar is not None:
            self._bar.update(min(seen.time_s, self._bar.total) - self._bar.n)

    def frame(self, seen: Seen) -> None:
        mark = "speaks" if seen.decision.speaks else "silent"
        self._print(f"[{clock(seen.time_s)}] {mark}, p(silence) = {seen.decision.silence_prob:.3f}", self._out)

    def query(self, asked: Asked) -> None:
        self._print(f"[{clock(asked.time_s)}] ? {printable(asked.query.text)}", self._out)

    def reply(self, time_s: float, text: str, *, is_answer: bool, silence_prob: float | None, latency_s: float) -> None:
        self._print(f"[{clock(time_s)}] {'→ ' if is_answer else ''}{printable(text)}", self._out)

    def warn(self, text: str) -> None:
        """Any thread may call."""
        self._print(f"onlooker: warning: {text}", self._err)

    def end(self, tally: Tally, num_dropped: int, speech: str | None) -> None:
        if self._bar is not None:
            self._bar.close()
        silent = tally.silent_latency_ms(alone=True)
        has_latency = self._is_paced and silent["p50"] is not None
        latency = "" if not has_latency else f"; a silent frame took {silent['p50']} ms (p95 {silent['p95']})"
        print(
            f"{tally.num_frames} frames at {tally.fps:.1f} fps, {num_dropped} dropped; {tally.num_remarks} remarks, "
            f"{tally.num_answers} answers{latency}; peak memory {tally.memory.megabytes:.0f} MB",
            file=self._err,
        )
        if speech is not None:
            print(f"speech: {printable(speech)}", file=self._err, flush=True)

    def _print(self, line: str, file: TextIO) -> None:
        if self._bar is not None:
            self._bar.write(line, file=file)
            file.flush()
        else:
            print(line, file=file, flush=True)


class JsonLines:
    """One JSON object a line on out; warnings on err."""

    def __init__(self, out: TextIO, err: TextIO):
        self._out, self._err = out, err

    def opened(self, duration_s: float | None) -> None:
        pass

    def seen(self, seen: Seen) -> None:
        pass

    def frame(self, seen: Seen) -> None:
        self._write(seen.time_s, "frame", None, seen.decision.silence_prob, seen.latency_s, index=seen.index)

    def query(self, asked: Asked) -> None:
        self._write(asked.time_s, "query", asked.query.text, None, None)

    def reply(self, time_s: float, text: str, *, is_answer: bool, silence_prob: float | None, latency_s: float) -> None:
        self._write(time_s, "answer" if is_answer else "remark", text, silence_prob, latency_s)

    def warn(self, text: str) -> None:
        """Any thread may call."""
        print(f"onlooker: warning: {text}", file=self._err, flush=True)

    def end(self, tally: Tally, num_dropped: int, speech: str | None) -> None:
        record = {
            "time": round(tally.last_time_s, 3),
            "kind": "end",
            "text": None,
            "silence_prob": None,
            "latency_ms": tally.silent_latency_ms(),
            "latency_alone_ms": tally.silent_latency_ms(alone=True),
            "frames": tally.num_frames,
            "unfamiliar_frames": tally.num_unfamiliar_frames,
            "fps": round(tally.fps, 2),
            "remarks": tally.num_remarks,
            "answers": tally.num_answers,
            "dropped_frames": num_dropped,
            "peak_memory_mb": round(tally.memory.megabytes, 1),
            "speech": speech,
        }
        print(json.dumps(record, ensure_ascii=False), file=self._out, flush=True)

    def _write(
        self,
        time_s: float,
        kind: str,
        text: str | None,
        silence_prob: float | None,
        latency_s: float | None,
        index: int | None = None,
    ) -> None:
        record: dict[str, Any] = {"time": round(time_s, 3), "kind": kind, "text": text}
        record["silence_prob"] = None if silence_prob is None else round(silence_prob, 6)
        record["latency_ms"] = None if latency_s is None else round(latency_s * 1000, 1)
        if index is not None:
            record["index"] = index
        print(json.dumps(record, ensure_ascii=False), file=self._out, flush=True)


Output = Terminal | JsonLines


class Subtitles:
    """An SRT file: each reply from its moment on, for as long as reading takes or until the next one.

    Nothing is written before there is something to write: an old file is not lost to a run that fails.
    """

    def __init__(self, path: Path):
        """path: absolute; see `model.outputs.check`."""
        self._path = path
        self._file: BinaryIO | None = None
        self._held: tuple[float, str] | None = None
        self._num_cues = 0

    def add(self, time_s: float, text: str) -> None:
        """Times must not fall. Raises OutputError."""
        self._write_held(time_s)
        self._held = (time_s, text)

    def close(self, *, is_whole: bool) -> None:
        """Write what is held back. is_whole: the run came to its end, so that an empty file says that nothing was said;
        otherwise an old file stays. Twice is fine. Raises OutputError.
        """
        self._write_held(float("inf"))
        if is_whole:
            self._write("")
        try:
            if self._file is not None:
                self._file.close()
        except OSError as error:
            raise self._failed(error) from None

    def _write_held(self, next_s: float) -> None:
        if self._held is None:
            return
        start_s, text = self._held
        self._held = None
        self._num_cues += 1
        self._write(srt_cue(self._num_cues, start_s, next_s, text))

    def _write(self, text: str) -> None:
        if self._file is None:
            self._file = begin(self._path)
        try:
            if text:
                self._file.write(text.encode("utf-8", "replace"))
                self._file.flush()
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path}: cannot be written: {error.strerror}; what was written before is there")


def clock(time_s: float) -> str:
    """12.5 → "00:12.5"; 3725 → "1:02:05.0"."""
    tenths = int(time_s * 10 + 1e-6)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes:02d}"
    return f"{head}:{rest // 10:02d}.{rest % 10}"


def make_output(*, is_json: bool, is_paced: bool) -> Output:
    """The output for this terminal; the progress bar only where a person watches stderr."""
    if is_json:
        return JsonLines(sys.stdout, sys.stderr)
    return Terminal(sys.stdout, sys.stderr, has_bar=sys.stderr.isatty(), is_paced=is_paced)
