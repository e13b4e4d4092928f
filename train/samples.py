"""From annotated clips and their features to batches of dialogues. Randomness comes from a seed and a step alone."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.grammar import IGNORE_ID, Grammar
from train.dialogue import Annotation, slide, to_turns


@dataclass(frozen=True)
class Batch:
    """B dialogues padded to T tokens. features: by dialogue, its frames × N × F."""

    input_ids_BT: Tensor
    labels_BT: Tensor
    features: list[Tensor]

    @property
    def num_tokens(self) -> int:
        """Positions, padding included."""
        return self.input_ids_BT.numel()


class Sampler:
    """Batches without end: every clip once an epoch, clips of like length together, another view and cut each time.

    features: for each clip its views. slide_prob: share of samples that look like a window that has slid.
    """

    def __init__(
        self,
        annotations: Sequence[Annotation],
        features: Sequence[Sequence[Tensor]],
        grammar: Grammar,
        *,
        batch_clips: int,
        slide_prob: float,
        seed: int,
    ) -> None:
        self._annotations = annotations
        self._features = features
        self._grammar = grammar
        self._batch_clips = min(batch_clips, len(annotations))
        self._slide_prob = slide_prob
        self._seed = seed
        self.batches_per_epoch = len(annotations) // self._batch_clips

    def batch(self, step: int) -> Batch:
        """The batch of one step; the same step gives the same batch."""
        epoch, number = divmod(step, self.batches_per_epoch)
        rng = random.Random(f"{self._seed} {epoch}")
        order = sorted(
            rng.sample(range(len(self._annotations)), len(self._annotations)),
            key=lambda i: self._annotations[i].num_frames + rng.uniform(-8, 8),
        )
        starts = [k * self._batch_clips for k in range(self.batches_per_epoch)]
        rng.shuffle(starts)
        rng = random.Random(f"{self._seed} {step} samples")
        chosen = order[starts[number] : starts[number] + self._batch_clips]
        return collate([self._sample(index, rng) for index in chosen], self._grammar)

    def _sample(self, index: int, rng: random.Random) -> tuple[Annotation, Tensor]:
        annotation, features = self._annotations[index], rng.choice(self._features[index])
        if rng.random() < self._slide_prob:
            annotation, kept = slide(annotation, rng)
            features = features[kept]
        return annotation, features


def collate(samples: Sequence[tuple[Annotation, Tensor]], grammar: Grammar) -> Batch:
    """Render and pad; padding is end-of-sequence, unlabelled, behind everything that is learned."""
    rendered = [grammar.render(to_turns(annotation)) for annotation, _ in samples]
    length = max(len(r.input_ids) for r in rendered)
    ids = torch.full((len(rendered), length), grammar.eos_id)
    labels = torch.full((len(rendered), length), IGNORE_ID)
    for row, r in enumerate(rendered):
        ids[row, : len(r.input_ids)] = torch.tensor(r.input_ids)
        labels[row, : len(r.labels)] = torch.tensor(r.labels)
    return Batch(ids, labels, [features for _, features in samples])
