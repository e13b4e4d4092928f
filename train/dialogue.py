"""Annotated clips to streaming dialogues: what is said, and after which frame. Pure; randomness is passed in.

The assistant's remark follows the first frame that comes after its event; a question is put after the last frame
before its time (VideoLLM-online, section 3.4: the user's time is rounded down, the assistant's up).
"""

import math
import random
from dataclasses import dataclass

from model.grammar import AssistantTurn, StreamTurn, Turn, UserTurn


@dataclass(frozen=True)
class Utterance:
    """Something said after frame `frame`: a remark, or a question with its answer."""

    frame: int
    text: str
    question: str | None = None


@dataclass(frozen=True)
class Annotation:
    """One clip's frames and what is to be said about them. `utterances` in order of time."""

    num_frames: int
    utterances: tuple[Utterance, ...]


def annotate(meta: dict) -> Annotation:
    """The annotation of a tabletop clip's description. Events that fall behind its last frame are left out."""
    fps, num_frames = float(meta["fps"]), int(meta["num_frames"])
    remarks = [Utterance(math.floor(e["time_s"] * fps) + 1, e["text"]) for e in meta["events"]]
    answers = [Utterance(math.floor(q["time_s"] * fps), q["answer"], question=q["question"]) for q in meta["questions"]]
    # At the same frame a remark comes before an answer, which then may speak of the event.
    spoken = sorted(remarks + answers, key=lambda u: (u.frame, u.question is not None))
    return Annotation(num_frames, tuple(u for u in spoken if u.frame < num_frames))


def to_turns(annotation: Annotation) -> list[Turn]:
    """The dialogue: silence is learned at every frame but one that only a question follows."""
    turns: list[Turn] = []
    shown = 0
    for utterance in annotation.utterances:
        frames = utterance.frame + 1 - shown
        if frames > 0:
            is_asked = utterance.question is not None
            turns.append(StreamTurn(frames, frames - 1 if is_asked else True))
            shown += frames
        if utterance.question is not None:
            turns.append(UserTurn(utterance.question))
        turns.append(AssistantTurn(utterance.text))
    if shown < annotation.num_frames:
        turns.append(StreamTurn(annotation.num_frames - shown))
    return turns


def slide(annotation: Annotation, rng: random.Random, max_share: float = 0.7) -> tuple[Annotation, list[int]]:
    """The clip as a full window would remember it: the first frame, then a gap, then the rest.

    Returns the shortened annotation and the indices of the frames that are left. A running stream's cache looks
    like this once it has evicted; training on it keeps the model at ease there. Utterances after frames in the
    gap are gone, and so is an answer that follows the gap so closely that its grounds may be lost.
    """
    gap_end = rng.randint(1, max(1, int(annotation.num_frames * max_share)))
    kept = [0, *range(gap_end, annotation.num_frames)]
    utterances = tuple(
        Utterance(u.frame - gap_end + 1, u.text, u.question)
        for u in annotation.utterances
        if u.frame >= gap_end and u.question is None
    )
    return Annotation(len(kept), utterances), kept
