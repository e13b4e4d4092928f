"""Pictures of any size and layout become square uint8 frames."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import FrameError
from model.frames import letterbox, normalize, to_rgb


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    channels=st.sampled_from([None, 1, 3, 4]),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
)
def test_any_picture_fits(height, width, channels, dtype):
    shape = (height, width) if channels is None else (height, width, channels)
    white = {np.uint8: 255, np.uint16: 65535, np.float32: 1.0}[dtype]
    frame = letterbox(np.full(shape, white, dtype), 48)
    assert frame.shape == (3, 48, 48)
    assert frame.dtype == np.uint8
    rows, columns = np.nonzero(frame[0])
    assert set(np.unique(frame)) <= {0, 255}
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 48  # the longer side fills the square
    assert abs(rows.min() + rows.max() - 47) <= 1  # and the rest is centred
    assert abs(columns.min() + columns.max() - 47) <= 1


def test_a_square_of_the_right_size_is_untouched():
    picture = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    assert (letterbox(picture, 48) == picture.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("shape", [(4, 4, 2), (4, 4, 3, 1), (0, 4, 3), (4,)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(FrameError, match="expected height"):
        to_rgb(np.zeros(shape, np.uint8))


def test_other_types_are_refused():
    with pytest.raises(FrameError, match="int64"):
        to_rgb(np.zeros((4, 4, 3), np.int64))


def test_normalize_is_the_usual_formula():
    frames = torch.randint(0, 256, (2, 3, 5, 5), dtype=torch.uint8)
    mean, std = (0.48, 0.45, 0.40), (0.26, 0.26, 0.27)
    expected = (frames.float() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(normalize(frames, mean, std), expected)
