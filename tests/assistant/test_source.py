"""What the user may name as a source, and that passwords are not repeated."""

import os
import re
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.capture.source import parse_source, source_of
from assistant.config.addresses import mark_key, shown_name
from assistant.config.keys import Config
from assistant.errors import MediaError, SourceMissing, UsageError
from model.errors import OnlookerError


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
    ("address", "host"),
    [
        ("rtsp://admin:hunter2@10.0.0.2:554/cam", "rtsp://10.0.0.2:554/…"),
        ("rtsp://admin:hun@hunter2@10.0.0.2/cam", "rtsp://10.0.0.2/…"),
        ("rtsp://admin:hunter2%23x@10.0.0.2/cam", "rtsp://10.0.0.2/…"),
        ("rtsp://admin:hunter2/x@10.0.0.2:554/cam", "rtsp://…"),
        ("rtsp://admin:hunter2#x@10.0.0.2/cam", "rtsp://…"),
        ("rtsp://admin:hunter2?x@10.0.0.2/cam", "rtsp://…"),
        ("rtsp://admin:hunter2", "rtsp://…"),
        ("rtsp://10.0.0.2:554/user=admin_password=hunter2_channel=1_stream=0.sdp", "rtsp://10.0.0.2:554/…"),
        ("rtsp://10.0.0.2:554/user=admin&password=hunter2&channel=1&stream=0.sdp?real_stream", "rtsp://10.0.0.2:554/…"),
        ("http://10.0.0.2/videostream.cgi?loginuse=admin&loginpas=hunter2", "http://10.0.0.2/…"),
        ("http://10.0.0.2/v.cgi?pw=hun@hunter2", "http://…"),
        ("rtmp://a.example/live2/hunter2-stream-key", "rtmp://a.example/…"),
        ("srt://10.0.0.2:9000?passphrase=hunter2xxxx", "srt://10.0.0.2:9000/…"),
        ("https://hunter2@cam.example/x", "https://cam.example/…"),
        ("RTSP://me:hunter2@[::1]:554/x", "rtsp://[::1]:554/…"),
        ("rtsp://[fe80::1%25eth0]:554/hunter2", "rtsp://[fe80::1%25eth0]:554/…"),
        ("rtsp://me:hunter2@kamera-ä.example/", "rtsp://kamera-ä.example/…"),
    ],
)
def test_of_an_address_only_scheme_host_and_port_are_shown(address, host):
    source = parse_source(address)
    assert re.fullmatch(re.escape(host) + "#[0-9a-f]{4}", source.shown)
    assert source.target.lower() == address.lower()
    assert "hunter2" not in repr(source) + source.stem
    assert parse_source(address).shown == source.shown


@pytest.mark.parametrize(
    "text",
    [
        "rstp://admin:hunter2@10.0.0.2/x",
        "rtsp:/admin:hunter2@10.0.0.2/x",
        "rtsp//admin:hunter2@10.0.0.2/x",
        "rtsp:admin:hunter2@10.0.0.2",
        "admin:hunter2@10.0.0.2/x",
        "camera:rtsp://me:hunter2@cam",
        "screen:me:hunter2@cam",
        "rtsp://me:hun ter2@cam/hunter2",
        "rtsp://[::1:554/hunter2",
        "whip-listen://me:hunter2@127.0.0.1:80/x",
        "rtmp-listen://nowhere/hunter2",
        "file:///nowhere/hunter2@x",
        "camera://admin:hunter2@10.0.0.2/x",
        "camera:/rtsp://me:hunter2@x",
        "rtsp:\\\\10.0.0.2\\hunter2",
        "10.0.0.2:554/hunter2",
        "10.0.0.2/v.cgi?loginuse=a&loginpas=hunter2",
        "a.example/live2/hunter2",
        "rtsp/10.0.0.2/hunter2",
        "rtsp;10.0.0.2;hunter2",
        "./a://hunter2",
        "rtsp\uff1a//me\uff20hunter2",
        "rtsp\uff1ame\uff20hunter2",
        "rtsp://me:hunter2@" + "h" * 5000 + " /",
        "hunter2" * 900,
        "\nrtsp://me:hunter2@cam/x",
        "rstp://me:hunter2@cam/\ud83d",
    ],
)
def test_what_is_no_source_is_refused_without_its_secrets(text):
    with pytest.raises(OnlookerError) as refused:
        parse_source(text)
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_source_is_not_the_default(text):
    with pytest.raises(UsageError, match="the source is empty"):
        source_of(Config().capture, {}, text)
    assert source_of(Config().capture, {}).shown == Config().capture.source


@pytest.mark.parametrize("text", ["none.mp4", "sub/none.mp4", "./none.mp4", "file:none", "sub/a b (1)+x.mov"])
def test_a_file_that_is_not_there_is_named(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    shown = text if ":" not in text else "…"
    with pytest.raises(SourceMissing, match="^" + re.escape(shown)):
        parse_source(text)


@pytest.mark.parametrize("name", ["me@home #1.mp4", "12:30:00.mp4", "a=b&c?.mp4", "x\\y.mp4"])
def test_a_file_that_is_there_is_named_whatever_its_name_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a:").mkdir()
    (tmp_path / "a:" / name).write_bytes(b"x")
    for text in (name, str(tmp_path / name), f"file://{tmp_path / name}", f"./a://{name}"):
        source = parse_source(text)
        assert (source.kind, source.shown, source.stem) == ("file", text, name.removesuffix(".mp4"))


@pytest.mark.parametrize("device", ["/dev/video2", "/dev/v4l/by-path/pci-0000:00:14.0-usb-0:1:1.0-video-index0"])
def test_a_camera_is_named_by_its_device(device):
    assert parse_source(f"camera:{device}").shown == f"camera:{device}"


@given(
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=12),
    form=st.sampled_from(["rtsp://me:{}@10.0.0.2/x", "http://10.0.0.2/{}", "https://cam.example:8443/a?b={}&c=d"]),
)
def test_a_secret_of_any_characters_is_never_shown(secret, form):
    try:
        source = parse_source(form.format(secret))
        said = source.shown + source.stem + repr(source)
    except OnlookerError as error:
        said = str(error)
    assert secret not in said


places = st.sampled_from(
    [
        "{0}://{1}:{2}@{3}/x",
        "{0}://{3}/{2}",
        "{0}://{3}?{1}={2}",
        "{0}://{1}:{2}",
        "{0}:{1}:{2}@{3}",
        "{0}:/{3}/{2}",
        "{0}//{3}/{2}",
        "{3}/{2}",
        "{1}:{2}@{3}",
        "{0}:{3}:{2}",
    ]
)
schemes = st.sampled_from(
    [
        "rtsp",
        "RTSPS",
        "http",
        "https",
        "rtmp",
        "srt",
        "rstp",
        "hls",
        "rtmp-listen",
        "whip-listen",
        "camera",
        "screen",
        "file",
        "rtsp+tls",
    ]
)
hosts = st.sampled_from(["10.0.0.2", "cam.example:8554", "[::1]:554", "[fe80::1%25eth0]", "kamera-ä.example", "[::1"])
insides = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=4)


@given(places, schemes, hosts, insides, insides)
def test_a_secret_in_any_place_of_any_kind_of_source_is_never_shown(place, scheme, host, before, after):
    text = place.format(scheme, f"me{after}", f"{before}/hunter2hunter2{after}", host)
    try:
        source = parse_source(text)
        said = source.shown + source.stem + repr(source)
    except OnlookerError as error:
        said = "".join(traceback.format_exception(error))
    assert "hunter2hunter2" not in said


def test_two_addresses_of_one_host_are_told_apart_by_a_mark_that_only_this_machine_can_make():
    shown = {shown_name(f"rtsp://me:{secret}@cam/1") for secret in range(8)}
    assert len(shown) >= 7, "four digits of a mark are alike once in 65,536 pairs"
    assert mark_key() not in (b"", b"0" * 16)


def test_a_name_of_ones_own_is_all_that_is_shown(tmp_path):
    names = {"kitchen": "rtsp://me:hunter2@cam/1", "front": "camera:0"}
    source = parse_source("kitchen", names)
    assert (source.kind, source.target) == ("network", "rtsp://me:hunter2@cam/1")
    assert (source.shown, source.stem) == ("kitchen", "kitchen")
    assert parse_source("front", names).kind == "camera"
    with pytest.raises(SourceMissing, match=r"\./kitchen"):
        parse_source("./kitchen", names)


def test_a_pipe_or_device_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(MediaError, match="no file but a pipe or device"):
            parse_source(str(path))


@pytest.mark.parametrize("text", ["rtmp-listen://[::1:1935/live/k", "rtsp://[::1:554/cam", "http://[/"])
def test_what_is_no_address_is_a_mistake_and_nothing_worse(text):
    with pytest.raises(UsageError):
        parse_source(text)


def test_a_kind_of_source_that_names_a_file_is_shown_where_the_file_is_there(tmp_path):
    assert shown_name(f"pictures:{tmp_path}") == f"pictures:{tmp_path}"
    assert "secret" not in shown_name("pictures:/secret@host/1")
    assert "secret" not in shown_name("rtsp:/me:secret@cam/1")
