"""The sound card both ways, on a real sound server: what is spoken is heard, our own voice is not, hush is hush."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from assistant.errors import SpeechError
from assistant.sound.card import Card, CardPlayer
from assistant.sound.card_child import FRAME, HEARD_HZ, CardPlan, _Resampler
from assistant.sound.speech import Speech
from assistant.voice.engines import EspeakEngine
from tests.assistant.camera import wait_for
from tests.assistant.rigs import SoundCard
from tests.pace import pace

LINE = "You pick up the red cup, put it on the plate, and then you open the drawer on the left."


def tone(hz: float, seconds: float, rate_hz: int = 22050) -> Speech:
    return Speech(
        (np.sin(np.arange(int(seconds * rate_hz)) * 2 * np.pi * hz / rate_hz) * 9000).astype(np.int16), rate_hz
    )


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[SoundCard]:
    with SoundCard() as card:
        for name, value in card.environ.items():
            monkeypatch.setenv(name, value)
        card.add_microphone()
        yield card


@contextmanager
def opened(plan: CardPlan) -> Iterator[Card]:
    card = Card(plan)
    card.start()
    try:
        card.wait_until_open(threading.Event())
        if plan.microphone is not None:
            card.listen(is_on=True)
            wait_for(lambda: card.is_listening, 10)
        yield card
    finally:
        assert card.close() == []


def listen(card: Card, seconds: float) -> np.ndarray:
    card.heard.take_many(999, timeout_s=0)
    pieces, until_s = [], time.monotonic() + seconds
    while time.monotonic() < until_s:
        pieces += card.heard.take_many(99, timeout_s=0.1)
    return np.frombuffer(b"".join(pieces), np.int16)


def loudness(pcm: np.ndarray) -> float:
    return float(np.sqrt((pcm.astype(np.float64) ** 2).mean())) if len(pcm) else 0.0


def peak_hz(pcm: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    return float(spectrum.argmax() * HEARD_HZ / len(pcm))


def test_what_is_spoken_is_heard_in_whole_pieces(rig: SoundCard):
    with opened(CardPlan(output=None, microphone="")) as card:
        spoken = tone(440, 2.0)
        speaker = threading.Thread(target=rig.speak, args=(spoken.pcm, spoken.sample_rate_hz))
        speaker.start()
        heard = listen(card, 3.0 * pace())
        speaker.join()
        assert len(heard) % FRAME == 0
        assert len(heard) > 2 * HEARD_HZ  # what is quiet, too
        loud = heard[np.abs(heard) > 2000]
        assert len(loud) > HEARD_HZ // 2
        middle = np.flatnonzero(np.abs(heard) > 2000)[len(loud) // 4 :][: HEARD_HZ // 4]
        assert peak_hz(heard[middle[0] : middle[0] + 4096]) == pytest.approx(440, abs=5)


@pytest.mark.parametrize("cancels_echo", [True, False])
def test_our_own_voice_is_taken_out_of_what_is_heard(rig: SoundCard, cancels_echo: bool):
    rig.add_echo()
    said = EspeakEngine(170, 1.0).synthesise(LINE)
    with opened(CardPlan("", "", cancels_echo)) as card:
        player = CardPlayer(card, threading.Event())
        levels: list[float] = []
        for _ in range(8):  # it learns the echo in the first, and anew when the machine was too busy to keep up
            speaker = threading.Thread(target=player.play, args=(said, 0.0))
            speaker.start()
            levels.append(loudness(listen(card, len(said.pcm) / said.sample_rate_hz)))
            speaker.join()
            if len(levels) > 1 and (levels[-1] < 60 or not cancels_echo):
                break
        assert levels[-1] < 60 if cancels_echo else min(levels) > 300, levels


def test_somebody_who_speaks_while_we_do_is_heard(rig: SoundCard):
    rig.add_echo()
    said, spoken = EspeakEngine(170, 1.0).synthesise(LINE), tone(700, 1.5)
    with opened(CardPlan("", "")) as card:
        player = CardPlayer(card, threading.Event())
        player.play(said, 0.0)
        ours = threading.Thread(target=player.play, args=(said, 0.0))
        theirs = threading.Thread(target=rig.speak, args=(spoken.pcm, spoken.sample_rate_hz))
        ours.start()
        theirs.start()
        heard = listen(card, 4.0)
        ours.join()
        theirs.join()
        loud = [
            heard[at : at + 4096] for at in range(0, len(heard) - 4096, 2048) if loudness(heard[at : at + 4096]) > 800
        ]
        assert loud
        assert np.median([peak_hz(piece) for piece in loud]) == pytest.approx(700, abs=10)


def test_hush_breaks_off_at_once_and_the_next_sentence_is_whole(rig: SoundCard):
    with opened(CardPlan("")) as card:
        player = CardPlayer(card, threading.Event())
        heard: list[np.ndarray] = []
        ear = threading.Thread(target=lambda: heard.append(rig.hear(4.0)))
        ear.start()
        time.sleep(0.5)
        play = threading.Thread(target=player.play, args=(tone(440, 20.0), 0.0))
        play.start()
        time.sleep(1.0)
        hushed_s = time.monotonic()
        player.hush()
        play.join(5)
        assert time.monotonic() - hushed_s < 0.3 * pace()
        ear.join()
        sounding_s = np.count_nonzero(np.abs(heard[0]) > 100) / HEARD_HZ / 0.99
        assert sounding_s < 1.0 + 0.35 * pace()
        player.play(tone(500, 0.5), 0.0)
        assert card.drain(5 * pace())


def test_a_sound_server_that_comes_back_is_heard_again(rig: SoundCard):
    with opened(CardPlan("", "")) as card:
        listen(card, 0.5)
        for _ in range(2):
            rig.unplug()
            wait_for(lambda: not card.is_listening, 8)
            rig.plug()
            rig.add_microphone()
            wait_for(lambda: card.is_listening, 20)
            assert len(listen(card, 1.0)) > 0


def test_a_sound_server_that_hangs_is_noticed(rig: SoundCard):
    with opened(CardPlan("", "")) as card:
        listen(card, 0.5)
        rig.freeze()
        wait_for(lambda: bool(card.failure), 10)
        rig.thaw()
        wait_for(lambda: card.is_listening, 20)


def test_a_microphone_that_is_not_listened_to_is_closed(rig: SoundCard):
    with opened(CardPlan("", "")) as card:
        assert len(listen(card, 0.5)) > 0
        with_ours = rig.num_recordings()
        card.listen(is_on=False)
        wait_for(lambda: not card.is_listening, 5)
        assert len(listen(card, 0.5)) == 0
        assert rig.num_recordings() == with_ours - 1
        card.listen(is_on=True)
        wait_for(lambda: card.is_listening, 5)
        assert len(listen(card, 0.5)) > 0


def test_where_there_is_no_device_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    card = Card(CardPlan(""))
    card.start()
    for _ in range(2):  # also when it is tried again
        with pytest.raises(SpeechError, match="no sound device"):
            card.wait_until_open(threading.Event())
    assert card.close() == []


def test_a_microphone_that_is_not_there_is_named_and_the_voice_is_heard_all_the_same(rig: SoundCard):
    card = Card(CardPlan("", "Headset of nobody"))
    card.start()
    card.wait_until_open(threading.Event())
    card.listen(is_on=True)
    wait_for(lambda: bool(card.deaf), 5)
    assert card.deaf.startswith('no sound input is called "Headset of nobody" (')
    assert "default" in card.deaf
    player = CardPlayer(card, threading.Event())
    player.play(tone(440, 0.3), 0.0)
    assert card.drain(5 * pace())
    assert card.close() == []


def test_resampling_piece_by_piece_is_resampling():
    speech = tone(440, 1.0, 48000)
    resample = _Resampler(48000, HEARD_HZ)
    pieces = np.concatenate([resample(speech.pcm[at : at + 480]) for at in range(0, 48000, 480)])
    assert len(pieces) == pytest.approx(HEARD_HZ, abs=64)
    assert peak_hz(pieces[2000:10192]) == pytest.approx(440, abs=3)
