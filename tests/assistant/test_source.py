"""What the user may name as a source, and that passwords are not repeated."""

import pytest

from assistant.capture.source import parse_source, redact
from assistant.errors import MediaError, SourceMissing, UsageError


def test_cameras():
    assert parse_source("camera:0").target == "0"
    assert parse_source("camera:/dev/video2").stem == "camera-dev-video2"
    with pytest.raises(UsageError, match="camera:N"):
        parse_source("camera:front")


def test_files(tmp_path):
    with pytest.raises(SourceMissing, match="no such file") as missing:
        parse_source(str(tmp_path / "none.mp4"))
    assert missing.value.exit_code == 3
    with pytest.raises(MediaError, match="is a folder") as folder:
        parse_source(str(tmp_path))
    assert folder.value.exit_code == 2
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(MediaError, match="0 bytes"):
        parse_source(str(empty))
    (tmp_path / "a b.mp4").write_bytes(b"x")
    assert parse_source(f"file://{tmp_path}/a b.mp4").target == str(tmp_path / "a b.mp4")


def test_unknown_addresses():
    with pytest.raises(UsageError, match="ftp://"):
        parse_source("ftp://host/video.mp4")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://me:hunter2@cam/1", "rtsp://me:***@cam/1"),
        ("rtsp://me:hun@ter2@cam:554/1", "rtsp://me:***@cam:554/1"),
        ("http://cam/v?user=me&password=hunter2&x=1", "http://cam/v?user=me&password=***&x=1"),
        ("http://cam/v?token=hunter2", "http://cam/v?token=***"),
        ("rtsp://cam/1", "rtsp://cam/1"),
    ],
)
def test_secrets_are_not_shown(address, shown):
    source = parse_source(address)
    assert source.shown == shown == redact(address)
    assert source.target == address
    assert "hunter2" not in repr(source)
    assert "hunter2" not in source.stem


@pytest.mark.parametrize(
    "text", ["rtmp-listen://[::1:1935/live/k", "rtsp://[::1:554/cam", "http://[/"]
)
def test_what_is_no_address_is_a_mistake_and_nothing_worse(text):
    with pytest.raises(UsageError):
        parse_source(text)
