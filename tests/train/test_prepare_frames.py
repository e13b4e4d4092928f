"""Frames are sampled from a user's videos as the assistant sees them, by time, upright, and without what is damaged."""

from pathlib import Path

import av
import numpy as np
import pytest

from assistant.capture.protocol import Outlet, Start
from assistant.capture.video_reader import read_video
from model.frames import letterbox
from tests.train.films import SIDE, film, narrate, sampled, seconds_shown
from train.clips import list_clips
from train.prepare import prepare


@pytest.mark.parametrize("fps", [1.0, 2.0, 3.0, 7.5])
def test_each_frame_is_the_picture_shown_at_its_time(tmp_path, fps):
    frames = sampled(film(tmp_path / "a.mp4", 6), fps)
    assert frames.shape == (6 * fps, SIDE, SIDE, 3)
    assert seconds_shown(frames) == [int(k / fps) for k in range(len(frames))]
    assert (frames[:, :7] == 0).all()  # 64 × 48 in a square: bars above and below
    assert (frames[:, -7:] == 0).all()
    assert (frames[:, 9:-9] > 20).all()


@pytest.mark.parametrize("shape", [{"height": 48, "width": 64}, {"height": 1080, "width": 1920}])
def test_the_model_is_trained_on_the_very_pictures_that_the_assistant_shows_it(tmp_path, shape):
    path = film(tmp_path / "a.mp4", 2, rate=5, draw=grain, **shape)
    shipped: dict[float, np.ndarray] = {}

    class Taker(Outlet):
        def __init__(self) -> None:
            pass

        def ready(self, width, height, duration_s, *, is_live) -> None:
            pass

        def ship(self, rgb_HW3, time_s, captured_s, *, wait) -> None:
            shipped[time_s] = letterbox(rgb_HW3, SIDE).transpose(1, 2, 0)

        def alive(self) -> None:
            pass

    read_video(Start("file", str(path), "a.mp4", 2.0, 5.0, ""), Taker())
    assert list(shipped) == [0.0, 0.5, 1.0, 1.5]
    np.testing.assert_array_equal(np.stack(list(shipped.values())), sampled(path, 2.0))


def grain(second: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(second).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_variable_frame_rate_is_sampled_by_time_not_by_number(tmp_path):
    times_s = [0.0, 0.03, 0.06, 1.0, 2.2, 2.9, 3.0, 3.01, 3.02, 6.0, 6.5]
    frames = sampled(film(tmp_path / "a.mkv", 7, times_s=times_s), 2.0)
    assert seconds_shown(frames[:13]) == [0, 0, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3, 6]


def test_a_video_that_does_not_start_at_zero_counts_from_its_first_picture(tmp_path):
    times_s = [5 + k / 10 for k in range(30)]
    assert seconds_shown(sampled(film(tmp_path / "a.mkv", 0, times_s=times_s), 2.0)) == [5, 5, 6, 6, 7, 7]


def test_pictures_without_time_stamps_are_counted(tmp_path):
    frames = sampled(
        film(tmp_path / "a.h264", 4), 2.0
    )  # a raw stream does not tell its rate: it is read at 25 a second
    assert seconds_shown(frames) == [0, 1, 2, 3]


def test_what_a_phone_held_upright_films_is_upright(tmp_path):
    def half(second: int) -> np.ndarray:  # left half bright: turned a quarter clockwise, the upper half is
        drawn = np.full((48, 64, 3), 30, np.uint8)
        drawn[:, :32] = 220
        return drawn

    film(tmp_path / "flat.mp4", 1, draw=half)
    turn(tmp_path / "flat.mp4", tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert next(container.decode(video=0)).rotation % 360 in (90, 270)
    frame = sampled(tmp_path / "a.mp4", 2.0)[0]
    assert (frame[:, :7] == 0).all()  # bars left and right: the picture is higher than wide
    upper, lower = frame[8:24, 12:-12].mean(), frame[-24:-8, 12:-12].mean()
    assert sorted([upper > 180, lower > 180]) == [False, True]
    flat = sampled(tmp_path / "flat.mp4", 2.0)[0]
    with av.open(str(tmp_path / "a.mp4")) as container:
        turns = round(next(container.decode(video=0)).rotation / 90) % 4
    np.testing.assert_allclose(frame.astype(int), np.rot90(flat, turns).astype(int), atol=6)


def turn(source: Path, target: Path) -> None:
    """The same video with a quarter turn noted in its track header."""
    data = bytearray(source.read_bytes())
    at = data.index(b"tkhd") + 4
    matrix = at + 40  # version 0: flags, times, track, duration, reserved, layer, group, volume, reserved
    quarter = [0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30]
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in quarter)
    target.write_bytes(data)


def damage(source: Path, target: Path, from_s: float, until_s: float) -> None:
    """The same video with rubbish for pictures in a part of it."""
    with av.open(str(source)) as container, av.open(str(target), "w") as copy:
        stream = copy.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.pts is None:
                continue
            data = b"rubbish" * 9 if from_s <= float(packet.pts * packet.time_base) < until_s else bytes(packet)
            changed = av.Packet(data)
            changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
            changed.duration, changed.is_keyframe, changed.stream = packet.duration, True, stream
            copy.mux(changed)


def test_damaged_pictures_are_passed_over(tmp_path):
    damage(film(tmp_path / "whole.mkv", 6, codec="mjpeg"), tmp_path / "a.mkv", 2.0, 4.0)
    assert seconds_shown(sampled(tmp_path / "a.mkv", 2.0)) == [0, 0, 1, 1, 1, 1, 1, 1, 4, 4, 5, 5]


def test_a_damaged_end_gives_a_shorter_clip_without_what_is_said_behind_it(tmp_path):
    damage(film(tmp_path / "whole.mkv", 40, codec="mjpeg"), tmp_path / "a.mkv", 20.0, 99.0)
    (tmp_path / "whole.mkv").unlink()
    narrate(tmp_path / "a.srt", (3.2, "Early."), (19.4, "At the end."), (30.0, "Q: Late?\nA: Late."), (35.0, "Late."))
    warnings: list[str] = []
    prepare(tmp_path, tmp_path / "clips", size=SIDE, warn=warnings.append)
    assert {w.split(": ", 1)[1] for w in warnings} == {
        "the picture ends early: 20.0 s of 40.0 s can be read",
        "200 of 400 pictures are damaged",
    }
    clip = list_clips(tmp_path / "clips" / "train")[0]
    assert len(clip.frames()) == clip.num_frames == 40
    assert [(e.time_s, e.text) for e in clip.clip.events] == [(3.2, "Early."), (19.4, "At the end.")]
    assert clip.clip.questions == []
    assert prepare(tmp_path, tmp_path / "clips", size=SIDE).made == 0
