"""What several tests of training use, made once."""

from __future__ import annotations

import pytest

from train.tabletop.record import Script
from train.tabletop.script import NUM_BENCH_CLIPS, clip_seed, write_script


@pytest.fixture(scope="session")
def train_scripts() -> list[Script]:
    return [write_script("train", clip_seed("train", index)) for index in range(150)]


@pytest.fixture(scope="session")
def wide_scripts() -> list[Script]:
    return [write_script("wide", clip_seed("wide", index)) for index in range(100)]


@pytest.fixture(scope="session")
def bench_scripts() -> list[Script]:
    return [write_script("bench", clip_seed("bench", index)) for index in range(NUM_BENCH_CLIPS)]
