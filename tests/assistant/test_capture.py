"""Real files through the real child: what comes out, how fast, and what is said when something is wrong."""

import multiprocessing
import os
import signal
import socketserver
import threading
import time
from fractions import Fraction
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import cv2
import numpy as np
import pytest

from assistant.capture import worker
from assistant.capture.protocol import MAX_SIDE_PX
from assistant.capture.source import parse_source
from assistant.capture.worker import run_capture
from assistant.errors import MediaError, SourceMissing
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.messages import Ended, Event, Frame, Opened, Status
from model.errors import OnlookerError
from tests.pace import pace


def capture(
    source: Path | str, *, fps: float = 2.0, lossless: bool = True, timeout_s: float = 5.0
) -> tuple[list[Frame], list[Event]]:
    frames, events = Mailbox[Frame](1000, name="frames"), []
    options = {"fps": fps, "timeout_s": timeout_s, "lossless": lossless}
    run_capture(parse_source(str(source)), frames, events.append, threading.Event(), **options)
    assert frames.is_closed
    return frames.take_many(1000, timeout_s=0), events


def warnings_of(events: list[Event]) -> list[str]:
    return [event.detail for event in events if isinstance(event, Status)]


def grey(frame: Frame) -> int:
    height, width, _ = frame.pixels.shape
    return int(frame.pixels[height * 3 // 4 :, width * 3 // 4 :].mean().round())


def test_file_is_sampled_and_held_on_the_grid(make_video):
    frames, events = capture(make_video(seconds=3, fps=10, step=5))
    assert [frame.time_s for frame in frames] == [0, 0.5, 1, 1.5, 2, 2.5]
    assert [frame.index for frame in frames] == list(range(6))
    assert np.allclose([grey(frame) for frame in frames], [0, 25, 50, 75, 100, 125], atol=3)
    assert frames[0].pixels.shape == (64, 96, 3)
    opened, ended = events
    assert ended == Ended(3.0)
    assert isinstance(opened, Opened)
    assert (opened.width, opened.height, opened.is_live) == (96, 64, False)
    assert opened.duration_s == pytest.approx(3, abs=0.15)


def test_uneven_frame_rate_gives_an_even_stream(make_video):
    frames, _ = capture(make_video("v.mkv", stamps=[0, 0.1, 0.2, 3.0, 3.1, 3.2], step=20))
    assert [frame.time_s for frame in frames] == [k / 2 for k in range(7)]
    assert np.allclose([grey(frame) for frame in frames], [0, 40, 40, 40, 40, 40, 60], atol=3)


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_is_applied(make_video, rotation):
    plain, _ = capture(make_video("plain.mp4", seconds=1))
    turned, events = capture(make_video("turned.mp4", seconds=1, rotation=rotation))
    expected = np.rot90(plain[0].pixels, rotation // 90)
    assert turned[0].pixels.shape == expected.shape
    assert np.abs(turned[0].pixels.astype(int) - expected).mean() < 3
    assert isinstance(events[0], Opened)
    assert (events[0].height, events[0].width) == expected.shape[:2]


def test_pixels_that_are_not_square_are_stretched(make_video):
    frames, _ = capture(make_video("wide.mkv", seconds=1, aspect=Fraction(2, 1)))
    assert frames[0].pixels.shape == (64, 192, 3)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "size"),
    [
        ("grey.mkv", "ffv1", "gray", (96, 64)),
        ("ten_bit.mkv", "ffv1", "yuv422p10le", (96, 64)),
        ("alpha.mkv", "ffv1", "bgra", (96, 64)),
        ("full_range.avi", "mjpeg", "yuvj444p", (96, 64)),
        ("odd.mkv", "ffv1", "yuv444p", (97, 63)),
        ("pixel.mkv", "ffv1", "bgra", (1, 1)),
        ("column.mov", "png", "rgb24", (1, 300)),
    ],
)
def test_odd_formats_and_sizes(make_video, name, codec, pix_fmt, size):
    frames, _ = capture(make_video(name, codec=codec, pix_fmt=pix_fmt, size=size, seconds=1))
    assert len(frames) == 2
    assert frames[0].pixels.shape == (size[1], size[0], 3)
    assert frames[0].pixels.dtype == np.uint8
    if pix_fmt != "gray" and min(size) > 10:
        assert np.abs(frames[0].pixels[10, 10].astype(int) - (255, 0, 0)).max() < 12


def test_8k_is_scaled_down_in_the_child(make_video):
    frames, events = capture(make_video("8k.mkv", codec="mjpeg", pix_fmt="yuvj420p", size=(7680, 4320), seconds=0.2))
    assert frames[0].pixels.shape == (MAX_SIDE_PX * 9 // 16, MAX_SIDE_PX, 3)
    assert isinstance(events[0], Opened)
    assert events[0].width == 7680


def test_real_time_pacing(make_video):
    start_s = time.monotonic()
    frames, _ = capture(make_video(seconds=2), lossless=False)
    arrivals = [frame.captured_s - frames[0].captured_s for frame in frames]
    assert np.allclose(arrivals, [0, 0.5, 1, 1.5], atol=0.02)
    assert 1.5 < time.monotonic() - start_s < 6 * pace()


def test_lossless_waits_for_the_reader(make_video):
    frames = Mailbox[Frame](2, name="frames")
    source, seen = parse_source(str(make_video(seconds=10))), []

    def read() -> None:
        while not frames.is_drained:
            time.sleep(0.02)
            seen.extend(frames.take_many(1, timeout_s=1))

    reader = threading.Thread(target=read)
    reader.start()
    run_capture(source, frames, lambda event: None, threading.Event(), fps=2, timeout_s=5, lossless=True)
    reader.join(5)
    assert [frame.index for frame in seen] == list(range(20))
    assert frames.num_dropped == 0


def test_stop_ends_it_at_once(make_video):
    frames, stop = Mailbox[Frame](100, name="frames"), threading.Event()
    threading.Timer(1.0, stop.set).start()
    start_s = time.monotonic()
    source = parse_source(str(make_video(seconds=60, fps=5)))
    run_capture(source, frames, lambda event: None, stop, fps=2, timeout_s=5, lossless=False)
    assert time.monotonic() - start_s < 4 * pace()
    assert not capture_children()


def test_truncated_file_is_read_as_far_as_it_goes(make_video):
    whole = make_video(seconds=20, options={"movflags": "faststart"}, size=(320, 240)).read_bytes()
    cut = make_video("cut.mp4", seconds=1)
    cut.write_bytes(whole[: len(whole) // 2])
    frames, events = capture(cut)
    assert 5 < len(frames) < 35
    assert any("ends early" in warning and "of 20" in warning for warning in warnings_of(events))


def test_damage_in_the_middle_is_passed_over(make_video):
    path = make_video("damaged.ts", seconds=10, size=(320, 240))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = os.urandom(4000)
    path.write_bytes(data)
    frames, _ = capture(path)
    assert len(frames) >= 15
    assert frames[-1].time_s >= 8


def test_a_file_without_its_index_is_refused(make_video):
    path = make_video(seconds=5)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(MediaError, match="not a video that can be read"):
        capture(path)


def test_text_named_as_video_is_refused(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("This is not a video.\n" * 100)
    with pytest.raises(MediaError, match=r"notes\.mp4: is not a video"):
        capture(path)


def test_sound_only_is_refused(sound_only):
    with pytest.raises(MediaError, match="only sound, no picture"):
        capture(sound_only)


def test_sound_beside_the_picture_does_not_matter(make_video):
    frames, _ = capture(make_video(seconds=2, sound=True))
    assert len(frames) == 4


def test_no_camera_is_one_message():
    with pytest.raises(SourceMissing, match=r"camera:97: (no such camera|cannot be opened)") as missing:
        capture("camera:97")
    assert missing.value.exit_code == 3


def test_unreachable_address_does_not_show_its_password():
    with pytest.raises(SourceMissing, match="cannot be opened") as missing:
        capture("rtsp://me:hunter2@127.0.0.1:9/cam")
    assert "hunter2" not in str(missing.value)
    assert "rtsp://127.0.0.1:9/…#" in str(missing.value)


def capture_children() -> list[multiprocessing.process.BaseProcess]:
    return [child for child in multiprocessing.active_children() if child.name.startswith("onlooker-capture")]


def run_and_disturb(path: Path, disturb: int) -> tuple[list[Frame], OnlookerError]:
    """Watch in real time; send the child a signal after its second frame."""
    frames, stop, failures = Mailbox[Frame](100, name="frames"), threading.Event(), []

    def work() -> None:
        try:
            run_capture(parse_source(str(path)), frames, lambda event: None, stop, fps=2, timeout_s=1, lossless=False)
        except OnlookerError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    seen = [frames.take(timeout_s=20), frames.take(timeout_s=5)]
    (child,) = capture_children()
    arguments = Path(f"/proc/{child.pid}/cmdline").read_bytes()
    assert path.name.encode() not in arguments
    assert child.pid is not None
    os.kill(child.pid, disturb)
    thread.join(15)
    assert not thread.is_alive()
    assert not capture_children()
    return [frame for frame in seen if frame], failures[0]


def test_a_decoder_that_crashes_is_one_message(make_video):
    frames, failure = run_and_disturb(make_video(seconds=60, fps=5), signal.SIGKILL)
    assert len(frames) == 2
    assert "its reader died: ended by signal SIGKILL" in str(failure)


def test_a_decoder_that_hangs_is_killed(make_video, monkeypatch):
    monkeypatch.setattr(worker, "FILE_PATIENCE_S", 2.0)
    frames, failure = run_and_disturb(make_video(seconds=60, fps=5), signal.SIGSTOP)
    assert len(frames) == 2
    assert "nothing came for 3 s" in str(failure)


class MotionJpeg(BaseHTTPRequestHandler):
    """A camera on the network: twenty pictures, then it is gone; asks for a password."""

    def do_GET(self) -> None:
        if self.headers["Authorization"] is None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in range(20):
            _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), index * 10, np.uint8))
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")
            time.sleep(0.1)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_network_camera_with_a_password_until_it_is_lost():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), MotionJpeg) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://me:hunter2@127.0.0.1:{server.server_address[1]}/cam"
        frames, events = Mailbox[Frame](100, name="frames"), []
        with pytest.raises(SourceMissing, match="the stream was lost") as lost:
            run_capture(
                parse_source(address), frames, events.append, threading.Event(), fps=5, timeout_s=5, lossless=False
            )
        server.shutdown()
    assert "hunter2" not in str(lost.value)
    assert isinstance(events[0], Opened)
    assert events[0].is_live
    assert events[0].duration_s is None
    assert 4 <= len(frames) <= 12
