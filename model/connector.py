"""The connector: from the vision encoder's feature space into the decoder's embedding space.

Linear · GELU · Linear (VideoLLM-online, section 3.3; the shape of LLaVA-1.5's projector).
"""

from torch import nn


def make_connector(feature_width: int, hidden_width: int) -> nn.Sequential:
    """A two-layer MLP, (…, feature_width) → (…, hidden_width).

    Its tensors are named `0.weight`, `0.bias`, `2.weight`, `2.bias`, as in the published checkpoints.
    """
    return nn.Sequential(nn.Linear(feature_width, hidden_width), nn.GELU(), nn.Linear(hidden_width, hidden_width))
