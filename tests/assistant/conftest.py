"""What the tests of the assistant share: videos, a camera, a small model, journals and a small daemon."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from assistant.journal.writer import Journal
from tests.assistant.camera import Camera
from tests.assistant.control_daemon import Running, running, short_directory
from tests.assistant.journal_day import write_days
from tests.assistant.journals import OpenJournal

MakeVideo = Callable[..., Path]
GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's own configuration, data or current folder."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "ONLOOKER_CONFIG", "ONLOOKER_DATA"):
        monkeypatch.delenv(name, raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return home


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """A function that writes a video and returns its path.

    The grey level of each picture is its index × `step`, so that a frame tells which picture it came from; the top left
    quarter is red.
    """

    def make(
        name: str = "clip.mp4",
        *,
        seconds: float = 3.0,
        fps: int = 10,
        size: tuple[int, int] = (96, 64),
        codec: str = "libx264",
        pix_fmt: str = "yuv420p",
        rotation: int = 0,
        aspect: Fraction | None = None,
        stamps: list[float] | None = None,
        options: dict[str, str] | None = None,
        sound: bool = False,
        step: int = 5,
    ) -> Path:
        path = tmp_path / name
        container = av.open(str(path), "w", options=options or {})
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.time_base = Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        if codec == "libx264":
            stream.options = {"g": "10", "bf": "0", "crf": "10"}
        if rotation:
            stream.set_display_rotation(rotation)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
            stream.sample_aspect_ratio = aspect
        audio = container.add_stream("aac", rate=16000) if sound else None
        for index, at_s in enumerate(stamps or [k / fps for k in range(round(seconds * fps))]):
            picture = av.VideoFrame.from_ndarray(picture_of(index, size, step), format="rgb24")
            picture.pts, picture.time_base = round(at_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
        if audio is not None:
            for packet in sound_packets(audio, seconds):
                container.mux(packet)
        container.close()
        return path

    return make


@pytest.fixture
def busy_video(tmp_path: Path) -> Path:
    """Twelve seconds in which colours change every second or so: the small model has something to say."""
    path = tmp_path / "busy.mp4"
    rng = np.random.default_rng(3)
    container = av.open(str(path), "w")
    stream = container.add_stream("libx264", rate=10)
    stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
    for index in range(120):
        if index % 12 == 0:
            pixels = np.kron(rng.integers(0, 255, (6, 6, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
    container.mux(stream.encode())
    container.close()
    return path


@pytest.fixture
def sound_only(tmp_path: Path) -> Path:
    path = tmp_path / "song.m4a"
    container = av.open(str(path), "w")
    stream = container.add_stream("aac", rate=16000)
    for packet in sound_packets(stream, 1.0):
        container.mux(packet)
    container.close()
    return path


def picture_of(index: int, size: tuple[int, int], step: int) -> np.ndarray:
    width, height = size
    pixels = np.full((height, width, 3), min(255, index * step), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    return pixels


def sound_packets(stream, seconds: float) -> Iterator:
    for start in range(0, int(seconds * 16000), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, start
        yield from stream.encode(frame)
    yield from stream.encode()


@pytest.fixture(scope="module")
def model():
    """A small real model, of which each module of tests has its own."""
    from model.assembly import open_checkpoint

    return open_checkpoint(GOLDEN)


@pytest.fixture
def camera() -> Iterator[Camera]:
    """A camera on the network, plugged in."""
    camera = Camera()
    camera.plug()
    yield camera
    camera.unplug()


@pytest.fixture
def directory() -> Iterator[Path]:
    """A runtime directory for a daemon, with a path that is short enough for a socket."""
    with short_directory() as path:
        yield path


@pytest.fixture
def served(directory: Path) -> Iterator[Running]:
    """A small daemon in this process, which listens there."""
    with running(directory) as daemon:
        yield daemon


@pytest.fixture
def journal_path(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "journal.db"


@pytest.fixture
def journal_warnings() -> list[str]:
    return []


@pytest.fixture
def open_journal(journal_path: Path, journal_warnings: list[str]) -> Iterator[OpenJournal]:
    """A function that opens the journal at `journal_path`; it is closed after the test."""
    opened: list[Journal] = []

    def make(retention_days: float | None = None, **options) -> Journal:
        opened.append(Journal.open(journal_path, retention_days, warn=journal_warnings.append, **options))
        return opened[-1]

    yield make
    for journal in opened:
        journal.close()


@pytest.fixture(scope="session")
def journal_of_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripted day and the one before it. Not to be changed."""
    path = tmp_path_factory.mktemp("days") / "journal" / "journal.db"
    write_days(path)
    return path
