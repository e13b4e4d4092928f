"""A sentence as samples, between the engine that says it and the player that lets it be heard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Speech:
    """pcm: mono int16 samples."""

    pcm: np.ndarray
    sample_rate_hz: int
