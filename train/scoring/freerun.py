"""A model left to itself over a recorded clip: it decides when to speak, and its own words stay in its cache."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from model.stream import Stream


@dataclass(frozen=True)
class Said:
    """What was said after `frame`. question: None for a remark. ids: the reply's tokens."""

    frame: int
    question: str | None
    ids: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class FreeRun:
    """silence_probs: one a frame. said: in order."""

    silence_probs: list[float]
    said: list[Said]


def free_run(
    stream: Stream,
    frame_tokens_TND: Tensor,
    questions: Mapping[int, str] | None = None,
    *,
    next_batch: Callable[[], int] = lambda: 16,
) -> FreeRun:
    """Show all frames to `stream`, in batches of `next_batch()`; questions are asked after their frame."""
    questions = questions or {}
    probs: list[float] = []
    said: list[Said] = []
    while len(probs) < len(frame_tokens_TND):
        frame = len(probs)
        until = min([frame + next_batch(), *(q + 1 for q in questions if q >= frame)])
        decisions = stream.observe_many(frame_tokens_TND[frame:until])
        probs += [d.silence_prob for d in decisions]
        last = len(probs) - 1
        question = questions.get(last)
        if question is not None:
            stream.ask(question)
        if question is not None or decisions[-1].speaks:
            text = "".join(stream.reply())
            said.append(Said(last, question, tuple(stream.reply_ids), text))
    return FreeRun(probs, said)
