"""`onlooker config` checks, shows and edits the configuration, and takes over only what is right."""

import json
from pathlib import Path

import pytest

from assistant.config.keys import all_keys
from assistant.config.settings import load_settings, user_config_path
from tests.assistant.command_line import run


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


def test_an_address_under_any_key_is_shown_without_its_password(capsys, tmp_path, monkeypatch):
    path = tmp_path / "config.toml"
    path.write_text('[model]\nname = "rtsp://me:hunter2@cam/x"\n[ear]\nmicrophone = "rtsp://cam/x?token=hunter2"\n')
    monkeypatch.setenv("ONLOOKER_CONFIG", str(path))
    for command in (("config", "show"), ("config", "show", "--json"), ("watch", "demo", "--no-say")):
        _, out, told = run(capsys, *command)
        assert "hunter2" not in out + told
        assert "rtsp://cam/" in out + told
    assert "hunter2" in run(capsys, "config", "show", "--secrets")[1]


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
    monkeypatch.setenv("VISUAL", "false")
    code, _, told = run(capsys, "config", "edit")
    assert (code, "ended with code 1" in told) == (2, True)
    (editor.parent / "fifo.sh").write_text('#!/bin/sh\nrm "$1" && mkfifo "$1"\n')
    (editor.parent / "fifo.sh").chmod(0o755)
    monkeypatch.chdir(editor.parent)
    monkeypatch.setenv("VISUAL", "./fifo.sh")
    code, _, told = run(capsys, "config", "edit")
    assert (code, "left no file behind" in told) == (2, True)
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
