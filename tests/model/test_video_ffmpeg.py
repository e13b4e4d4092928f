"""Videos of many kinds, read by us and by the program ffmpeg: the same pictures at the same times.

Every container comes twice; with ONLOOKER_DRILLS=full there are 300 videos.
"""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from model.video.grid import FileGrid
from model.video.reading import Video
from tests.model.videos import CONTAINERS, SMALL, Case, Truth, draw, make, read_by_ffmpeg
from train.recordings.footage import probe, sample

NUM_CASES = 300 if os.environ.get("ONLOOKER_DRILLS") == "full" else 2 * len(CONTAINERS)
FPS = 2.0
CLOSE_S = 0.003
MAX_DIFFERENCE = (
    8  # of 255, on average: two decoders, two ways of scaling. Neighbouring pictures differ by 16 and more.
)


@pytest.mark.parametrize("number", range(NUM_CASES))
def test_the_same_pictures_at_the_same_times_as_ffmpeg(number, tmp_path):
    case = draw(number)
    path = make(case, tmp_path)
    truth = expected(case, read_by_ffmpeg(path))
    warnings: list[str] = []
    times_s, indexes, grid = [], [], FileGrid(FPS)
    with Video.open(path, name=path.name, warn=warnings.append) as video:
        for shown in video.pictures():
            times_s.append(shown.start_s)
            for index in grid.indexes(shown.start_s, shown.end_s, is_last=shown.is_last):
                indexes.append(index)
                due = max((k for k, at_s in enumerate(truth.times_s) if at_s <= index / FPS + 1e-4), default=0)
                rgb, beside = video.upright.rgb(shown.picture), slack(case)
                near = truth.pictures_NHW[max(0, due - beside) : due + beside + 1]
                assert min(difference(rgb, picture) for picture in near) < MAX_DIFFERENCE, str(case)
    tolerance_s = (1 + slack(case)) / 20 if case.container == "avi" else CLOSE_S
    assert times_s == pytest.approx(truth.times_s, abs=tolerance_s), str(case)
    assert video.end_s == pytest.approx(truth.times_s[-1] + truth.last_s, abs=1 / 20), str(case)
    assert len(warnings) == (case.is_joined or case.gap_s > 60), (str(case), warnings)
    footage = probe(path)
    assert [index for index, _ in sample(footage, FPS, 32)] == list(footage.frames(FPS)) == indexes, str(case)


def slack(case: Case) -> int:
    """By how many pictures two right readers may differ: H.264 in AVI has no times to be shown at, only to be decoded.

    FFmpeg's libraries guess the former from the latter, and some versions begin one picture later than others.
    """
    return 1 if (case.container, case.codec) == ("avi", "h264") else 0


def expected(case: Case, truth: Truth) -> Truth:
    """What ffmpeg reads, but for what a raw stream cannot tell: when its first picture is due."""
    if case.container != "m2v":
        return truth
    return Truth([at_s - truth.times_s[0] for at_s in truth.times_s], truth.pictures_NHW, truth.last_s)


def difference(rgb: np.ndarray, small: np.ndarray) -> float:
    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    return float(np.abs(cv2.resize(grey, SMALL, interpolation=cv2.INTER_AREA).astype(int) - small).mean())
