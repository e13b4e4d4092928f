"""Files that are to be written: none is an input, none is emptied before there is something to put in its place."""

import os
import stat
from pathlib import Path

import pytest

from assistant.errors import OutputError
from assistant.runtime.folders import absolute, shown
from assistant.runtime.outputs import begin, check


def test_an_input_is_no_output_by_whatever_name(tmp_path):
    video = tmp_path / "v.mp4"
    video.write_bytes(b"precious")
    (tmp_path / "link").symlink_to(video)
    os.link(video, tmp_path / "hard")
    (tmp_path / "folder").mkdir()
    for path in (video, tmp_path / "link", tmp_path / "hard", tmp_path / "folder" / ".." / "v.mp4"):
        with pytest.raises(OutputError, match="is the video, which would be lost"):
            check(path, "--srt", {"the video": video})
    check(tmp_path / "other.srt", "--srt", {"the video": video})
    with pytest.raises(OutputError, match="is what --srt names"):
        check(tmp_path / "new", "--wav", {"what --srt names": tmp_path / "new"})
    assert video.read_bytes() == b"precious"
    assert not (tmp_path / "other.srt").exists()


@pytest.mark.parametrize("name", ["folder", "file/a.srt", "x" * 300])
def test_what_cannot_be_written_is_said_before_anything_is_made(name, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError):
        check(tmp_path / name, "--srt", {})
    assert sorted(tmp_path.rglob("*")) == before


def test_an_old_file_is_replaced_at_once_and_keeps_its_mode(tmp_path):
    path = tmp_path / "a.srt"
    path.write_text("yesterday")
    path.chmod(0o640)
    (tmp_path / "link").symlink_to(path)
    with path.open() as reader, begin(tmp_path / "link") as file:
        file.write(b"today")
        file.flush()
        assert path.read_text() == "today", "it can be read while it grows"
        assert reader.read() == "yesterday", "who reads the old one reads on"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert (tmp_path / "link").is_symlink()
    assert not [found for found in tmp_path.iterdir() if found.name.endswith(".part")]


def test_a_pipe_that_nobody_reads_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="nobody reads this pipe"):
        begin(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with begin(tmp_path / "pipe") as file:
        file.write(b"words")
    assert os.read(reader, 10) == b"words"
    os.close(reader)


def test_paths_count_from_the_folder_one_stands_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert absolute("a.srt") == tmp_path / "a.srt"
    assert absolute("~/a.srt") == tmp_path / "home" / "a.srt"
    assert shown(tmp_path / "out" / "a.wav") == "out/a.wav"
    assert shown(Path("/elsewhere/a.wav")) == "/elsewhere/a.wav"
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert absolute("a.srt").name == "a.srt", "and opening it says that it is not there"
