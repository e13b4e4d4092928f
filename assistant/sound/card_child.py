"""The child that owns the sound card both ways: it plays, listens, and takes out of what it hears what it plays.

PortAudio hangs with a frozen sound server, and knows no device that came after it was loaded. A child that hangs is
killed, and the next one finds what is there by then. Echo cancellation needs what is played beside what is heard, so
one process has both.

It is sent ("play", rate in Hz, int16 samples as bytes), ("hush",), ("drain",), ("listen", whether), and None to end. It
says ("started",), then ("opened", output, why there is none) or ("failed", why), and ends; ("taken",) once for each
"play"; ("drained",); ("listening", microphone) or ("deaf", why); and ("heard", FRAME samples as bytes) while it
listens.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from assistant.errors import SpeechError

HEARD_HZ = 16_000
FRAME = 512
"""Samples of each piece of what is heard, 32 ms: what voice activity detectors take."""

AHEAD_S = 0.2
"""So much waits to be played; what is hushed was not yet heard."""

ECHO_SAMPLES = HEARD_HZ // 100
MAX_REFERENCE = HEARD_HZ // 4
"""What was played waits so long, at most, for what was heard in the same moment: the echo must not come first."""

HEARD_KEPT_S = 5.0
SILENT_S = 3.0
"""A device that calls for nothing and brings nothing for so long is gone, whatever it says of itself."""

IDLE_S = 10.0
LATENCY_S = 0.06
TICK_S = 0.01


@dataclass(frozen=True)
class CardPlan:
    """output, microphone: parts of their names, "" for the system's own; None: not wanted. The microphone is opened
    when it is listened to, and not before.
    """

    output: str | None = ""
    microphone: str | None = None
    cancels_echo: bool = True


def card_main(connection: Connection, plan: CardPlan) -> None:
    """The child. What PortAudio and ALSA print of a lost device goes nowhere; what matters is said in `failed`."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    card = None
    try:
        connection.send(("started",))
        card = _Card(plan)
        connection.send(("opened", card.output_name, card.why_no_output))
        while (message := connection.recv() if connection.poll(TICK_S) else ()) is not None:
            for answer in card.step(message):
                connection.send(answer)
    except SpeechError as error:
        connection.send(("failed", str(error)))
    except (EOFError, OSError):
        raise
    except Exception as error:  # a fault of ours, or of a driver
        connection.send(("failed", f"{type(error).__name__}: {error}"))
    finally:
        if card is not None:
            card.close()


class _Card:
    def __init__(self, plan: CardPlan) -> None:
        self._plan, self.why_no_output = plan, ""
        self._speaker: _Speaker | None = None
        self._microphone: _Microphone | None = None
        self._echo: _EchoCanceller | None = None
        try:
            self._speaker = None if plan.output is None else _Speaker(plan.output)
        except SpeechError as error:
            if plan.microphone is None:
                raise
            self.why_no_output = str(error)
        self.output_name = self._speaker.name if self._speaker else ""
        self._near, self._clean = np.zeros(0, np.int16), np.zeros(0, np.int16)
        self._num_untaken, self._is_draining = 0, False

    def step(self, message: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Do what is said, if anything is, and what is due; gives the answers."""
        answers: list[tuple[Any, ...]] = []
        if message and message[0] == "listen":
            answers.append(self._listen(is_on=message[1]))
        elif message and self._speaker:
            self._obey(self._speaker, *message)
        if self._speaker:
            self._speaker.look_after()
            if self._num_untaken and self._speaker.queued_s < AHEAD_S:
                answers += [("taken",)] * self._num_untaken
                self._num_untaken = 0
            if self._is_draining and self._speaker.is_silent:
                self._is_draining = False
                answers.append(("drained",))
        if self._microphone:
            try:
                answers += [("heard", frame.tobytes()) for frame in self._hear(self._microphone)]
            except SpeechError as error:
                self._listen(is_on=False)
                answers.append(("deaf", str(error)))
        return answers

    def _obey(self, speaker: _Speaker, do: str, rate_hz: int = 0, pcm: bytes = b"") -> None:
        match do:
            case "play":
                speaker.play(np.frombuffer(pcm, np.int16), rate_hz)
                self._num_untaken += 1
            case "hush":
                speaker.hush()
            case _:
                self._is_draining = True

    def _listen(self, *, is_on: bool) -> tuple[Any, ...]:
        """Open or close the microphone; gives the answer."""
        if self._microphone is not None:
            self._microphone.close()
            self._microphone, self._echo = None, None
        if not is_on or self._plan.microphone is None:
            return ("deaf", "")
        try:
            self._microphone = _Microphone(self._plan.microphone)
            if self._plan.cancels_echo and self._speaker:
                self._echo = _EchoCanceller()
                self._speaker.take_played()  # of before
        except SpeechError as error:
            return ("deaf", str(error))
        return ("listening", self._microphone.name)

    def _hear(self, microphone: _Microphone) -> list[np.ndarray]:
        self._near = np.concatenate([self._near, microphone.take()])
        played = self._speaker.take_played() if self._speaker else np.zeros(0, np.int16)
        if self._echo is None:
            clean, self._near = self._near, self._near[:0]
        else:
            clean, self._near = self._echo.clean(self._near, played)
        self._clean = np.concatenate([self._clean, clean])
        whole = len(self._clean) // FRAME * FRAME
        frames, self._clean = self._clean[:whole], self._clean[whole:]
        return list(frames.reshape(-1, FRAME))

    def close(self) -> None:
        for stream in (self._speaker, self._microphone):
            if stream is not None:
                stream.close()


class _Stream:
    """One direction of the card. PortAudio calls `called` in a thread of its own, which stamps `_called_s`."""

    def __init__(self, kind: str, wanted: str, called: Callable[[Any, int, Any, Any], None]) -> None:
        import sounddevice

        self._faults = (sounddevice.PortAudioError, OSError, ValueError)
        number, device = find_device(kind, wanted)
        self.name, self.rate_hz = str(device["name"]), int(device["default_samplerate"])
        make = sounddevice.OutputStream if kind == "output" else sounddevice.InputStream
        self._lock, self._called_s = threading.Lock(), time.monotonic()
        for channels in dict.fromkeys((1, min(2, int(device[f"max_{kind}_channels"])))):  # some cards are stereo only
            try:
                self._stream = make(device=number, samplerate=self.rate_hz, channels=channels, dtype="int16",
                                    latency=LATENCY_S, callback=called)  # fmt: skip
                return
            except self._faults as error:
                failure = error
        raise SpeechError(f'the sound {kind} "{self.name}" cannot be opened: {failure}') from None

    def _start(self) -> None:
        self._called_s = time.monotonic()
        try:
            self._stream.start()
        except self._faults as error:
            raise SpeechError(f'"{self.name}" cannot be started: {error}') from None

    def _check(self) -> None:
        """Raises SpeechError if it should run and does not."""
        if not self._stream.active or time.monotonic() - self._called_s > SILENT_S:
            raise SpeechError(f'"{self.name}" was lost')

    def close(self) -> None:
        with contextlib.suppress(*self._faults):
            self._stream.close()


class _Speaker(_Stream):
    """What is queued is played; the device rests while there is nothing for IDLE_S."""

    def __init__(self, wanted: str) -> None:
        self._queue: deque[np.ndarray] = deque()
        self._played: deque[np.ndarray] = deque()
        self._is_running, self._busy_s = False, 0.0
        super().__init__("output", wanted, self._fill)
        self._to_device: _Resampler | None = None
        self._to_reference = _Resampler(self.rate_hz, HEARD_HZ)

    @property
    def queued_s(self) -> float:
        with self._lock:
            return sum(map(len, self._queue)) / self.rate_hz

    @property
    def is_silent(self) -> bool:
        """Whether all has been heard, as far as can be known."""
        return not self.queued_s and time.monotonic() - self._busy_s > 2 * LATENCY_S

    def play(self, pcm: np.ndarray, rate_hz: int) -> None:
        if self._to_device is None or self._to_device.from_hz != rate_hz:
            self._to_device = _Resampler(rate_hz, self.rate_hz)
        pcm = self._to_device(pcm)
        with self._lock:
            self._queue.append(pcm)
        self._busy_s = time.monotonic()
        if not self._is_running:
            self._start()
            self._is_running = True

    def hush(self) -> None:
        with self._lock:
            self._queue.clear()
        self._to_device = None

    def look_after(self) -> None:
        if not self._is_running:
            return
        self._check()
        if time.monotonic() - self._busy_s > IDLE_S:
            self._stream.stop()
            self._is_running = False

    def take_played(self) -> np.ndarray:
        """What was played since, silence too, at HEARD_HZ."""
        with self._lock:
            played = [self._played.popleft() for _ in range(len(self._played))]
        return self._to_reference(np.concatenate(played)) if played else np.zeros(0, np.int16)

    def _fill(self, samples: Any, frames: int, when: Any, status: Any) -> None:
        self._called_s = time.monotonic()
        block = np.zeros(frames, np.int16)
        done = 0
        with self._lock:
            while self._queue and done < frames:
                piece = self._queue.popleft()
                fits = min(len(piece), frames - done)
                block[done : done + fits] = piece[:fits]
                done += fits
                if fits < len(piece):
                    self._queue.appendleft(piece[fits:])
            self._played.append(block)
            while len(self._played) * frames > self.rate_hz:  # nobody listens
                self._played.popleft()
        if done:
            self._busy_s = self._called_s
        samples[:] = block[:, None]


class _Microphone(_Stream):
    """Listens from the beginning."""

    def __init__(self, wanted: str) -> None:
        self._heard: deque[np.ndarray] = deque()
        super().__init__("input", wanted, self._keep)
        self._resample = _Resampler(self.rate_hz, HEARD_HZ)
        self._start()

    def take(self) -> np.ndarray:
        """What was heard since, at HEARD_HZ. Raises SpeechError when nothing comes any more."""
        self._check()
        with self._lock:
            heard = [self._heard.popleft() for _ in range(len(self._heard))]
        return self._resample(np.concatenate(heard)) if heard else np.zeros(0, np.int16)

    def _keep(self, samples: Any, frames: int, when: Any, status: Any) -> None:
        self._called_s = time.monotonic()
        with self._lock:
            self._heard.append(samples.mean(axis=1).astype(np.int16))
            while len(self._heard) * frames > HEARD_KEPT_S * self.rate_hz:
                self._heard.popleft()


class _Resampler:
    """A sound at another rate, piece by piece."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        from av.audio.resampler import AudioResampler

        self.from_hz, self._to_hz = from_hz, to_hz
        self._resampler = AudioResampler(format="s16", layout="mono", rate=to_hz) if from_hz != to_hz else None

    def __call__(self, pcm: np.ndarray) -> np.ndarray:
        from av import AudioFrame

        if self._resampler is None or not len(pcm):
            return pcm
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(pcm)[None], format="s16", layout="mono")
        frame.sample_rate = self.from_hz
        pieces = [piece.to_ndarray()[0] for piece in self._resampler.resample(frame)]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)


class _EchoCanceller:
    """WebRTC's AEC3. It finds the delay of the echo by itself, if what is played does not come later than that."""

    def __init__(self) -> None:
        try:
            from pywebrtc_audio import AudioProcessor
        except ImportError:
            raise SpeechError(
                "the package pywebrtc-audio is missing, and without it the microphone hears our own voice; "
                "pip install pywebrtc-audio"
            ) from None
        self._processor = AudioProcessor(sample_rate=HEARD_HZ, echo_cancellation=True, high_pass_filter=True)
        self._reference = np.zeros(0, np.int16)

    def clean(self, near: np.ndarray, played: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What was heard without what was played; and the rest, less than ECHO_SAMPLES, for the next time."""
        reference = np.concatenate([self._reference, played])[-MAX_REFERENCE:]
        whole = len(near) // ECHO_SAMPLES * ECHO_SAMPLES
        far = np.zeros(whole, np.int16)
        fits = min(whole, len(reference))
        far[:fits], self._reference = reference[:fits], reference[fits:]
        cleaned = [
            self._processor.process(near[at : at + ECHO_SAMPLES], far[at : at + ECHO_SAMPLES])
            for at in range(0, whole, ECHO_SAMPLES)
        ]
        return (np.concatenate(cleaned) if cleaned else near[:0]), near[whole:]


def find_device(kind: str, wanted: str) -> tuple[int, Any]:
    """PortAudio's number and facts of a device. kind: "output" or "input". wanted: a part of its name, in any case; ""
    for the system's own. Raises SpeechError if there is none.
    """
    try:
        import sounddevice
    except OSError:
        raise SpeechError("PortAudio is not installed (Debian: apt install libportaudio2)") from None
    try:
        if not wanted:
            device = sounddevice.query_devices(kind=kind)
            return int(device["index"]), device
        devices = [device for device in sounddevice.query_devices() if device[f"max_{kind}_channels"] > 0]
    except (sounddevice.PortAudioError, ValueError):
        raise SpeechError("no sound device" if kind == "output" else "no microphone") from None
    for device in devices:
        if wanted.casefold() in str(device["name"]).casefold():
            return int(device["index"]), device
    names = ", ".join(str(device["name"]) for device in devices) or "there is none"
    raise SpeechError(f'no sound {kind} is called "{wanted}" ({names})')


def default_output() -> tuple[str, int]:
    """Name and preferred rate (Hz) of the system's own sound output. Raises SpeechError where there is none."""
    _, device = find_device("output", "")
    return str(device["name"]), int(device["default_samplerate"])
