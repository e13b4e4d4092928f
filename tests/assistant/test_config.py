"""Every key documented and checked; every mistake reported at once, with its place, value and range."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from assistant.cli import main
from assistant.config import migration
from assistant.config.keys import Config, all_keys
from assistant.config.migration import FORMAT
from assistant.config.settings import find_config, load_settings, set_keys, sources_path, user_config_path
from assistant.errors import ConfigError

DOCUMENTED = Path(__file__).parents[2] / "config.toml"


def problems_of(tmp_path: Path, text: str, **environ: str) -> list[str]:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environ=environ)
    assert caught.value.exit_code == 2
    return [problem.replace(str(path), "config.toml") for problem in caught.value.problems]


def test_documented_file_is_the_defaults():
    assert tomllib.loads(DOCUMENTED.read_text()) == {"format": FORMAT, **Config().model_dump()}


def test_documented_file_says_what_each_key_must_be():
    text = DOCUMENTED.read_text()
    for dotted, must in all_keys().items():
        section, key = dotted.split(".")
        table = text.split(f"[{section}]")[1].split("\n[")[0]
        comment = re.search(rf"((?:^#.*\n)+){key} = ", table, re.MULTILINE)
        assert comment, dotted
        words = " ".join(line.removeprefix("#").strip() for line in comment[1].splitlines())
        assert must in words, f"{dotted}: the comment does not say: {must}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[stream]\nfps = 0", "config.toml: stream.fps = 0: must be 0.1–30"),
        ("[stream]\nfps = nan", "config.toml: stream.fps = nan: must be 0.1–30"),
        ("[stream]\nfps = true", "config.toml: stream.fps = true: must be 0.1–30"),
        (
            "[stream]\nsilence_threshold = 1.0",
            'config.toml: stream.silence_threshold = 1.0: must be between 0 and 1 (both excluded), or "checkpoint"',
        ),
        (
            "[stream]\nwindow_tokens = 300.5",
            "config.toml: stream.window_tokens = 300.5: must be a whole number, 256–131072",
        ),
        (
            '[model]\ndevice = "gpu"',
            'config.toml: model.device = "gpu": must be "auto", "cpu", "mps", "cuda" or "cuda:N"',
        ),
        (
            '[voice]\noutput = "a.mp3"',
            'config.toml: voice.output = "a.mp3": must be "auto", or the path of a .wav file',
        ),
        ("[policy]\nremarks_per_hour = 0", 'config.toml: policy.remarks_per_hour = 0: must be 0.5–600, or "auto"'),
        (
            '[policy]\nquiet_hours = ["10pm"]',
            'config.toml: policy.quiet_hours = ["10pm"]: must be a list of times of the day such as ["22:00-07:00"]',
        ),
        ("[stream]\nfpz = 2", "config.toml: stream.fpz = 2: unknown key; did you mean stream.fps?"),
        ("[voices]\nrate_wpm = 2", "config.toml: voices.rate_wpm = 2: unknown key; did you mean voice.rate_wpm?"),
        ("fps = 2", "config.toml: fps = 2: unknown key; `onlooker config show` lists all keys"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, text, problem):
    assert problems_of(tmp_path, text) == [problem]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf[stream]\r\nfps = 3\r\n")
    assert load_settings(path, environ={}).config.stream.fps == 3
    set_keys(path, {("model", "name"): "org/new"})
    assert load_settings(path, environ={}).config.model.name == "org/new"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.symlink_to("nowhere"), "cannot be read: No such file"),
        (lambda path: os.mkfifo(path), "is a pipe or device"),
        (lambda path: path.write_bytes(b"#" * (2 << 20)), "at most"),
        (lambda path: path.write_bytes("[stream]\nfps = 3".encode("utf-16")), "not UTF-8 text but UTF-16"),
        (lambda path: path.write_text("a = " + "[" * 10_000), "not valid TOML"),
        (lambda path: path.write_bytes(b"[stream]\n\0"), "not valid TOML"),
        (lambda path: path.write_text("sources = 3"), "sources = 3: must be a table, [sources]"),
    ],
)
def test_what_lies_in_the_file_s_place_is_told_of(make, words):
    path = user_config_path()
    path.parent.mkdir(parents=True)
    make(path)
    with pytest.raises(ConfigError, match=re.escape(words)) as refused:
        load_settings(environ={})
    assert str(path) in str(refused.value)


def test_variables_of_the_environment():
    for text in ('["22:00-07:00", "12:00-13:00"]', "22:00-07:00,12:00-13:00"):
        settings = load_settings(environ={"ONLOOKER_POLICY__QUIET_HOURS": text})
        assert settings.config.policy.quiet_hours == ["22:00-07:00", "12:00-13:00"]
    with pytest.raises(ConfigError, match=re.escape("did you mean $ONLOOKER_STREAM__FPS?")):
        load_settings(environ={"ONLOOKER_STREAM_FPS": "4"})
    for variable, meant in [
        ("ONLOOKER_FPS", "ONLOOKER_STREAM__FPS"),
        ("ONLOOKER_DATTA", "ONLOOKER_DATA"),
        ("ONLOOKER_RUNTIM", "ONLOOKER_RUNTIME"),
    ]:
        with pytest.raises(ConfigError, match=re.escape(f"did you mean ${meant}?")):
            load_settings(environ={variable: "4"})
    others = ("DATA", "DRILLS", "FOLDER", "GOLDEN", "GOLDEN_PROASSIST", "GRAMMAR", "RUNTIME", "SUPERVISOR", "TOKENIZER")
    assert load_settings(environ={f"ONLOOKER_{name}": "/x" for name in others}).config == Config()


def test_names_of_sources(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[sources]\nkitchen = "rtsp://me:hunter2@cam/1"\n')
    private = sources_path()
    private.parent.mkdir(parents=True)
    private.write_text('front = "camera:0"\n')
    private.chmod(0o600)
    names = load_settings(path, environ={}).config.sources
    assert names == {"kitchen": "rtsp://me:hunter2@cam/1", "front": "camera:0"}
    private.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_settings(path, environ={})


@pytest.mark.parametrize("entry", ['demo = "camera:0"', '"a b" = "camera:0"', "kitchen = 3", "kitchen = ['hunter2']"])
def test_a_wrong_name_of_a_source_is_one_line_without_its_address(tmp_path, entry):
    (problem,) = problems_of(tmp_path, f"[sources]\n{entry}\n")
    assert "must be letters, digits" in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize("value", ["rtsp://me:hunter2@cam/1", "cam.example/live/hunter2", "me:hunter2"])
@pytest.mark.parametrize(
    "entry",
    [
        'source = "{}"',
        '[capture]\nsorce = "{}"',
        '[capture]\nsource = ["{}"]',
        '[cpature]\nsource = "{}"',
        '[source]\na = "{}"',
    ],
)
def test_an_address_in_the_wrong_place_is_not_shown(entry, value, tmp_path):
    (problem,) = problems_of(tmp_path, entry.format(value))
    assert "source" in problem or "sorce" in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize("name", ["ONLOOKER_CAPTURE_SOURCE", "ONLOOKER_CAPTURE__SORCE", "ONLOOKER_CPATURE__SOURCE"])
def test_an_address_under_a_wrong_name_of_a_variable_is_not_shown(name):
    with pytest.raises(ConfigError, match=re.escape(f"${name} = …: ")):
        load_settings(environ={name: "me:hunter2"})


@pytest.mark.parametrize(
    "text",
    [
        '[capture]\n"rtsp://me:hunter2@cam/1" = 1',
        '"rtsp://me:hunter2@cam/1" = 1',
        '["rtsp://me:hunter2@cam/1"]\na = 1',
        '[sources]\n"rtsp://me:hunter2@cam/1" = "kitchen"',
        'format = "rtsp://me:hunter2@cam/1"',
    ],
)
def test_an_address_in_a_keys_place_is_not_shown(text, tmp_path):
    problems = problems_of(tmp_path, text)
    assert problems
    assert not any("hunter2" in problem for problem in problems)


def test_names_that_are_added_at_once_are_all_kept(tmp_path):
    command = [sys.executable, "-m", "assistant", "source", "add"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    adding = [
        subprocess.Popen([*command, f"cam{n}"], env=environ, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for n in range(5)
    ]
    for number, process in enumerate(adding):
        assert process.stdin is not None
        process.stdin.write(f"http://host/{number}\n".encode())
        process.stdin.close()
    assert [process.wait(60) for process in adding] == [0] * 5
    assert set(load_settings(environ={}).config.sources) == {f"cam{number}" for number in range(5)}


def test_an_address_for_another_key_is_not_shown(tmp_path):
    (problem,) = problems_of(tmp_path, '[voice]\noutput = "rtsp://me:hunter2@cam"')
    assert problem.startswith('config.toml: voice.output = "…": must be')


def test_a_file_with_an_address_that_others_may_read_is_warned_of(tmp_path, capsys):
    path = tmp_path / "config.toml"
    for text, mode, is_warned in (
        ('[sources]\nkitchen = "rtsp://me:hunter2@cam/1"\n', 0o644, True),
        ('[capture]\nsource = "rtsp://me:hunter2@cam/1"\n', 0o640, True),
        ('[capture]\nsource = "rtsp://me:hunter2@cam/1"\n', 0o600, False),
        ('[capture]\nsource = "camera:1"\n[sources]\nfront = "camera:0"\n', 0o644, False),
    ):
        path.write_text(text)
        path.chmod(mode)
        assert main(["config", "check", str(path)]) == 0
        out, err = capsys.readouterr()
        assert out == f"{path}: ok\n"
        assert (f"chmod 600 {path}" in err) == is_warned
        assert "hunter2" not in err


def test_all_mistakes_at_once(tmp_path):
    text = '[stream]\nfps = 99\nfpz = 1\n[model]\ndtype = "int3"\n[nonsense]\na = 1\n'
    problems = problems_of(tmp_path, text, ONLOOKER_VOICE__VOLUME="loud")
    assert len(problems) == 5
    assert '$ONLOOKER_VOICE__VOLUME = "loud": must be 0–1' in problems


def test_not_toml_names_the_line(tmp_path):
    (problem,) = problems_of(tmp_path, "[stream]\nfps = = 2\n")
    assert problem.startswith("config.toml: not valid TOML:")
    assert "line 2" in problem


def test_precedence(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[stream]\nfps = 3\nwindow_tokens = 1000\n[voice]\nvolume = 0.25\n")
    environ = {"ONLOOKER_STREAM__FPS": "4", "ONLOOKER_VOICE__VOLUME": "0.5", "ONLOOKER_VOICE__ENABLED": "false"}
    settings = load_settings(path, {"stream.fps": ("--fps", "5")}, environ)
    assert settings.config.stream.fps == 5
    assert settings.config.voice.volume == 0.5
    assert settings.config.voice.enabled is False
    assert settings.config.stream.window_tokens == 1000
    assert settings.config.stream.max_reply_tokens == 100
    assert settings.origins["stream.fps"] == "--fps"
    assert settings.origins["stream.window_tokens"] == str(path)


def test_a_wrong_option_is_named_as_typed():
    with pytest.raises(ConfigError, match=re.escape('--fps = "fast": must be 0.1–30')):
        load_settings(None, {"stream.fps": ("--fps", "fast")}, {})


def test_search_order(tmp_path):
    named, by_environment = tmp_path / "a.toml", tmp_path / "b.toml"
    named.touch()
    by_environment.touch()
    environ = {"ONLOOKER_CONFIG": str(by_environment)}
    assert find_config(named, environ) == named
    assert find_config(None, environ) == by_environment
    assert find_config(None, {}) is None
    user_config_path().parent.mkdir(parents=True)
    user_config_path().touch()
    assert find_config(None, {}) == user_config_path()


def test_a_named_file_must_exist(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_settings(tmp_path / "none.toml", environ={})


def test_set_key_keeps_comments_and_order(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("# mine\n[stream]\nfps = 3  # slow\n\n[model]\nname = 'old'  # which\n")
    set_keys(path, {("model", "name"): "org/new"})
    text = path.read_text()
    assert "# mine" in text
    assert "fps = 3  # slow" in text
    assert "# which" in text
    assert load_settings(path, environ={}).config.model.name == "org/new"


def test_set_key_makes_a_file(tmp_path):
    path = tmp_path / "new" / "config.toml"
    set_keys(path, {("model", "name"): "default"})
    assert load_settings(path, environ={}).config.model.name == "default"


@pytest.fixture
def two_renames(monkeypatch):
    """As if formats 2 and 3 had renamed keys, one of them twice."""
    monkeypatch.setattr(migration, "FORMAT", 3)
    names = {2: {"camera.rate": "stream.rate", "voice.loudness": "voice.volume"}, 3: {"stream.rate": "stream.fps"}}
    monkeypatch.setattr(migration, "RENAMED", names)


OLD = """# mine
[camera]
rate = 4.0  # fast

[voice]
# not so loud
loudness = 0.5
rate_wpm = 200
"""


def test_an_older_file_is_understood(two_renames, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(OLD)
    config = load_settings(path, environ={}).config
    assert (config.stream.fps, config.voice.volume, config.voice.rate_wpm) == (4.0, 0.5, 200)
    path.write_text(OLD.replace("4.0", "0"))
    with pytest.raises(ConfigError, match=r"stream\.fps = 0: must be"):
        load_settings(path, environ={})
    path.write_text("format = 2\n" + OLD.replace("camera", "stream").replace("loudness", "volume"))
    assert load_settings(path, environ={}).config == config
    path.write_text("format = 3\n" + OLD)
    with pytest.raises(ConfigError, match=r"camera\.rate = 4\.0: unknown key"):
        load_settings(path, environ={})


@pytest.mark.parametrize("number", ["0", "2", "1.5", "true", '"1"'])
def test_a_format_that_is_not_known_is_refused(number, tmp_path):
    (problem,) = problems_of(tmp_path, f"format = {number}\n[stream]\nfps = 2")
    assert problem.startswith("config.toml: format = ")


def test_this_format_may_be_said(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(f"format = {FORMAT}\n[stream]\nfps = 4")
    assert load_settings(path, environ={}).config.stream.fps == 4
