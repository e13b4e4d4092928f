"""Annotated clips to streaming dialogues: what is said, and after which frame. Pure; randomness is passed in.

The assistant's remark follows the first frame that comes after its event; a question is put after the last frame
before its time (VideoLLM-online, section 3.4: the user's time is rounded down, the assistant's up).
"""

import itertools
import math
import random
from dataclasses import dataclass, replace

from model.grammar import AssistantTurn, StreamTurn, Turn, UserTurn
from model.summary import QUESTION
from train.clip import Clip

MAX_SUMMED_UP = 8
"""Remarks in a summary: the latest ones, about as much as a reply may hold."""
NOTHING_YET = "Nothing yet."


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


def annotate_for_study(clip: Clip) -> list[Annotation]:
    """A clip's annotation, and its alternatives with other questions, if there are any: the same clip to learn from."""
    sets = (clip.questions, *clip.study_questions)
    return [annotate(clip.model_copy(update={"questions": asked})) for asked in sets]


def annotate(clip: Clip) -> Annotation:
    """What is to be said in a clip. Events that fall behind its last frame are left out."""
    remarks = [Utterance(math.floor(e.time_s * clip.fps) + 1, e.text) for e in clip.events]
    answers = [Utterance(math.floor(q.time_s * clip.fps), q.answer, question=q.question) for q in clip.questions]
    # At the same frame a remark comes before an answer, which then may speak of the event.
    spoken = sorted(remarks + answers, key=lambda u: (u.frame, u.question is not None))
    return Annotation(clip.num_frames, tuple(u for u in spoken if u.frame < clip.num_frames))


def to_turns(annotation: Annotation, *, learns_silence: bool = True, answers_after_frame: bool = False) -> list[Turn]:
    """The dialogue: silence is learned at every frame but one that only a question follows, or nowhere at all.

    answers_after_frame: an answer stands behind the frame that follows its question, if there is one that nothing else
    is said at, and what is learned at that frame is to answer (`model.templates`).
    """
    turns: list[Turn] = []
    shown, spoken_at = 0, {utterance.frame for utterance in annotation.utterances}
    for utterance in annotation.utterances:
        frames = utterance.frame + 1 - shown
        if frames > 0:
            is_asked = utterance.question is not None
            turns.append(StreamTurn(frames, learns_silence and (frames - 1 if is_asked else True)))
            shown += frames
        if utterance.question is not None:
            turns.append(UserTurn(utterance.question))
            if answers_after_frame and shown < annotation.num_frames and shown not in spoken_at:
                turns.append(StreamTurn(1, learns_silence))
                shown += 1
        turns.append(AssistantTurn(utterance.text))
    if shown < annotation.num_frames:
        turns.append(StreamTurn(annotation.num_frames - shown, learns_silence))
    return turns


def slide(annotation: Annotation, rng: random.Random, max_share: float = 0.7) -> tuple[Annotation, list[int]]:
    """The clip as a full window would remember it: the first frame, then a gap, then the rest.

    Returns the shortened annotation and the indices of the frames that are left. A running stream's cache looks
    like this once it has evicted; training on it keeps the model at ease there. What was said at the first frame
    stays with it; utterances after frames in the gap are gone, and so are all later questions: their grounds may be.
    """
    gap_end = rng.randint(1, max(1, int(annotation.num_frames * max_share)))
    kept = [0, *range(gap_end, annotation.num_frames)]
    first = tuple(u for u in annotation.utterances if u.frame == 0)
    rest = tuple(
        Utterance(u.frame - gap_end + 1, u.text) for u in annotation.utterances if u.frame >= gap_end and not u.question
    )
    return Annotation(len(kept), first + rest), kept


def sum_up(annotation: Annotation, rng: random.Random) -> tuple[Annotation, list[int]]:
    """The clip with a summary in it, of the remarks before; and the indices of the frames that are left.

    Half of the time it is asked for at a frame where nothing else is said; else the clip is as a window remembers it
    that began anew from its summary (`model.summary`): the first frame, the question and its answer, then the rest,
    with later questions where the summary leaves nothing out.
    """
    spoken_at = {utterance.frame for utterance in annotation.utterances}
    free = [frame for frame in range(1, annotation.num_frames) if frame not in spoken_at]
    if not free:
        return annotation, list(range(annotation.num_frames))
    at = rng.choice(free)
    before = [u for u in annotation.utterances if u.frame <= at]
    told = [u.text for u in before if u.question is None]
    summary = Utterance(at, " ".join(told[-MAX_SUMMED_UP:]) or NOTHING_YET, question=QUESTION)
    if rng.random() < 0.5:
        after = [u for u in annotation.utterances if u.frame > at]
        return Annotation(annotation.num_frames, (*before, summary, *after)), list(range(annotation.num_frames))
    first = [u for u in before if u.frame == 0]
    rest = [
        replace(u, frame=u.frame - at)
        for u in annotation.utterances
        if u.frame > at and (u.question is None or len(told) <= MAX_SUMMED_UP)
    ]
    kept = [0, *range(at + 1, annotation.num_frames)]
    return Annotation(len(kept), (*first, replace(summary, frame=0), *rest)), kept


SORRY = "(Sorry, the last response is wrong) "
_REFUSALS = (
    "I can't see anything right now.",
    "I'm sorry, the picture shows nothing I can make out.",
    "I don't see anything, so I can't tell.",
)
_ASKED = ("What am I doing?", "What do you see?", "What am I holding?", "What is on the table?", "What did I just do?")


def mislead(turns: list[Turn], rng: random.Random, most: int = 1) -> list[Turn]:
    """The dialogue with one to `most` remarks gone wrong, so that what was said is no substitute for what is seen.

    Another remark, an empty one or none stands in the place of each, unlearned. Half of the time it is put right one
    frame later, in words that are learned (VideoLLM-online, augmentation against text dependency). The last remark,
    on which nothing depends, is left alone.
    """
    remarks = [
        i
        for i, (before, turn) in enumerate(itertools.pairwise(turns), start=1)
        if isinstance(before, StreamTurn) and isinstance(turn, AssistantTurn)
    ]
    if len(remarks) < 2:
        return turns
    texts = {turn.text for turn in turns if isinstance(turn, AssistantTurn)}
    count = rng.randint(1, min(most, len(remarks) - 1))
    for at in sorted(rng.sample(remarks[:-1], count), reverse=True):  # from the end: places before it stay as they are
        turns = _mislead_at(turns, at, texts, rng)
    return turns


def _mislead_at(turns: list[Turn], at: int, all_texts: set[str], rng: random.Random) -> list[Turn]:
    before, right, after = turns[at - 1], turns[at], turns[at + 1]
    assert isinstance(before, StreamTurn)
    assert isinstance(right, AssistantTurn)
    texts = sorted(all_texts - {right.text})
    wrong = rng.choice([*texts, "", None])
    changed: list[Turn] = [before, AssistantTurn(wrong, learn=False)] if wrong is not None else [_hushed(before)]
    if isinstance(after, StreamTurn) and after.num_frames > 1 and rng.random() < 0.5:
        is_learned = after.learn is True or int(after.learn) > 0
        rest = after.learn if isinstance(after.learn, bool) else max(0, after.learn - 1)
        apology = "" if wrong is None else SORRY
        changed += [StreamTurn(1, is_learned), AssistantTurn(apology + right.text)]
        changed.append(StreamTurn(after.num_frames - 1, rest))
        return [*turns[: at - 1], *changed, *turns[at + 2 :]]
    return [*turns[: at - 1], *changed, *turns[at + 1 :]]


def _hushed(turn: StreamTurn) -> StreamTurn:
    """The same frames, with nothing learned at the last of them."""
    learned = turn.num_frames if turn.learn is True else int(turn.learn)
    return StreamTurn(turn.num_frames, min(learned, turn.num_frames - 1))


def refuse(num_frames: int, rng: random.Random) -> list[Turn]:
    """A question about frames that show nothing, or about none at all, and a polite refusal."""
    question, refusal = UserTurn(rng.choice(_ASKED)), AssistantTurn(rng.choice(_REFUSALS))
    return [StreamTurn(num_frames, num_frames - 1), question, refusal] if num_frames else [question, refusal]
