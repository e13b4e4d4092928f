"""`onlooker devices --test`: says a sentence, listens to what is said back, and tells what came of both."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from assistant.config.keys import Config
from assistant.errors import HearingError, SpeechError
from assistant.sound.card_child import HEARD_HZ
from model.errors import OnlookerError

SENTENCE = "This is a test. After this sentence, please say something."
LISTEN_S = 6.0
WARM_UP_S = 1.5


def try_sound(config: Config, show: Callable[[str], object]) -> int:
    """Say, listen and write down; gives the exit code: 0 if all worked, else 3."""
    from assistant.sound.card import Card
    from assistant.sound.card_child import CardPlan
    from assistant.voice.engines import open_engines

    card = Card(CardPlan("", config.ear.microphone_name, cancels_echo=False))
    card.start()
    card.listen(is_on=True)
    engines = open_engines(config.voice.engine, config.voice.rate_wpm, config.voice.volume)
    try:
        card.wait_until_open(threading.Event())
        show(f'sound output: "{card.output_name}"')
        speech = engines[0].synthesise(SENTENCE)
        time.sleep(WARM_UP_S)
        if card.deaf or not card.is_listening:
            show(f"microphone: {card.deaf or 'it does not open'}")
        card.heard.take_many(9999, timeout_s=0)
        card.play(speech, threading.Event())
        card.drain(5.0)
        ours = _recorded(card.heard.take_many(9999, timeout_s=0))
        if not card.is_listening:
            return 3
        show(f'microphone: "{card.microphone_name}", {loudness_words(ours)} while we spoke')
        show(f"echo: {echo_words(ours, speech.pcm, speech.sample_rate_hz)}")
        show(f"listening for {LISTEN_S:.0f} s: say something …")
        time.sleep(LISTEN_S)
        said = _recorded(card.heard.take_many(9999, timeout_s=0))
    except SpeechError as error:
        show(f"sound: {error}")
        return 3
    finally:
        card.close()
        for engine in engines:
            engine.close()
    show(f"heard: {loudness_words(said)}")
    try:
        show(f"written down: {_written_down(config, said)}")
    except OnlookerError as error:
        show(f"written down: {error}")
        return 3
    return 0 if said.any() else 3


def loudness_words(pcm: np.ndarray) -> str:
    """Its level, and what that means."""
    if not len(pcm):
        return "nothing came"
    if not pcm.any():
        return "nothing but zeros: is it muted?"
    level = 20 * np.log10(np.sqrt((pcm.astype(np.float64) ** 2).mean()) / 32768 + 1e-9)
    peak = 20 * np.log10(np.abs(pcm.astype(np.float64)).max() / 32768 + 1e-9)
    what = "too loud: it is clipped" if peak > -0.1 else "very quiet" if peak < -40 else "good"
    return f"level {level:.0f} dB, peak {peak:.0f} dB ({what})"


def echo_words(heard: np.ndarray, played: np.ndarray, played_hz: int) -> str:
    """After how long, and how loud, what was played comes back."""
    from assistant.sound.speech import Speech
    from assistant.sound.wav import resample

    played = resample(Speech(played, played_hz), HEARD_HZ).astype(np.float64)
    size = 1 << (len(heard) + len(played)).bit_length()
    spectrum = np.fft.rfft(heard.astype(np.float64), size) * np.conj(np.fft.rfft(played, size))
    match = np.fft.irfft(spectrum, size)
    at = int(np.abs(match[: len(heard)]).argmax()) if len(heard) else 0
    power = float((played**2).sum()) * float((heard.astype(np.float64) ** 2).sum())
    likeness = float(np.abs(match[at])) / np.sqrt(power) if power else 0.0
    if likeness < 0.1:
        return "none (headphones, or the output is not heard by the microphone)"
    return f"after {1000 * at / HEARD_HZ:.0f} ms, likeness {likeness:.2f}; it is cancelled while the daemon speaks"


def _recorded(pieces: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(pieces), np.int16)


def _written_down(config: Config, said: np.ndarray) -> str:
    from assistant.ear.transcriber import Transcriber
    from assistant.ear.words import is_ghost

    if not len(said):
        raise HearingError("there is nothing to write down")
    transcriber = Transcriber(config.ear.model)
    try:
        start_s = time.monotonic()
        transcript = transcriber.transcribe(said)
        took_s = time.monotonic() - start_s
    finally:
        transcriber.close()
    return "nothing was said" if is_ghost(transcript) else f'"{transcript.text}" ({took_s:.1f} s)'
