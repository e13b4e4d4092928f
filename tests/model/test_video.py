"""The time line of a video, its grid, and how its pictures are meant to be shown."""

from __future__ import annotations

import re
import shutil
import socket
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from model.errors import VideoError, VideoMissing
from model.video.grid import FileGrid, LiveGrid
from model.video.reading import Video
from model.video.timeline import PacketClock, PictureClock
from model.video.tone import HLG, PQ
from model.video.upright import orientation_of
from train.recordings.footage import probe, sample

FAULTS = Path(__file__).parent / "faults"
MS = 0.001


def placed(clock: PacketClock, *stamps_ms: int) -> list[int | None]:
    """The presentation times that packets get, of 100 ms each."""
    return [clock.place(stamp, stamp, 100)[0] for stamp in stamps_ms]


def test_a_clock_that_falls_back_goes_on_where_it_was():
    for may_break in (True, False):
        clock = PacketClock(MS, may_break=may_break, step_s=0.1)
        assert placed(clock, 2000, 2100, 2200, 0, 100, 200) == [2000, 2100, 2200, 2300, 2400, 2500]
        assert placed(clock, -1000, -900) == [2600, 2700]  # and once more


def test_a_jump_is_taken_out_only_where_the_format_lets_its_clock_be_set_anew():
    assert placed(PacketClock(MS, may_break=True, step_s=0.1), 0, 100, 3_600_100, 3_600_200) == [0, 100, 200, 300]
    assert placed(PacketClock(MS, may_break=True, step_s=0.1), 0, 100, 9_100) == [0, 100, 9_100]  # a pause
    assert placed(PacketClock(MS, may_break=False, step_s=0.1), 0, 100, 3_600_100) == [0, 100, 3_600_100]  # a long one


def test_a_stamp_beyond_all_sense_is_not_believed():
    clock = PacketClock(MS, may_break=False, step_s=0.1)
    assert placed(clock, 0, 100, 2**40, 300) == [0, 100, None, 300]


def test_small_disorder_is_no_break():
    clock = PacketClock(MS, may_break=True, step_s=0.1)
    assert placed(clock, 0, 100, 60, 200) == [0, 100, 60, 200]


def test_pictures_that_are_decoded_out_of_order_stay_in_their_place_at_a_join():
    """Decoding times fall at the join; presentation times are shifted with them."""
    clock = PacketClock(MS, may_break=True, step_s=0.1)
    first = [clock.place(pts, dts, 100)[0] for pts, dts in ((200, 0), (400, 100), (300, 200))]
    second = [clock.place(pts, dts, 100)[0] for pts, dts in ((200, 0), (400, 100), (300, 200))]
    assert first == [200, 400, 300]
    assert second == [500, 700, 600]


def test_pictures_without_times_follow_at_the_rate_of_the_stream():
    clock = PictureClock(0.04)
    assert [round(clock.time_of(None, None, None), 3) for _ in range(3)] == [0.0, 0.04, 0.08]
    assert round(clock.time_of(1.0, None, None), 3) == 0.0 + 1.0  # the first picture was second 0
    assert round(clock.time_of(None, None, 0.5), 3) == 1.92  # as long after it as that one after the one before
    assert clock.last_duration_s == 0.5


def test_of_two_stamps_the_one_that_is_wrong_less_often_counts():
    clock = PictureClock(0.04, origin_s=0.0)
    assert [clock.time_of(0.0, k / 10, None) for k in range(4)] == [0.0, 0.1, 0.2, 0.3]


def test_times_never_fall_and_begin_with_the_container():
    clock = PictureClock(0.1, origin_s=1.4)
    assert [round(clock.time_of(stamp_s, None, None), 3) for stamp_s in (7.4, 7.5, 7.45, 7.6)] == [6.0, 6.1, 6.1, 6.2]


def test_file_grid_holds_pictures_over_gaps_however_long():
    grid = FileGrid(2.0)
    assert list(grid.indexes(0.0, 0.04)) == [0]
    assert list(grid.indexes(0.04, 0.5)) == []
    assert list(grid.indexes(0.5, 0.52)) == [1]
    assert list(grid.indexes(0.52, 2.6)) == [2, 3, 4, 5]
    assert list(grid.indexes(2.6, 500.0)) == list(range(6, 1000))


def test_file_grid_begins_with_the_grid_time_nearest_to_the_first_picture():
    for start_s, first in ((0.02, 0), (0.2, 0), (0.3, 1), (6.0, 12), (6.02, 12), (-0.1, 0)):
        assert next(FileGrid(2.0).indexes(start_s, start_s + 3)) == first
    assert list(FileGrid(2.0).indexes(0.3, 0.34, is_last=True)) == [1]  # one short picture is one frame
    assert list(FileGrid(0.1).indexes(0.0, 2.0, is_last=True)) == [0]


def test_live_grid_takes_one_picture_a_grid_time_and_makes_none_up():
    grid = LiveGrid(2.0)
    times = [k / 30 for k in range(90)]
    assert sum(grid.is_due(time_s) for time_s in times) == 6
    assert grid.is_due(10.0)
    assert not grid.is_due(10.1)
    assert grid.is_due(10.5)


@pytest.mark.parametrize(
    ("entries", "shown"),
    [
        ((1, 0, 0, 1), "abc/def"),
        ((-1, 0, 0, 1), "cba/fed"),
        ((1, 0, 0, -1), "def/abc"),
        ((-1, 0, 0, -1), "fed/cba"),
        ((0, 1, -1, 0), "da/eb/fc"),  # a quarter turn clockwise
        ((0, -1, 1, 0), "cf/be/ad"),
        ((0, 1, 1, 0), "ad/be/cf"),
        ((0, -1, -1, 0), "fc/eb/da"),
        ((0.8, 0.6, -0.6, 0.8), "abc/def"),  # nearer to upright than to a quarter turn
        ((0, 0, 0, 0), "abc/def"),
    ],
)
def test_every_display_matrix(entries, shown):
    a, b, c, d = (round(entry * 65536) for entry in entries)
    stored = np.array([list("abc"), list("def")])
    turned = orientation_of((a, b, 0, c, d, 0, 0, 0, 1 << 30)).apply(stored)
    assert "/".join("".join(row) for row in turned) == shown


# The files that were read wrongly once: a clip of 20 s (the last of them: of 5 s, and 12 s) in odd wrappings.


def read(path: Path, fps: float = 2.0) -> tuple[list[int], list[np.ndarray], list[str], float]:
    """Frame numbers, pictures, warnings, and the end."""
    warnings: list[str] = []
    grid, indexes, frames = FileGrid(fps), [], []
    with Video.open(path, name=path.name, warn=warnings.append) as video:
        for shown in video.pictures():
            for index in grid.indexes(shown.start_s, shown.end_s, is_last=shown.is_last):
                indexes.append(index)
                frames.append(np.ascontiguousarray(video.upright.rgb(shown.picture)))
    return indexes, frames, warnings, video.end_s


@pytest.mark.parametrize(
    ("name", "first", "count", "end_s", "warning"),
    [
        ("joined.ts", 0, 40, 20.0, "its clock jumps back by 9.0 s"),
        ("jump1h.ts", 0, 40, 20.0, "its clock jumps ahead by 3599.8 s"),
        ("video_starts_at_6s.mp4", 12, 40, 26.0, ""),
        ("gif_last_8s.gif", 0, 24, 12.0, ""),
        ("hflip.mp4", 0, 40, 20.0, ""),
        ("hdr_pq.mp4", 0, 10, 5.0, ""),
        ("no_duration.webm", 0, 40, 20.0, ""),
    ],
)
def test_frames_and_times_of_odd_files_when_running_and_when_training(name, first, count, end_s, warning):
    indexes, _, warnings, found_end_s = read(FAULTS / name)
    assert indexes == list(range(first, first + count))
    assert found_end_s == pytest.approx(end_s)
    assert len(warnings) == bool(warning)
    assert all(warning in text for text in warnings)
    footage = probe(FAULTS / name)
    assert list(footage.frames(2.0)) == indexes
    assert [index for index, _ in sample(footage, 2.0, 32)] == indexes


def test_a_mirrored_picture_is_mirrored():
    with av.open(str(FAULTS / "hflip.mp4")) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    _, frames, _, _ = read(FAULTS / "hflip.mp4")
    assert np.array_equal(frames[0], stored[:, ::-1])


def test_high_dynamic_range_looks_as_the_ordinary_clip_does():
    """hdr_pq.mp4 is the beginning of the bundled clip, coded in PQ."""
    demo = Path(__file__).parents[2] / "assistant" / "demo.mp4"
    _, ordinary, _, _ = read(demo)
    _, bright, _, _ = read(FAULTS / "hdr_pq.mp4")
    for left, right in zip(ordinary, bright, strict=False):
        assert np.abs(left.mean((0, 1)) - right.mean((0, 1))).max() < 4


@pytest.mark.parametrize(("transfer", "primaries"), [(PQ, 9), (HLG, 9), (PQ, 1), (HLG, 1)])
def test_greys_of_high_dynamic_range_stay_grey_and_in_order(transfer, primaries, monkeypatch):
    from model.video.tone import to_standard_range

    picture = av.VideoFrame(64, 1, "rgb48le")
    picture.color_trc, picture.color_primaries = transfer, primaries
    ramp = np.repeat(np.linspace(0, 65535, 64).astype(np.uint16)[None, :, None], 3, axis=2)
    shown = to_standard_range(ramp, picture).astype(int)
    assert np.ptp(shown, axis=2).max() <= 1
    assert (np.diff(shown[0, :, 0]) >= 0).all()
    assert shown[0, 0, 0] == 0
    assert shown[0, -1, 0] == 255


@pytest.mark.parametrize(
    ("name", "words"),
    [("anim.webp", "unsupported chunk: ANIM"), ("unknown_codec.avi", "unknown codec, which cannot be decoded here")],
)
def test_what_is_not_supported_is_not_called_damaged_alone(name, words):
    with pytest.raises(VideoError, match=words):
        read(FAULTS / name)
    with pytest.raises(Exception, match=words):
        list(sample(probe(FAULTS / name), 2.0, 32))


@pytest.mark.parametrize(
    "name", ["2026-11-30T12:30:00.mp4", "concat:a|b.mp4", "100%d.mp4", "a?b#c.mp4", "-x.mp4", b"\xff\xfe.mp4"]
)
def test_a_file_may_have_any_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path(name if isinstance(name, str) else name.decode("utf-8", "surrogateescape"))
    shutil.copy(FAULTS / "hflip.mp4", path)
    assert len(read(path)[0]) == 40
    assert len(probe(path).frames(2.0)) == 40


def test_what_cannot_be_opened_is_missing(tmp_path):
    with pytest.raises(VideoMissing, match=r"there\.mp4: cannot be opened: No such file"):
        Video.open(tmp_path / "there.mp4", name="there.mp4")


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_server_that_never_answers_is_told_from_one_that_sends_no_video(scheme):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{scheme}://127.0.0.1:{server.getsockname()[1]}/camera"
        with pytest.raises(VideoMissing, match=r"^camera: cannot be opened: no answer within 1 s$"):
            Video.open(address, name="camera", timeout_s=1.0)


def test_of_several_pictures_the_default_one_is_shown_though_another_is_larger(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mpeg4", rate=5) for _ in range(2)]
        for stream, side in zip(streams, (128, 64), strict=True):
            stream.width = stream.height = side
            stream.pix_fmt = "yuv420p"
        streams[0].disposition, streams[1].disposition = 0, av.stream.Disposition.default
        for number in range(5):
            for stream, side in zip(streams, (128, 64), strict=True):
                picture = av.VideoFrame.from_ndarray(np.zeros((side, side, 3), np.uint8), format="rgb24")
                picture.pts, picture.time_base = number, Fraction(1, 5)
                container.mux(stream.encode(picture))
        for stream in streams:
            container.mux(stream.encode())
    assert read(path)[1][0].shape == (64, 64, 3)


def test_damaged_pictures_are_counted_and_the_rest_is_shown(tmp_path):
    data = bytearray((FAULTS / "video_starts_at_6s.mp4").read_bytes())
    start = data.index(b"mdat") + 4
    for at in range(start + 20_000, start + 40_000, 401):
        data[at] ^= 0x55
    path = tmp_path / "scratched.mp4"
    path.write_bytes(data)
    indexes, _, warnings, _ = read(path)
    assert indexes == list(range(12, 52))
    assert any(re.search(r"\d+ of 200 pictures are damaged", text) for text in warnings), warnings


def test_a_file_that_breaks_off_is_read_as_far_as_it_goes(tmp_path):
    whole = (Path(__file__).parents[2] / "assistant" / "demo.mp4").read_bytes()
    path = tmp_path / "short.mp4"
    with (
        av.open(str(Path(__file__).parents[2] / "assistant" / "demo.mp4")) as source,
        av.open(str(path), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = path.read_bytes()
    assert len(data) > len(whole) // 2
    path.write_bytes(data[: len(data) // 2])
    indexes, _, warnings, end_s = read(path)
    assert 20 < len(indexes) < 90
    assert any(f"{end_s:.1f} s" in text for text in warnings)
