"""Files that are to be written: none is an input, none is emptied before there is something to put in its place."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.capture.playlists import pieces_of
from assistant.capture.source import parse_source
from assistant.config.paths import journal_path, own_files, standing_path
from assistant.config.settings import load_settings
from assistant.errors import OutputError
from assistant.runtime.folders import absolute, shown
from model.outputs import append, begin, check, check_all


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
    assert absolute("a.srt").name == "a.srt"
    with pytest.raises(OutputError, match=r"--srt a\.srt: the folder you stand in was deleted"):
        check(absolute("a.srt"), "--srt", {})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.ffconcat", "ffconcat version 1.0\nfile 'a piece.ts'\n"),
        ("l.m3u8", '#EXTM3U\n#EXT-X-MAP:URI="init.mp4"\n#EXTINF:2,\na%20piece.ts\n'),
        ("l.m3u", "#EXTM3U\n#EXTINF:2,a piece\na piece.ts\n"),
        ("master.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\ninner.m3u8\n"),
        ("l.mpd", '<?xml version="1.0"?><MPD><SegmentTemplate media="a piece.ts"/></MPD>'),
    ],
)
def test_what_a_playlist_reads_is_an_input(name, text, tmp_path):
    (tmp_path / "a piece.ts").write_bytes(b"x" * 100)
    (tmp_path / "inner.m3u8").write_text("#EXTM3U\n#EXTINF:2,\na piece.ts\nhttps://elsewhere/b.ts\nmissing.ts\n")
    (tmp_path / name).write_text(text)
    inputs = parse_source(str(tmp_path / name)).inputs
    with pytest.raises(OutputError, match=r"a piece of the video \(a piece\.ts\)"):
        check(tmp_path / "a piece.ts", "--srt", inputs)
    check(tmp_path / "b.srt", "--srt", inputs)


def test_a_playlist_of_itself_comes_to_an_end(tmp_path):
    (tmp_path / "a.m3u8").write_text("#EXTM3U\nb.m3u8\n")
    (tmp_path / "b.m3u8").write_text("#EXTM3U\na.m3u8\nb.m3u8\n")
    assert set(pieces_of(tmp_path / "a.m3u8")) == {tmp_path / "a.m3u8", tmp_path / "b.m3u8"}


def test_files_of_our_own_are_no_outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("ONLOOKER_DATA", str(tmp_path / "data"))
    others = own_files(load_settings(environ={}))
    for path in (
        journal_path().with_name("journal.db-wal"),
        journal_path().with_name("journal.db.lock"),
        standing_path(),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("ours")
        with pytest.raises(OutputError, match="name another file"):
            check(path, "--srt", others)


def test_a_folder_among_the_inputs_stands_for_all_that_is_in_it(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    with pytest.raises(OutputError, match="lies in the folder of the model"):
        check(model / "base" / "weights.srt", "--srt", {"the folder of the model": model})
    check(tmp_path / "model.srt", "--srt", {"the folder of the model": model})


def test_where_standard_output_goes_is_no_place_for_a_file(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom model.errors import OutputError\nfrom model.outputs import check\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n        check(Path(name), '--srt', {})\n"
        "    except OutputError as error:\n        print(error, file=sys.stderr)\n"
    )
    path = tmp_path / "x.srt"
    with path.open("wb") as file:
        command = [sys.executable, "-c", code, str(path), "/dev/stdout"]
        process = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, timeout=60)
    assert process.stderr.count("is where standard output goes, which would be lost") == 2


def test_two_outputs_are_not_one_file(tmp_path):
    first, second, third = (tmp_path / name for name in ("a.json", "b.json", "c.json"))
    first.write_text("{}")
    second.hardlink_to(first)
    check_all([("--out", first), ("--append", third)], {})
    for other in (first, second):
        with pytest.raises(OutputError, match="is what --out writes, too"):
            check_all([("--out", first), ("--append", other)], {})


def test_a_line_is_appended_as_a_line(tmp_path):
    path = tmp_path / "new" / "h.jsonl"
    append(path, "1\n")
    path.write_text("2")
    append(path, "3\n")
    append(path, "4\n")
    assert path.read_text() == "2\n3\n4\n"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match="nobody reads this pipe"):
        append(pipe, "5\n")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "report.json"
    path.write_text("old report")
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from model.errors import OutputError\nfrom model.outputs import write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "whole = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4, whole[1]))\n"
        "try:\n    write(Path(sys.argv[1]), b'a new report')\n"
        "except OutputError as error:\n    print(error, file=sys.stderr)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, whole)  # a test with coverage writes its own file at the end\n"
    )
    process = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert process.stderr == f"{path}: cannot be written: File too large\n"
    assert path.read_text() == "old report"
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["report.json"]
