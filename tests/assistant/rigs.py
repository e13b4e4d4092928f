"""Real devices without hardware: a webcam and a sound card that PipeWire makes, an RTSP camera that GStreamer serves.

Debian's pipewire with its servers, wireplumber, pulseaudio-utils and GStreamer must be there; `packaging/setup.sh test`
sees to it.
"""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

TEST_PICTURE = ["videotestsrc", "is-live=true", "pattern=ball", "!"]


class Webcam:
    """A V4L2 camera in a PipeWire of its own. Programs see it as /dev/video0 when they are started by `pw-v4l2`.

    environ: to be added to their environment. Use as a context manager; it is plugged in by `plug`.
    """

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="onlooker-webcam-")
        self.environ = {"XDG_RUNTIME_DIR": self._directory.name}
        self._everything = {**os.environ, **self.environ}
        self._server: subprocess.Popen[bytes] | None = None
        self._picture: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Webcam":
        script = "pipewire & sleep 0.7; wireplumber & wait"
        self._server = self._start("dbus-run-session", "--", "sh", "-c", script)
        until_s = time.monotonic() + 10
        while not (Path(self._directory.name) / "pipewire-0").exists():
            assert time.monotonic() < until_s, "PipeWire does not start"
            time.sleep(0.1)
        time.sleep(1.5)  # WirePlumber takes over
        return self

    def __exit__(self, *exc: object) -> None:
        self.unplug()
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGTERM)
            self._server.wait(10)
        self._directory.cleanup()

    def plug(self) -> None:
        properties = "p,media.class=Video/Source,node.name=onlooker-test-camera"
        caps = "video/x-raw,format=YUY2,width=320,height=240,framerate=15/1"
        sink = ["pipewiresink", "mode=provide", f"stream-properties={properties}"]
        self._picture = self._start("gst-launch-1.0", "-q", *TEST_PICTURE, caps, "!", *sink)

    def unplug(self) -> None:
        if self._picture is not None:
            self._picture.kill()
            self._picture.wait(10)
            self._picture = None

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, env=self._everything, start_new_session=True, **quiet)


class RtspCamera:
    """A camera that speaks RTSP, in a process that can be frozen and killed."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.address = f"rtsp://127.0.0.1:{self._port}/cam"
        self._process: subprocess.Popen[str] | None = None

    def plug(self) -> None:
        script = Path(__file__).with_name("rtsp_camera.py")
        # Debian's own Python: the bindings of GObject are its packages
        command = ["/usr/bin/python3", str(script), str(self._port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def unplug(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


class SoundCard:
    """A sound card without hardware, served by a PipeWire of its own to programs that have `environ`.

    `unplug` kills the server and all that knew of it, `freeze` stops it; what is played can be heard by `hear`. After
    `add_microphone` it hears what is `spoken`; `add_echo` lets it hear what is played, too.
    """

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="onlooker-sound-")
        home = Path(self._directory.name)
        (home / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
        self.environ = {"XDG_RUNTIME_DIR": str(home), "HOME": str(home)}
        self._everything = {**os.environ, **self.environ}
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "SoundCard":
        self.plug()
        return self

    def __exit__(self, *exc: object) -> None:
        self.unplug()
        self._directory.cleanup()

    def plug(self) -> None:
        script = "pipewire & sleep 0.7; wireplumber & pipewire-pulse & wait"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._server = subprocess.Popen(
            ["dbus-run-session", "--", "sh", "-c", script], env=self._everything, start_new_session=True, **quiet
        )
        until_s = time.monotonic() + 15
        sink = ("load-module", "module-null-sink", "sink_name=speaker", "media.class=Audio/Sink")
        while self._control(*sink) or self._control("set-default-sink", "speaker"):
            assert time.monotonic() < until_s, "the sound server does not start"
            time.sleep(0.2)

    def add_microphone(self) -> None:
        sink = ("module-null-sink", "sink_name=micpipe", "media.class=Audio/Sink")
        for command in (
            ("load-module", *sink),
            ("load-module", "module-remap-source", "source_name=virtmic", "master=micpipe.monitor"),
            ("set-default-source", "virtmic"),
        ):
            assert self._control(*command) == 0, command

    def add_echo(self) -> None:
        assert self._control("load-module", "module-loopback", "source=speaker.monitor", "sink=micpipe") == 0

    def num_recordings(self) -> int:
        """How many listen to any microphone, the rig's own parts too."""
        command = ["pactl", "list", "source-outputs", "short"]
        done = subprocess.run(command, env=self._everything, capture_output=True, text=True, check=True, timeout=10)
        return len(done.stdout.splitlines())

    def speak(self, pcm: np.ndarray, rate_hz: int) -> None:
        """Into the microphone: int16 samples. Returns when all of it has been said."""
        options = ["--device=micpipe", f"--rate={rate_hz}", "--channels=1", "--format=s16le", "--raw"]
        subprocess.run(["pacat", *options], env=self._everything, input=pcm.tobytes(), check=True, timeout=120)

    def unplug(self) -> None:
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait(10)
            self._server = None

    def freeze(self) -> None:
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGCONT)

    @contextmanager
    def recorded(self) -> Iterator[Callable[[], np.ndarray]]:
        """Gives, when called in the block, what was played since it began: int16 at 16,000 a second."""
        options = ["--device=speaker.monitor", "--rate=16000", "--channels=1", "--format=s16le", "--raw"]
        with (
            tempfile.TemporaryFile() as file,
            subprocess.Popen(["parec", *options], env=self._everything, stdout=file) as ear,
        ):

            def so_far() -> np.ndarray:
                length = os.fstat(file.fileno()).st_size // 2
                return np.frombuffer(os.pread(file.fileno(), 2 * length, 0), np.int16)

            try:
                yield so_far
            finally:
                ear.terminate()

    def hear(self, seconds: float) -> np.ndarray:
        """What is played from now on, int16 at 16,000 a second."""
        count, until_s = int(seconds * 16000), time.monotonic() + 20 * seconds
        with self.recorded() as played:
            while len(heard := played()) < count:
                assert time.monotonic() < until_s, "nothing comes from the sound server"
                time.sleep(0.05)
        return heard[:count]

    def _control(self, *command: str) -> int:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.run(["pactl", *command], env=self._everything, check=False, timeout=10, **quiet).returncode
