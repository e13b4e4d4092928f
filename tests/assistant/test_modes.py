"""What the user switched outlives the daemon, and a file that lies opens no camera."""

import json
import os
from pathlib import Path

import pytest

from assistant.daemon.modes import Modes, ModesFile
from assistant.errors import OutputError


def test_what_was_switched_is_known_to_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "new" / "modes.json"
    modes = ModesFile(path)
    assert modes.now == Modes()
    modes.switch(paused=True)
    modes.switch(muted=True, paused=False)
    modes.switch(private=True)
    assert ModesFile(path).now == modes.now == Modes(paused=False, private=True, muted=True)
    assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"paused": "no"}', '{"unknown": true}', "null", "\udcff"])
def test_a_file_that_cannot_be_understood_keeps_the_camera_closed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "modes.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    modes = ModesFile(path)
    assert modes.now == Modes(paused=True, private=True)
    assert str(path) in modes.trouble
    modes.switch(paused=False)
    assert ModesFile(path).now == Modes(private=True)


def test_what_cannot_be_kept_is_done_and_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    modes = ModesFile(tmp_path / "file" / "modes.json")
    with pytest.raises(OutputError, match="a restart will not know"):
        modes.switch(paused=True)
    assert modes.now.paused


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "modes.json"
    ModesFile(path).switch(paused=True)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match="No space left"):
        ModesFile(path).switch(paused=False)
    assert json.loads(path.read_text())["paused"] is True
