"""The demonstration as a new user sees and hears it: real weights, the bundled clip, real speech, transcribed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from faster_whisper import WhisperModel

from model import weights
from train.scoring.events import ScoredEvent, parse_remark, score

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> tuple[list[dict], Path]:
    """The records that `onlooker watch demo` printed, and the sound it made."""
    wav = tmp_path_factory.mktemp("demo") / "demo.wav"
    command = [sys.executable, "-m", "assistant", "watch", "demo", "--max-speed", "--json", "--wav", str(wav)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count() or 1)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], wav


@pytest.mark.slow
def test_the_demo_speaks_at_the_right_moments(demo):
    records, _ = demo
    truth = json.loads((ROOT / "assistant" / "demo.json").read_text())
    true = [ScoredEvent(e["time_s"], e["verb"], e["object"]) for e in truth["events"]]
    said = [parse_remark(r["text"], r["time"]) for r in records if r["kind"] == "remark"]
    assert score(said, true, tolerance_s=1.0, with_object=False).f1 >= 0.8
    end = records[-1]
    assert end["kind"] == "end"
    assert end["dropped_frames"] == 0
    assert end["frames"] == 100


@pytest.mark.slow
def test_the_demo_is_heard(demo):
    """Most words of most remarks come back from the sound; the default voice is hard to understand."""
    records, wav = demo
    whisper = WhisperModel(str(weights.ensure("whisper-tiny.en")), device="cpu", compute_type="int8")
    segments, _ = whisper.transcribe(str(wav), beam_size=5, condition_on_previous_text=False, vad_filter=True)
    heard = set(words(" ".join(segment.text for segment in segments)))
    said = [word for r in records if r["kind"] == "remark" for word in words(r["text"])]
    assert len(said) > 20
    assert sum(word in heard for word in said) / len(said) >= 0.6


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())
