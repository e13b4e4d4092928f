"""A picture that shows nothing is noticed, told once, and told to be over; a picture of a quiet room is not."""

import numpy as np
import pytest

from assistant.capture.stillness import AFTER_S, Stillness
from assistant.capture.worker import Turn


def noisy(level: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(-3, 4, (120, 160, 3))
    return np.clip(level + noise, 0, 255).astype(np.uint8)


def told(pictures: list[np.ndarray], step_s: float = 1.0) -> list[tuple[float, str]]:
    stillness = Stillness()
    said = [(index * step_s, stillness.note(picture, index * step_s)) for index, picture in enumerate(pictures)]
    return [(at_s, text) for at_s, text in said if text is not None]


def test_a_covered_lens_is_black_and_light_ends_it() -> None:
    dark = [noisy(2, seed) for seed in range(30)]
    assert told([noisy(90, 0), *dark, noisy(90, 1)]) == [(AFTER_S, "black"), (31.0, "")]


def test_a_camera_that_hangs_is_frozen_and_a_new_picture_ends_it() -> None:
    assert told([noisy(90, 0)] * 30 + [noisy(90, 1)]) == [(AFTER_S, "frozen"), (30.0, "")]


@pytest.mark.parametrize("level", [14, 90, 250])
def test_a_quiet_room_is_neither(level: int) -> None:
    assert told([noisy(level, seed) for seed in range(60)]) == []


def test_a_blink_is_nothing() -> None:
    pictures = [noisy(2 if 20 <= index < 28 else 90, index) for index in range(60)]
    assert told(pictures) == []


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (Turn(), [[1, 2, 3], [4, 5, 6]]),
        (Turn(90), [[4, 1], [5, 2], [6, 3]]),
        (Turn(180), [[6, 5, 4], [3, 2, 1]]),
        (Turn(270), [[3, 6], [2, 5], [1, 4]]),
        (Turn(0, mirror=True), [[3, 2, 1], [6, 5, 4]]),
        (Turn(90, mirror=True), [[1, 4], [2, 5], [3, 6]]),
    ],
)
def test_pictures_are_turned_clockwise_and_then_mirrored(turn: Turn, expected: list[list[int]]) -> None:
    pixels = np.repeat(np.array([[1, 2, 3], [4, 5, 6]], np.uint8)[:, :, None], 3, axis=2)
    turned = turn.apply(pixels)
    assert turned[:, :, 1].tolist() == expected
    assert not np.shares_memory(turned, pixels)
