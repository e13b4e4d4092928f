"""`onlooker bench` measures speed and memory, writes them down, and refuses what cannot be measured."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from assistant import cli
from assistant.commands import bench
from tests.assistant.command_line import run

GOLDEN = Path(__file__).parents[1] / "golden"
ROOT = Path(__file__).parents[2]


def test_bench_prints_and_writes_what_it_measured(capsys, tmp_path):
    out = tmp_path / "bench"
    fast = ("--model", str(GOLDEN), "--samples", "2", "--seconds", "0.01", "--window", "1024")
    code, shown, told = run(capsys, "bench", *fast, "--json", "--out", str(out))
    assert code == 0
    report = json.loads(shown)
    assert json.loads((out / "bench.json").read_text()) == report
    assert (report["window_tokens"], report["dtype"]) == (1024, "float32")
    assert [at["num_tokens"] for at in report["at_length"]] == [512, 1024]
    assert report["opened_s"] > 0
    assert "| silent frame, 1,024 tokens in the cache (" in (out / "bench.md").read_text()
    assert (out / "bench.png").stat().st_size > 5000
    assert "bench: backlog of 200 frames …" in told


def test_bench_measures_a_shape_and_appends_to_a_history(capsys, tmp_path):
    history = tmp_path / "history.jsonl"
    fast = ("--shape", "tiny", "--device", "cpu", "--samples", "2", "--seconds", "0.01", "--window", "512")
    for number in (1, 2):
        code, shown, _ = run(capsys, "bench", *fast, "--frames", "20", "--append", str(history))
        assert code == 0
        assert shown.startswith("tiny, random weights, float32, ")
        assert "| silent frame, last of 20 frames |" in shown
        assert "\nstart to first decision " in shown
        assert len(history.read_text().splitlines()) == number
    line = json.loads(history.read_text().splitlines()[-1])
    assert (line["model"], line["window_tokens"], line["long_run_frames"]) == ("tiny, random weights", 512, 20)
    assert line["backlog_p50_ms"] < line["long_backlog_p50_ms"]
    assert f"{line['mixed_fps']:.2f} frames/s" in shown
    only_some = {"opened_mib", "long_run_frames", "long_run_first_p99_ms", "long_run_last_p99_ms"}
    kept = (ROOT / "tests/bench/history.jsonl").read_text().splitlines()
    assert [set(line) - set(json.loads(old)) - only_some for old in kept] == [set()] * len(kept)


def test_bench_plays_a_video_with_its_own_replies(capsys, make_video):
    video = str(make_video(seconds=15))  # 30 frames: one reply
    fast = ("--shape", "tiny", "--device", "cpu", "--samples", "1", "--seconds", "0.01", "--window", "512")
    code, shown, _ = run(capsys, "bench", *fast, "--video", video, "--json")
    assert code == 0
    playbacks = json.loads(shown)["playbacks"]
    assert set(playbacks) == {"1", "16"}
    for playback in playbacks.values():
        assert playback["num_frames"] == 30
        assert 0 < playback["decoder_s"] < playback["seconds"]


def test_bench_checks_against_the_plain_engine(capsys, make_video, monkeypatch):
    """On a CPU both are the plain engine; so the second time the other one is given another threshold."""
    from assistant.mind import opening

    video, really_open = str(make_video(seconds=6)), opening.open_model
    check = ("--check", video, "--model", str(GOLDEN), "--json")
    code, shown, _ = run(capsys, "bench", *check)
    same = json.loads(shown)
    assert code == 0
    assert (same["frames"], same["changed"], same["near"], same["other_words"]) == (12, 0, 0, 0)
    assert same["replies"] > 0
    opened = []

    def open_differently(section, **options):
        opened.append(really_open(section, **options))
        opened[-1].silence_threshold = float(len(opened) - 1)  # at 1 it never is silent
        return opened[-1]

    monkeypatch.setattr(opening, "open_model", open_differently)
    code, shown, _ = run(capsys, "bench", *check[:-1])
    assert code == 0
    assert [model.engine.kind for model in opened] == ["plain", "plain"]
    assert re.match(r"engine plain, weights as dtype, against the plain engine: \d+ of 12 decisions changed", shown)


def test_bench_tells_which_commit_it_measured():
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert head.startswith(bench.commit().removesuffix("-dirty"))


def test_bench_helps_with_the_names_of_all_shapes(capsys):
    from model.shapes import SHAPES

    with pytest.raises(SystemExit):
        cli.main(["bench", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert all(name in shown for name in SHAPES)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--samples", "0"], "--samples 0"),
        (["--seconds", "-1"], "--seconds -1"),
        (["--window", "100"], '--window = "100": must be a whole number'),
        (["--model", "nothing-there"], "nothing-there"),
        (["--shape", "8b"], "must be one of 8b-v1plus, proassist-i10, proassist-i5, proassist-i1, 135m, tiny"),
        (["--frames", "9"], "--frames 9: must be at least 10"),
        (["--check", "demo", "--shape", "tiny"], "--check with --shape tiny"),
        (["--check", "no-such.mp4"], "no-such.mp4"),
        (["--check", "demo", "--frames", "20"], "--check measures nothing"),
        (["--out", __file__], f"cannot be written: {__file__} is no folder"),
        (["--append", str(GOLDEN)], "is a folder; name a file"),
        (["--video", __file__, "--append", __file__], "which would be lost"),
    ],
)
def test_bench_refuses_what_cannot_be_measured(capsys, arguments, said):
    code, _, told = run(capsys, "bench", *arguments)
    assert code in (2, 3)
    assert said in told
