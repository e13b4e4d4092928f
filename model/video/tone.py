"""What a picture of high dynamic range (PQ or HLG, BT.2100) looks like on an ordinary screen.

Its code values become light, light is brought to the primaries of BT.709, what is brighter than paper white is rolled
off, and the rest is as it would be in an ordinary recording of the same scene.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from av import VideoFrame

PQ, HLG, BT2020 = 16, 18, 9  # numbers of H.273: transfer characteristics, colour primaries
WHITE_NITS = 203.0  # diffuse white, ITU-R BT.2408
PEAK = 1000.0 / WHITE_NITS  # HLG's nominal display, and a fair guess of where PQ recordings end
KNEE = 0.75  # of paper white: darker light is left as it is
NUM_LEVELS = 4096

_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


def is_high_dynamic_range(picture: VideoFrame) -> bool:
    """Whether its transfer characteristic is PQ or HLG."""
    return picture.color_trc in (PQ, HLG)


def to_standard_range(rgb16_HW3: np.ndarray, picture: VideoFrame) -> np.ndarray:
    """RGB uint8, of the RGB uint16 code values of a PQ or HLG picture."""
    light = _light_table(picture.color_trc)[rgb16_HW3 >> 4]  # of NUM_LEVELS steps; 1 is paper white
    if picture.color_trc == HLG:  # the display's part of it: brighter scenes are shown with more contrast
        luminance = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light *= np.power(np.maximum(luminance, 1e-6), 0.2)[..., None] * PEAK
    if picture.color_primaries == BT2020:
        light = light @ _BT2020_TO_BT709.T
    brightest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    light *= _rolled_off(brightest) / brightest  # all three alike, so that colours stay
    steps = np.sqrt(np.clip(light, 0, 1)) * (NUM_LEVELS - 1)  # finer in the dark, as the eye is
    return _code_table()[np.round(steps).astype(np.uint16)]


def _rolled_off(light: np.ndarray) -> np.ndarray:
    """Light as it is below the KNEE; above, up to PEAK, bent so that it ends at 1."""
    above = np.maximum(light - KNEE, 0) / (1 - KNEE)
    most = (PEAK - KNEE) / (1 - KNEE)
    bent = above * (1 + above / most**2) / (1 + above)  # Reinhard's curve with a white point
    return np.minimum(np.where(light > KNEE, KNEE + (1 - KNEE) * bent, light), 1.0)


@lru_cache(maxsize=2)
def _light_table(transfer: int) -> np.ndarray:
    """Light of each of NUM_LEVELS code values: PQ's relative to paper white, HLG's of the scene, 0–1."""
    code = np.arange(NUM_LEVELS) / (NUM_LEVELS - 1)
    if transfer == PQ:
        power = np.power(code, 1 / 78.84375)
        light = np.power(np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power), 1 / 0.1593017578125)
        return (light * 10_000 / WHITE_NITS).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)


@lru_cache(maxsize=1)
def _code_table() -> np.ndarray:
    """The 8-bit code value of each of NUM_LEVELS steps of the square root of light, as screens of BT.1886 show them."""
    return np.round(255 * np.power(np.arange(NUM_LEVELS) / (NUM_LEVELS - 1), 2 / 2.4)).astype(np.uint8)
