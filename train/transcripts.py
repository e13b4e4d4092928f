"""What a fitted model says to a few clips: read by a person at the end of a fit, before any score is.

From features alone, no pixels: one stream a clip, free-running at the checkpoint's threshold.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model.videolm import VideoLM
from train.clip import Clip, read_clip
from train.dialogue import Annotation, annotate
from train.features import FeatureFile
from train.scoring.freerun import FreeRun, free_run

FRAMES_AT_A_TIME = 10
MAX_REPLY_TOKENS = 40
CLIP_SECONDS = 10.0
"""A model that never stops talking is stopped then, at most ten frames late."""


@dataclass(frozen=True)
class Transcript:
    """One clip: what was true, and what was said until the time was up."""

    clip: str
    fps: float
    truth: Annotation
    run: FreeRun

    @property
    def is_cut_off(self) -> bool:
        """Whether not all frames were shown."""
        return len(self.run.silence_probs) < self.truth.num_frames


def transcribe(model: VideoLM, features_dir: Path, num_clips: int) -> list[Transcript]:
    """Run the first clips in `features_dir` in which something is said; of others, if there are not enough."""
    clips = {path: read_clip(path) for path in sorted(features_dir.glob("*.json"))}
    chosen = sorted(clips, key=lambda path: not annotate(clips[path]).utterances)[:num_clips]
    return [_transcribe(model, path, clips[path]) for path in chosen]


def _transcribe(model: VideoLM, path: Path, clip: Clip) -> Transcript:
    truth = annotate(clip)
    tokens = model.connect(FeatureFile(path.with_suffix(".safetensors"), model.num_frame_tokens, truth.num_frames)[0])
    questions = {u.frame: u.question for u in truth.utterances if u.question is not None}
    stream = model.open_stream(max_reply_tokens=MAX_REPLY_TOKENS)
    run = FreeRun([], [])
    until_s = time.monotonic() + CLIP_SECONDS
    while (start := len(run.silence_probs)) < len(tokens) and time.monotonic() < until_s:
        asked = {frame - start: text for frame, text in questions.items() if frame >= start}
        shown = tokens[start : start + FRAMES_AT_A_TIME]
        part = free_run(stream, shown, {frame: text for frame, text in asked.items() if frame < len(shown)})
        run.silence_probs.extend(part.silence_probs)
        run.said.extend(replace(said, frame=said.frame + start) for said in part.said)
    return Transcript(path.stem, clip.fps, truth, run)


def write_transcripts(transcripts: Sequence[Transcript], path: Path, *, title: str) -> None:
    """A table a clip, in Markdown: at each time what was true, what was asked, what was said."""
    path.write_text(f"# {title}\n\n" + "\n".join(_table(t) for t in transcripts), encoding="utf-8")


def _table(transcript: Transcript) -> str:
    true: dict[int, list[str]] = {}
    asked: dict[int, list[str]] = {}
    said: dict[int, list[str]] = {}
    for utterance in transcript.truth.utterances:
        true.setdefault(utterance.frame, []).append(utterance.text)
        if utterance.question is not None:
            asked.setdefault(utterance.frame, []).append(utterance.question)
    for spoken in transcript.run.said:
        said.setdefault(spoken.frame, []).append(spoken.text.strip())
    lines = [f"## {transcript.clip}", "", "| time | question | true | said | p(silence) |", "|---|---|---|---|---|"]
    for frame in sorted({*true, *said}):
        cells = (_cell(texts.get(frame, [])) for texts in (asked, true, said))
        probs = transcript.run.silence_probs
        prob = f"{probs[frame]:.2f}" if frame < len(probs) else "not shown"
        lines.append(f"| {frame / transcript.fps:.1f} s | {' | '.join(cells)} | {prob} |")
    if transcript.is_cut_off:
        shown = len(transcript.run.silence_probs)
        lines += ["", f"Stopped after {shown} of {transcript.truth.num_frames} frames: too much was said."]
    return "\n".join(lines) + "\n"


def _cell(texts: Sequence[str]) -> str:
    return " / ".join(texts).replace("|", "\\|").replace("\n", " ")


def plot_transcripts(transcripts: Sequence[Transcript], path: Path, *, threshold: float) -> None:
    """p(silence) by time, a panel a clip; above it true remarks and questions, below it what was said."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 2 * len(transcripts)), layout="constrained")
    panels = figure.subplots(len(transcripts), 1, squeeze=False)[:, 0]
    for axes, t in zip(panels, transcripts, strict=True):
        times = [frame / t.fps for frame in range(len(t.run.silence_probs))]
        axes.plot(times, t.run.silence_probs, linewidth=1)
        axes.axhline(threshold, color="grey", linewidth=0.5, linestyle="--")
        asked = [u.frame / t.fps for u in t.truth.utterances if u.question is not None]
        due = [u.frame / t.fps for u in t.truth.utterances if u.question is None]
        axes.plot(due, [1.08] * len(due), "v", color="C2", label="true remark")
        axes.plot(asked, [1.08] * len(asked), "s", color="C4", markersize=4, label="question")
        spoken = [s.frame / t.fps for s in t.run.said]
        axes.plot(spoken, [-0.08] * len(spoken), "^", color="C3", label="said")
        axes.set(ylim=(-0.16, 1.16), ylabel="p(silence)", title=t.clip)
    panels[0].legend(loc="lower right", fontsize="small")
    panels[-1].set_xlabel(f"seconds (dashed: the threshold, {threshold:g})")
    figure.savefig(path, dpi=110)
