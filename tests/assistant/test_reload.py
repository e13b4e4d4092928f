"""Edits of the configuration are noticed once, mistakes are told once, and what was in effect stays."""

from pathlib import Path

import pytest

from assistant.config import reload
from assistant.config.keys import Config
from assistant.config.reload import ConfigFile, changes, waits_for_a_start
from assistant.config.settings import load_settings
from assistant.errors import ConfigError


@pytest.fixture(autouse=True)
def at_once(monkeypatch) -> None:
    monkeypatch.setattr(reload, "POLL_S", 0.0)


def open_file(path: Path) -> ConfigFile:
    def read():
        return load_settings(path if path.exists() else None, environ={})

    return ConfigFile(read, read(), path)


def test_an_edit_is_noticed_once(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[stream]\nfps = 1\n")
    file = open_file(path)
    assert file.poll() is None
    path.write_text("[stream]\nfps = 3.5\n")
    config = file.poll()
    assert config is not None
    assert config.stream.fps == 3.5
    assert file.poll() is None
    again = file.poll(now=True)
    assert again is not None
    assert again.stream.fps == 3.5


def test_a_mistake_is_told_once_and_put_right(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    file = open_file(path)
    path.write_text("[stream]\nfps = 0\n")
    with pytest.raises(ConfigError, match="fps"):
        file.poll()
    assert file.poll() is None
    path.write_text("[stream]\nfps = 2.5\n")
    config = file.poll()
    assert config is not None
    assert config.stream.fps == 2.5


def test_a_file_that_comes_or_goes(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "config.toml"
    file = open_file(path)
    assert file.poll() is None
    path.write_text("[stream]\nfps = 3\n")
    config = file.poll()
    assert config is not None
    assert config.stream.fps == 3
    path.unlink()
    gone = file.poll()
    assert gone is not None
    assert gone == Config(), "it lay where the user's own file lies: without it the defaults hold"
    named = tmp_path / "named.toml"
    named.write_text("[stream]\nfps = 3\n")
    file = ConfigFile(lambda: load_settings(named), load_settings(named), path)
    named.unlink()
    with pytest.raises(ConfigError, match="is gone"):
        file.poll()
    assert file.poll() is None


def test_what_has_changed_and_what_must_wait() -> None:
    new = Config.model_validate({"stream": {"fps": 5}, "model": {"weights": "int8"}, "policy": {"min_gap_s": 9}})
    changed = changes(Config(), new)
    assert changed == {"model.weights": "int8", "stream.fps": 5.0, "policy.min_gap_s": 9.0}
    assert waits_for_a_start(changed) == ["model.weights"]
