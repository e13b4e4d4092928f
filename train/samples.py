"""From annotated clips and their features to batches of dialogues. Randomness comes from a seed and a step alone."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from model.grammar import IGNORE_ID, Grammar, Rendered, Turn
from train.dialogue import Annotation, mislead, refuse, slide, sum_up, to_turns
from train.recipe import ObjectivePart, SamplesPart


@dataclass(frozen=True)
class Batch:
    """B dialogues padded to T tokens.

    decides: where what is learned is to speak or to stay silent. features: of all M frames, dialogue after dialogue.
    learned, frame_tokens: in which of the B·T positions, row after row, something is learned (L) and frame tokens stand
    (P = M·N). They and num_decisions follow from the rest; a GPU that was asked for them would have to be waited for.
    num_padding: positions of padding.
    """

    input_ids_BT: Tensor
    labels_BT: Tensor
    decides_BT: Tensor
    features_MNF: Tensor
    learned_L: Tensor
    frame_tokens_P: Tensor
    num_decisions: int
    num_padding: int

    @property
    def num_tokens(self) -> int:
        """Positions, padding included."""
        return self.input_ids_BT.numel()

    def pin_memory(self) -> "Batch":
        """A copy in page-locked memory, from which a GPU copies while it computes. The data loader calls it."""
        return self._each(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> "Batch":
        """A copy on `device`."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(value) for name, value in values.items() if isinstance(value, Tensor)})


Sample = tuple[list[Turn], Tensor]
"""A dialogue's turns and its frames' features."""


class Sampler:
    """Batches without end: every clip once an epoch, clips of like length together, another view and cut each time.

    annotations: for each clip one or more, all of as many frames, that differ in what is asked. features: for each clip
    its views, T × N × F. robust: features of frames that show nothing, by kind.
    """

    def __init__(
        self,
        annotations: Sequence[Sequence[Annotation]],
        features: Sequence[Sequence[Tensor]],
        grammar: Grammar,
        *,
        batch_clips: int,
        samples: SamplesPart,
        objective: ObjectivePart,
        robust: Mapping[str, Tensor] | None = None,
        seed: int,
    ) -> None:
        self._annotations = annotations
        self._features = features
        self._grammar = grammar
        self._batch_clips = min(batch_clips, len(annotations))
        self._samples = samples
        self._objective = objective
        self._robust = dict(robust or {})
        self._seed = seed
        self.batches_per_epoch = len(annotations) // self._batch_clips

    def batch(self, step: int, *, rank: int = 0, num_ranks: int = 1) -> Batch:
        """Every `num_ranks`-th dialogue of one step's batch, from `rank` on; the same step gives the same batch."""
        epoch, number = divmod(step, self.batches_per_epoch)
        rng = random.Random(f"{self._seed} {epoch}")
        order = sorted(
            rng.sample(range(len(self._annotations)), self.batches_per_epoch * self._batch_clips),
            key=lambda i: self._annotations[i][0].num_frames + rng.uniform(-8, 8),
        )
        starts = [k * self._batch_clips for k in range(self.batches_per_epoch)]
        rng.shuffle(starts)
        chosen = order[starts[number] : starts[number] + self._batch_clips][rank::num_ranks]
        rngs = [random.Random(f"{self._seed} {step} {index}") for index in chosen]
        samples = [self._sample(index, rng) for index, rng in zip(chosen, rngs, strict=True)]
        rendered = [self._grammar.render(turns) for turns, _ in samples]
        if self._objective.silence_share < 1:
            rendered = [self._forget_silence(r, rng) for r, rng in zip(rendered, rngs, strict=True)]
        return _pad(rendered, [features for _, features in samples], self._grammar)

    def _sample(self, index: int, rng: random.Random) -> Sample:
        part = self._samples
        if rng.random() < part.robust_prob:
            return self._refusal(rng)
        annotation, features = rng.choice(self._annotations[index]), rng.choice(self._features[index])
        draw = rng.random()
        if draw < part.slide_prob + part.summary_prob:
            annotation, kept = (slide if draw < part.slide_prob else sum_up)(annotation, rng)
            features = features[kept]
        turns = to_turns(
            annotation,
            learns_silence=self._objective.kind != "interleaved",
            answers_after_frame=self._grammar.template.answers_after_frame,
        )
        if rng.random() < part.wrong_reply_prob:
            turns = mislead(turns, rng, part.most_wrong_replies)
        return turns, features

    def _refusal(self, rng: random.Random) -> Sample:
        kind = rng.choice(["nothing", *self._robust])
        if kind == "nothing":
            return refuse(0, rng), self._features[0][0][:0]
        frames = self._robust[kind]
        count = rng.randint(1, len(frames))
        return refuse(count, rng), frames[:count]

    def _forget_silence(self, rendered: Rendered, rng: random.Random) -> Rendered:
        """Learn silence at a random share of the silent frames only."""
        labels, decides = list(rendered.labels), list(rendered.decides)
        for position, label in enumerate(rendered.labels):
            is_silence = rendered.decides[position] and label == self._grammar.silence_id
            if is_silence and rng.random() >= self._objective.silence_share:
                labels[position], decides[position] = IGNORE_ID, False
        return replace(rendered, labels=labels, decides=decides)


def collate(samples: Sequence[Sample], grammar: Grammar) -> Batch:
    """Render and pad; padding is end-of-sequence, unlabelled, behind everything that is learned."""
    return _pad([grammar.render(turns) for turns, _ in samples], [features for _, features in samples], grammar)


def _pad(rendered: Sequence[Rendered], features: Sequence[Tensor], grammar: Grammar) -> Batch:
    length = max(len(r.input_ids) for r in rendered)
    ids = torch.full((len(rendered), length), grammar.eos_id)
    labels = torch.full((len(rendered), length), IGNORE_ID)
    decides = torch.zeros((len(rendered), length), dtype=torch.bool)
    for row, r in enumerate(rendered):
        ids[row, : len(r.input_ids)] = torch.tensor(r.input_ids)
        labels[row, : len(r.labels)] = torch.tensor(r.labels)
        decides[row, : len(r.decides)] = torch.tensor(r.decides)
    return Batch(
        ids,
        labels,
        decides,
        torch.cat(list(features)),
        learned_L=(labels != IGNORE_ID).flatten().nonzero().flatten(),
        frame_tokens_P=(ids == grammar.placeholder_id).flatten().nonzero().flatten(),
        num_decisions=int(decides.sum()),
        num_padding=ids.numel() - sum(len(r.input_ids) for r in rendered),
    )
