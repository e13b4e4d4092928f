"""The whole way with real parts: a file in, a small real model between, words, subtitles and speech out."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from assistant import cli
from assistant.capture.source import parse_source
from assistant.commands.watch import parse_question
from assistant.config.keys import Config, ModelSection
from assistant.errors import UsageError
from assistant.mind.opening import open_model
from assistant.runtime.messages import Seen
from assistant.watch.app import App, WatchPlan
from assistant.watch.tally import Tally
from model.engine import Encoded
from model.stream import Decision
from model.videolm import VideoLM
from tests.pace import pace

GOLDEN = Path(__file__).parents[1] / "golden"
ROOT = Path(__file__).parents[2]

Watch = Callable[..., tuple[int, list[dict], str]]


@pytest.fixture(scope="module")
def model() -> VideoLM:
    return open_model(ModelSection(name=str(GOLDEN), device="cpu"))


@pytest.fixture
def watch(capsys: pytest.CaptureFixture[str]) -> Watch:
    def run(*args: object) -> tuple[int, list[dict], str]:
        capsys.readouterr()
        code = cli.main(["watch", *map(str, args), "--json", "--model", str(GOLDEN), "--device", "cpu"])
        shown = capsys.readouterr()
        return code, [json.loads(line) for line in shown.out.splitlines()], shown.err

    return run


def expected_words(model: VideoLM, path: Path, threshold: float) -> list[tuple[float, str]]:
    """The same clip through the model's public API alone, frame by frame."""
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    stream = model.open_stream(silence_threshold=threshold)
    spoken = []
    for index, pixels in enumerate(pictures[::5]):
        tokens = model.encode(torch.from_numpy(model.preprocess(pixels)[None]))[0]
        if stream.observe(tokens).speaks:
            spoken.append((index / 2, "".join(stream.reply()).strip()))
    return [(time_s, text) for time_s, text in spoken if text]


def test_watch_says_what_the_model_says_alone(watch, model, busy_video):
    expected = expected_words(model, busy_video, 0.6)
    assert len(expected) >= 2
    code, records, _ = watch(busy_video, "--max-speed", "--no-say", "--threshold", "0.6", "--frames")
    assert code == 0
    assert [(line["time"], line["text"]) for line in records if line["kind"] == "remark"] == expected
    assert [line["time"] for line in records if line["kind"] == "frame"] == [k / 2 for k in range(24)]
    end = records[-1]
    assert end["kind"] == "end"
    assert end["frames"] == 24
    assert end["remarks"] == len(expected)
    assert end["dropped_frames"] == 0
    assert end["peak_memory_mb"] > 100
    assert end["speech"] is None
    for line in records:
        assert list(line)[:5] == ["time", "kind", "text", "silence_prob", "latency_ms"]


def test_frames_of_another_world_are_counted():
    tally = Tally()
    for index, is_strange in enumerate((False, True, True)):
        tally.note(Seen(index / 2, index, Decision(0.9, speaks=False), 0.1, is_strange=is_strange))
    assert (tally.num_frames, tally.num_unfamiliar_frames) == (3, 2)


def test_real_time_drops_nothing_and_keeps_the_pace(watch, busy_video):
    code, records, _ = watch(busy_video, "--no-say")
    end = records[-1]
    assert code == 0
    assert end["frames"] == 24
    assert end["dropped_frames"] == 0
    assert end["fps"] == pytest.approx(2.0, rel=0.1)
    if end["latency_ms"]["p95"] is not None:
        assert end["latency_ms"]["p95"] < 1500


def test_questions_are_answered_at_their_time(watch, busy_video):
    asked = ("--ask", "3.2:What am I doing?", "--ask", "0:08:And now?", "--ask", "99:Over?")
    code, records, err = watch(busy_video, "--max-speed", "--no-say", *asked)
    assert code == 0
    queries = [(line["time"], line["text"]) for line in records if line["kind"] == "query"]
    assert queries == [(3.0, "What am I doing?"), (8.0, "And now?"), (11.5, "Over?")]
    for record, following in pairwise(records):
        if record["kind"] == "query":
            assert following["kind"] in ("answer", "query", "end")
    assert records[-1]["answers"] >= 1
    assert '"Over?" was asked at the end' in err


def test_speech_and_subtitles_are_files_as_long_as_the_video(watch, busy_video, tmp_path):
    wav, srt = tmp_path / "speech.wav", tmp_path / "words.srt"
    options = ("--threshold", "0.6", "--wav", wav, "--srt", srt)
    code, records, _ = watch(busy_video, "--max-speed", *options)
    remarks = [line for line in records if line["kind"] == "remark"]
    assert code == 0
    assert records[-1]["speech"] == str(wav)
    assert soundfile.info(wav).duration >= 11.9
    samples, rate = soundfile.read(wav)
    first = int(remarks[0]["time"] * rate)
    assert np.abs(samples[:first]).max(initial=0) < 0.001
    assert np.abs(samples[first : first + rate]).max() > 0.05
    cues = srt.read_text().split("\n\n")
    assert len(cues) - 1 == len(remarks)
    assert remarks[0]["text"] in cues[0]


def test_speech_goes_to_the_folder_out_when_faster_than_real_time(watch, busy_video):
    code, records, _ = watch(busy_video, "--max-speed", "--say")
    assert code == 0
    assert records[-1]["speech"] == "out/busy.wav (faster than real time)"
    assert Path("out/busy.wav").exists()


def test_overload_drops_the_oldest_and_counts(model, make_video):
    """Twice the frame rate that this stand-in for a slow machine can take: it goes on, and tells what it missed."""

    class SlowModel:
        def __init__(self) -> None:
            self.preprocess, self.open_stream, self.device = model.preprocess, model.open_stream, model.device
            self.encoder, self.silence_threshold = model.encoder, model.silence_threshold

        def look(self, frames: torch.Tensor) -> Encoded:
            time.sleep(0.1 * len(frames))
            return model.look(frames)

    config = Config.model_validate({"stream": {"fps": 20, "silence_threshold": 0.01}})
    app = App(WatchPlan(parse_source(str(make_video(seconds=5))), config), SlowModel())  # type: ignore[arg-type]
    app.start()
    seen = [event.index for event in app.events() if isinstance(event, Seen)]
    app.stop()
    assert app.failure is None
    assert seen == sorted(set(seen))
    assert app.num_dropped > 5
    assert len(seen) + app.num_dropped == 100


def test_a_failing_part_ends_the_run_with_its_error(model, busy_video):
    class BrokenModel:
        def __init__(self) -> None:
            self.preprocess, self.open_stream, self.device = model.preprocess, model.open_stream, model.device
            self.encoder, self.silence_threshold = model.encoder, model.silence_threshold

        def look(self, frames: torch.Tensor) -> Encoded:
            raise RuntimeError("out of memory")

    app = App(WatchPlan(parse_source(str(busy_video)), Config(), lossless=True), BrokenModel())  # type: ignore[arg-type]
    app.start()
    start_s = time.monotonic()
    assert not [event for event in app.events() if isinstance(event, Seen)]
    app.stop()
    assert time.monotonic() - start_s < 10 * pace()
    assert "the encoder thread failed: RuntimeError: out of memory" in str(app.failure)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("onlooker-")]


def test_truncated_file_is_narrated_as_far_as_it_goes(watch, make_video, tmp_path):
    whole = make_video(seconds=20, options={"movflags": "faststart"}, size=(320, 240)).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])
    code, records, err = watch(cut, "--max-speed", "--no-say")
    assert code == 0
    assert records[-1]["frames"] > 5
    assert "ends early" in err


def ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("prepare", [None, ignore_interrupts], ids=["foreground", "background job"])
def test_a_signal_stops_cleanly_within_seconds(make_video, tmp_path, number, prepare):
    """Ctrl-C reaches the whole process group, `kill` only the one process; a background job ignores Ctrl-C at birth."""
    video, wav = make_video(seconds=60, size=(96, 96)), tmp_path / "speech.wav"
    arguments = [video, "--json", "--frames", "--model", GOLDEN, "--device", "cpu", "--wav", wav]
    process = subprocess.Popen(
        [sys.executable, "-m", "assistant", "watch", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        preexec_fn=prepare,
    )
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert first["kind"] == "frame"
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    start_s = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - start_s < 8 * pace()
    assert process.returncode == 130
    assert json.loads(out.splitlines()[-1])["kind"] == "end"
    assert "Traceback" not in err
    assert soundfile.info(wav).samplerate == 22050


BAD = [
    ("none.mp4", [], 3, "none.mp4: no such file"),
    (".", [], 2, "is a folder"),
    ("empty.mp4", [], 2, "0 bytes"),
    ("text.mp4", [], 2, "is not a video"),
    ("camera:97", [], 3, "camera:97: no such camera"),
    ("camera:front", [], 2, "camera:N"),
    ("ftp://x/y", [], 2, "not a kind of address"),
    ("good.mp4", ["--fps", "0"], 2, '--fps = "0": must be 0.1–30'),
    ("good.mp4", ["--threshold", "2"], 2, "--threshold"),
    ("good.mp4", ["--ask", "What?"], 2, "must be TIME:QUESTION"),
    ("good.mp4", ["--wav", "a.mp3"], 2, "--wav"),
    ("good.mp4", ["--wav", "/dev/full/a.wav"], 2, "cannot be written"),
    ("good.mp4", ["--srt", "/dev/full/a.srt"], 2, "cannot be written"),
    ("good.mp4", ["--config", "none.toml"], 2, "no such file"),
    ("camera:97", ["--max-speed"], 2, "is live"),
]


@pytest.mark.parametrize(("source", "options", "code", "message"), BAD, ids=lambda value: str(value)[:40])
def test_a_mistake_is_one_message_and_a_fitting_exit_code(source, options, code, message, make_video, tmp_path, capsys):
    if os.name == "posix" and Path("/dev/video97").exists():
        raise AssertionError("this machine has a camera 97")
    Path("empty.mp4").touch()
    Path("text.mp4").write_text("This is not a video.\n" * 50)
    Path("good.mp4").write_bytes(make_video(seconds=1).read_bytes())
    arguments = [source, "--model", str(GOLDEN), "--device", "cpu", *options]
    assert cli.main(["watch", *arguments]) == code
    err = capsys.readouterr().err
    (line,) = [line for line in err.splitlines() if line.startswith("onlooker: ") and "warning" not in line]
    assert message in line
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--device", "cuda:7"], 3, 'model.device = "cuda:7"'),
        (["--model", "/nowhere"], 2, "/nowhere"),
        (["--device", "gpu"], 2, '--device = "gpu"'),
    ],
)
def test_a_wrong_model_or_device(options, code, message, make_video, capsys):
    arguments = [str(make_video(seconds=1)), "--model", str(GOLDEN), *options]
    assert cli.main(["watch", *arguments]) == code
    assert message in capsys.readouterr().err


def test_a_window_too_small_names_its_key(make_video, capsys, monkeypatch):
    monkeypatch.setenv("ONLOOKER_STREAM__WINDOW_TOKENS", "256")
    monkeypatch.setenv("ONLOOKER_STREAM__MAX_REPLY_TOKENS", "1000")
    assert cli.main(["watch", str(make_video(seconds=1)), "--model", str(GOLDEN), "--device", "cpu"]) == 2
    assert "stream.window_tokens = 256: too small" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "asked_s", "question"),
    [
        ("12:What?", 12, "What?"),
        ("12.5: What: now?", 12.5, "What: now?"),
        ("01:05:What?", 65, "What?"),
        ("1:00:05:What?", 3605, "What?"),
    ],
)
def test_times_of_questions(text, asked_s, question):
    query = parse_question(text, 3)
    assert (query.asked_s, query.text, query.id) == (asked_s, question, 3)


@pytest.mark.parametrize("text", ["What?", ":What?", "12:", "12: ", "-3:What?", "a:What?"])
def test_times_that_are_none(text):
    with pytest.raises(UsageError, match="TIME:QUESTION"):
        parse_question(text, 0)


def test_a_run_that_fails_leaves_yesterday_s_files_as_they_are(watch, tmp_path):
    broken, subtitles, speech = tmp_path / "broken.mp4", tmp_path / "a.srt", tmp_path / "a.wav"
    broken.write_bytes((ROOT / "assistant" / "demo.mp4").read_bytes()[:3000])
    for path in (subtitles, speech):
        path.write_text("yesterday's")
    code, _, _ = watch(broken, "--srt", subtitles, "--wav", speech)
    assert code == 2
    assert [path.read_text() for path in (subtitles, speech)] == ["yesterday's"] * 2


def test_speech_that_nobody_named_a_file_for_does_not_go_where_the_subtitles_are(watch, busy_video):
    code, lines, _ = watch(busy_video, "--max-speed", "--say", "--srt", "out/busy.wav")
    assert code == 0
    assert lines[-1]["speech"].startswith("out/busy-speech.wav")
    assert Path("out/busy.wav").read_text().startswith("1\n")
