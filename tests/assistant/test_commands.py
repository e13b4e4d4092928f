"""The small commands, as a user types them."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from assistant import cli
from assistant.commands import bench
from assistant.commands.checks import examine
from assistant.config.keys import Config, all_keys
from assistant.config.settings import load_settings, user_config_path
from assistant.control.instance import RUNTIME_VARIABLE
from assistant.machine import devices
from assistant.mind.opening import resolve_device, resolve_dtype
from model.engine import check_engine, has_graphs
from model.errors import OnlookerError
from model.published import GIB, PUBLISHED
from tests.assistant.control_daemon import short_directory
from tests.pace import pace

GOLDEN = Path(__file__).parents[1] / "golden"
ROOT = Path(__file__).parents[2]


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main(list(args))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_help_is_quick_and_light():
    probe = (
        "import sys, assistant.cli as cli\n"
        "heavy = {'torch', 'cv2', 'av', 'transformers', 'numpy', 'pydantic', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "cli.main(['--help'])"
    )
    best_s = float("inf")
    for _ in range(3):
        start_s = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", probe],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        best_s = min(best_s, time.monotonic() - start_s)
        assert done.returncode == 0, done.stderr
    assert "watch" in done.stdout
    assert best_s < 0.5 * pace()


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["model"], ["config"], ["watch", "--say", "--no-say"], ["bench", "--model", "a", "--shape", "b"]],
)
def test_wrong_commands_end_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: onlooker" in capsys.readouterr().err


def test_config_path_check_show(capsys, tmp_path):
    assert run(capsys, "config", "path") == (0, f"{user_config_path()}\n", "")
    assert "defaults are in effect" in run(capsys, "config", "check")[1]
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[stream]\nfps = 0\nfpz = 1\n")
    code, _, err = run(capsys, "config", "check", str(wrong))
    assert code == 2
    assert err.splitlines() == [
        f"onlooker: {wrong}: stream.fps = 0: must be 0.1–30",
        f"onlooker: {wrong}: stream.fpz = 1: unknown key; did you mean stream.fps?",
    ]
    right = tmp_path / "right.toml"
    right.write_text("[stream]\nfps = 4\n")
    assert run(capsys, "config", "check", str(right)) == (0, f"{right}: ok\n", "")


def test_config_show_can_be_saved_as_a_file(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("ONLOOKER_STREAM__FPS", "4")
    code, out, _ = run(capsys, "config", "show")
    assert code == 0
    assert "fps = 4.0  # $ONLOOKER_STREAM__FPS" in out
    monkeypatch.delenv("ONLOOKER_STREAM__FPS")
    saved = tmp_path / "saved.toml"
    saved.write_text(out)
    assert load_settings(saved, environ={}).config.stream.fps == 4
    facts = json.loads(run(capsys, "config", "show", "--json")[1])
    assert set(facts["origins"]) == set(all_keys())


def test_doctor_tells_what_is_missing_and_what_to_do(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ONLOOKER_MODEL__NAME", str(GOLDEN))
    code, out, _ = run(capsys, "doctor", "--json")
    report = json.loads(out)
    checks = {check["name"]: check for check in report["checks"]}
    assert code == 0, report
    assert report["ok"] is True
    for name in ("python", "torch", "device", "checkpoint", "weights", "video files", "voice", "disk space"):
        assert checks[name]["ok"], checks[name]
    for check in checks.values():
        assert check["ok"] or check["remedy"], check

    monkeypatch.setenv("ONLOOKER_MODEL__NAME", str(tmp_path / "none"))
    monkeypatch.setenv("ONLOOKER_MODEL__DEVICE", "cuda:9")
    code, out, _ = run(capsys, "doctor")
    assert code == 3
    assert "missing: device, checkpoint" in out
    assert "Traceback" not in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("watch", "--model", "rtsp://me:hunter2@cam/1", "demo"),
        ("watch", "demo", "rtsp://me:hunter2@cam/1"),
        ("source", "add", "rtsp://me:hunter2@cam/1"),
        ("watch", "demo", "--ask", "rtsp://me:hunter2@cam/1"),
        ("watch", "demo", "--fps=rtsp://me:hunter2@cam/1"),
    ],
)
def test_an_address_at_the_wrong_place_of_a_command_is_not_shown(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "assistant", *arguments],
        capture_output=True,
        text=True,
        input="",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.returncode in (2, 3)
    assert "hunter2" not in done.stderr + done.stdout
    assert done.stderr


def test_a_log_is_written_over_nothing_but_a_log(tmp_path):
    video, notes = tmp_path / "v.mp4", tmp_path / "notes.txt"
    video.write_bytes((ROOT / "assistant" / "demo.mp4").read_bytes())
    notes.write_text("precious\n")
    before = video.read_bytes()
    for log, said in (
        (video, "is the video, which would be lost"),
        (notes, "is no log of ours"),
        ("/dev/full", "no log"),
    ):
        with short_directory() as directory:
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "assistant",
                    "run",
                    str(video),
                    "--no-say",
                    "--log",
                    str(log),
                    "--model",
                    str(GOLDEN),
                ],
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), RUNTIME_VARIABLE: str(directory)},
                timeout=60,
            )
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert (video.read_bytes(), notes.read_text()) == (before, "precious\n")


def test_doctor_tells_what_the_plain_engine_attends_with(capsys, monkeypatch):
    checks = {check["name"]: check for check in json.loads(run(capsys, "doctor", "--json")[1])["checks"]}
    assert checks["attention"]["detail"] == "SDPA, for the plain engine"
    monkeypatch.setenv("ONLOOKER_MODEL__ATTENTION", "flash_attention_2")
    monkeypatch.setenv("ONLOOKER_MODEL__DEVICE", "cpu")
    code, out, _ = run(capsys, "doctor", "--json")
    attention = next(check for check in json.loads(out)["checks"] if check["name"] == "attention")
    assert code == 3
    assert "pip install flash-attn --no-build-isolation" in attention["detail"]
    assert attention["remedy"] == 'set model.attention to "auto"'


def test_doctor_reports_a_wrong_configuration(capsys, monkeypatch):
    monkeypatch.setenv("ONLOOKER_STREAM__FPS", "0")
    code, out, _ = run(capsys, "doctor", "--json")
    assert code == 3
    assert json.loads(out)["checks"][0]["ok"] is False


def test_devices(capsys):
    code, out, _ = run(capsys, "devices", "--json")
    assert code == 0
    assert "cpu" in [device["use"] for device in json.loads(out)]
    assert "compute" in run(capsys, "devices")[1]


def test_cameras_are_listed_by_their_picture_node(tmp_path):
    for node, index, name in (("video0", 0, "Front"), ("video1", 1, "Front"), ("video10", 0, "Glasses")):
        (tmp_path / node).mkdir()
        (tmp_path / node / "index").write_text(f"{index}\n")
        (tmp_path / node / "name").write_text(f"{name}\n")
    found = devices.linux_cameras(tmp_path)
    assert [(camera.use, camera.name) for camera in found] == [("camera:0", "Front"), ("camera:10", "Glasses")]


def test_model_list_and_path(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ONLOOKER_DATA", str(tmp_path / "data"))
    facts = json.loads(run(capsys, "model", "list", "--json")[1])
    assert facts["checkpoint"]["name"] == "default"
    assert "smollm2-135m-instruct" in [weights["name"] for weights in facts["weights"]]
    assert not any(weights["present"] for weights in facts["weights"])
    assert run(capsys, "model", "path") == (0, f"{tmp_path}/data/weights\n", "")
    assert run(capsys, "model", "path", "whisper-tiny.en")[1] == f"{tmp_path}/data/weights/whisper-tiny.en\n"
    code, _, err = run(capsys, "model", "path", "nonsense")
    assert code == 2
    assert "nonsense" in err


@pytest.fixture
def pulled(monkeypatch, tmp_path) -> None:
    """All parts of one published checkpoint, as far as `is_present` looks."""
    monkeypatch.setenv("ONLOOKER_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "weights" / "hub").mkdir(parents=True)
    (tmp_path / "file").write_text("here")
    mark = json.dumps({"folder": str(tmp_path), "sizes": {"file": 4}})
    for part in PUBLISHED["proassist-i10"].parts:
        (tmp_path / "data" / "weights" / "hub" / f"{part.replace('/', '--')}.path").write_text(mark)


def with_gpu(monkeypatch, gibibytes: float) -> None:
    monkeypatch.setattr("assistant.machine.memory.gpu_bytes", lambda: int(gibibytes * GIB))


def test_model_list_says_what_fits(capsys, monkeypatch, pulled):
    with_gpu(monkeypatch, 8)
    facts = {one["name"]: one for one in json.loads(run(capsys, "model", "list", "--json")[1])["checkpoints"]}
    assert facts.keys() == PUBLISHED.keys()
    assert [name for name, one in facts.items() if one["present"]] == ["proassist-i10"]
    assert {one["fits_as"] for one in facts.values()} == {"int4"}
    assert [name for name, one in facts.items() if one["recommended"]] == ["videollm-online-8b-v1plus"]
    assert "* videollm-online-8b-v1plus  fits" in run(capsys, "model", "list")[1]
    with_gpu(monkeypatch, 0)
    out = run(capsys, "model", "list")[1]
    assert "videollm-online-8b-v1plus  needs GPU" in out
    assert "recommended" not in out


def test_model_use_of_a_published_one_sets_what_fits(capsys, monkeypatch, pulled):
    with_gpu(monkeypatch, 12)
    file = user_config_path()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("# mine\n[stream]\nfps = 1.0\n[voice]\nenabled = false\n")
    code, out, _ = run(capsys, "model", "use", "proassist-i10")
    assert code == 0
    assert f'{file}: model.weights = "int8"\n' in out
    text = file.read_text()
    assert text.startswith("# mine\n")
    settings = load_settings(file).config
    assert (settings.model.name, settings.model.weights) == ("proassist-i10", "int8")
    assert (settings.stream.fps, settings.stream.window_tokens, settings.voice.enabled) == (2.0, 4096, False)
    for name in ("proassist-i10", "594zyc/ProAssist-Model-L4096-I10", "google/siglip-so400m-patch14-384"):
        code, _, err = run(capsys, "model", "remove", name)
        assert code == 2
        assert "the configuration uses it" in err


def test_model_use_of_a_published_one_refuses_what_does_not_fit(capsys, monkeypatch, pulled):
    with_gpu(monkeypatch, 6)
    code, _, err = run(capsys, "model", "use", "proassist-i10")
    assert code == 2
    assert "needs a GPU with 5.7 GiB and some more to work in; this machine's has 6.0 GiB" in err
    code, _, err = run(capsys, "model", "use", "proassist-i5")
    assert "get it first with `onlooker model pull proassist-i5`" in err
    assert not user_config_path().exists()


def test_what_has_lost_a_file_is_not_present(capsys, monkeypatch, pulled, tmp_path):
    with_gpu(monkeypatch, 24)
    (tmp_path / "file").write_text("less")
    assert run(capsys, "model", "use", "proassist-i10")[0] == 0
    (tmp_path / "file").write_text("les")
    assert "get it first" in run(capsys, "model", "use", "proassist-i10")[2]
    for damaged in (b"\xff", b"[]", b"{}", b'{"folder": 1, "sizes": 2}'):
        mark = tmp_path / "data" / "weights" / "hub" / "google--siglip-so400m-patch14-384.path"
        mark.write_bytes(damaged)
        assert "get it first" in run(capsys, "model", "use", "proassist-i10")[2]


def test_another_checkpoint_does_not_inherit_the_last_ones_format(capsys, monkeypatch):
    file = user_config_path()
    file.parent.mkdir(parents=True)
    file.write_text('[model]\nname = "x/y"\nweights = "int8"\n[stream]\nfps = 1.0\nsilence_threshold = 0.9\n')
    monkeypatch.setenv("ONLOOKER_MODEL__WEIGHTS", "dtype")
    assert run(capsys, "model", "use", str(GOLDEN))[0] == 0
    config = load_settings(file, environ={}).config
    assert (config.model.weights, config.stream.silence_threshold, config.stream.fps) == ("dtype", "checkpoint", 1.0)


def test_names_of_any_length_are_names(capsys, pulled):
    for action in ("use", "path", "pull", "remove"):
        code, _, err = run(capsys, "model", action, "x" * 3000)
        assert code in (2, 3)
        assert err.count("\n") == 1


def test_model_path_and_remove(capsys, pulled, tmp_path):
    assert run(capsys, "model", "path", "proassist-i10") == (0, f"{tmp_path}\n", "")
    code, _, err = run(capsys, "model", "remove", "nonsense")
    assert code == 3
    assert "'nonsense' are not known" in err
    assert run(capsys, "model", "remove", "whisper-tiny.en")[1] == "whisper-tiny.en: was not here\n"


def test_model_pull_of_an_unknown_name(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ONLOOKER_DATA", str(tmp_path / "data"))
    code, _, err = run(capsys, "model", "pull", "nonsense")
    assert code == 3
    assert "nonsense" in err


def test_model_use_keeps_the_rest_of_the_file(capsys):
    file = user_config_path()
    file.parent.mkdir(parents=True)
    file.write_text("# my settings\n[stream]\nfps = 1  # slow\n")
    code, out, _ = run(capsys, "model", "use", str(GOLDEN))
    assert code == 0
    assert out == f'{file}: model.name = "{GOLDEN}"\n'
    assert "# my settings" in file.read_text()
    settings = load_settings()
    assert settings.config.model.name == str(GOLDEN)
    assert settings.config.stream.fps == 1


@pytest.mark.parametrize("name", ["nonsense", "org/never-fetched", "."])
def test_model_use_refuses_what_is_not_there(capsys, name):
    code, _, err = run(capsys, "model", "use", name)
    assert code == 2
    assert err.startswith("onlooker: ")
    assert not user_config_path().exists()


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


@pytest.fixture
def editor(tmp_path, monkeypatch) -> Path:
    """What $EDITOR runs: it replaces the file by what lies in `edits`, one after another."""
    script = tmp_path / "editor.sh"
    script.write_text(
        '#!/bin/sh\nnext=$(ls "$(dirname "$0")"/edits | head -n 1)\nmv "$(dirname "$0")/edits/$next" "$1"\n'
    )
    script.chmod(0o755)
    (tmp_path / "edits").mkdir()
    monkeypatch.setenv("VISUAL", str(script))
    return tmp_path / "edits"


def test_config_edit_takes_over_only_what_is_right(capsys, tmp_path, monkeypatch, editor):
    path = tmp_path / "config.toml"
    path.write_text("[stream]\nfps = 2.0\n")
    monkeypatch.setenv("ONLOOKER_CONFIG", str(path))
    (editor / "1").write_text("[stream]\nfps = 0\n")
    (editor / "2").write_text("[stream]\nfps = 3.0 # mine\n")
    asked = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "")
    code, shown, _ = run(capsys, "config", "edit")
    assert (code, len(asked)) == (0, 1)
    assert f"{path}: stream.fps = 0: must be 0.1–30" in shown
    assert path.read_text() == "[stream]\nfps = 3.0 # mine\n"
    (editor / "3").write_text("[stream]\nfps = 0\n")
    monkeypatch.setattr("builtins.input", lambda _: "n")
    code, _, _ = run(capsys, "config", "edit")
    assert (code, path.read_text()) == (2, "[stream]\nfps = 3.0 # mine\n")
    (editor / "4").write_text(path.read_text())
    assert run(capsys, "config", "edit")[:2] == (0, "nothing changed\n")
    monkeypatch.setenv("VISUAL", "/no/such/editor")
    code, _, told = run(capsys, "config", "edit")
    assert (code, "/no/such/editor" in told) == (2, True)


def test_a_new_configuration_begins_with_every_key_in_comments(capsys, tmp_path, monkeypatch, editor):
    from assistant.commands.config import defaults
    from assistant.config.keys import Config

    path = tmp_path / "new" / "config.toml"
    monkeypatch.delenv("ONLOOKER_CONFIG", raising=False)
    monkeypatch.setattr("assistant.config.settings.user_config_path", lambda: path)
    (editor / "1").write_text(defaults().replace("# fps = 2.0", "fps = 4.0"))
    assert run(capsys, "config", "edit")[0] == 0
    _, shown, _ = run(capsys, "config", "show", "--json")
    values = json.loads(shown)["values"]
    assert values["stream"]["fps"] == 4.0
    assert values["voice"] == Config().voice.model_dump()


def test_an_apple_gpu_is_taken_where_there_is_no_other(monkeypatch):
    """As far as can be tried without one: what is chosen, and what is said."""
    assert resolve_device("auto") == "cpu"
    with pytest.raises(OnlookerError, match="no Apple GPU here"):
        resolve_device("mps")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert resolve_device("auto") == resolve_device("mps") == "mps"
    assert (resolve_dtype("auto", "mps"), resolve_dtype("auto", "cuda:1")) == ("float32", "bfloat16")
    (device,) = [check for check in examine(Config()) if check.name == "device"]
    assert device.ok
    assert device.remedy.startswith("it runs the plain engine")


def test_an_amd_gpu_runs_the_plain_engine(monkeypatch):
    """torch calls it "cuda"; no such GPU is here, so that only the choice is tried."""
    gpu = torch.device("cuda")
    assert has_graphs(gpu)
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert not has_graphs(gpu)
    check_engine(gpu, kind="auto", weights="dtype")
    with pytest.raises(OnlookerError, match="weights = 'int8': needs an NVIDIA GPU, and the device is an AMD GPU"):
        check_engine(gpu, kind="auto", weights="int8")
