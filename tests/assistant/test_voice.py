"""Real engines into real files: what is spoken, when, and what happens when an engine hangs, crashes or is missing."""

import os
import resource
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from assistant.config.keys import VoiceSection
from assistant.errors import OutputError, SpeechError
from assistant.sound.player import open_player
from assistant.sound.speech import Speech
from assistant.sound.wav import WAV_RATE_HZ, WavPlayer, resample
from assistant.voice import piper
from assistant.voice.engines import EspeakEngine, NoSound, Pyttsx3Engine, SpeechEngine, open_engines
from assistant.voice.lines import Lines, Sentence
from assistant.voice.speaker import Voice, run_voice
from assistant.voice.thread import VoiceThread
from tests.assistant.camera import wait_for
from tests.pace import pace

TEXT = "You pick up the red mug."


def spoken_spans(path: Path) -> list[tuple[float, float]]:
    """Where there is sound, in seconds; pauses below 0.3 s are part of a sentence."""
    samples, rate = soundfile.read(path)
    loud = np.flatnonzero(np.abs(samples) > 0.01) / rate
    breaks = np.flatnonzero(np.diff(loud) > 0.3)
    starts, ends = np.append(loud[0], loud[breaks + 1]), np.append(loud[breaks], loud[-1])
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


class Recorded:
    """An engine that needs no process, for a machine whose limits are being lowered."""

    name = "recorded"

    def synthesise(self, text: str) -> Speech:
        return Speech(np.full(WAV_RATE_HZ * 3 // 2, 1000, np.int16), WAV_RATE_HZ)

    def close(self) -> None:
        pass


def hanging_program(folder: Path) -> str:
    program = folder / "hangs"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("name", ["pyttsx3", "espeak-ng"])
def test_engines_return_a_sentence(name):
    engine = open_engines(name, 170, 1.0)[0]
    try:
        assert engine.name == name
        speech = engine.synthesise(TEXT)
        assert speech.pcm.dtype == np.int16
        assert speech.pcm.ndim == 1
        assert 1.0 < len(speech.pcm) / speech.sample_rate_hz < 3.0
        assert np.abs(speech.pcm).max() > 3000
        longer = engine.synthesise(f"{TEXT} {TEXT}")
        assert len(longer.pcm) > 1.7 * len(speech.pcm)
    finally:
        engine.close()


@pytest.mark.parametrize("name", ["pyttsx3", "espeak-ng"])
def test_rate_and_volume(name):
    plain, fast = open_engines(name, 150, 1.0)[0], open_engines(name, 300, 0.25)[0]
    try:
        slow_speech, fast_speech = plain.synthesise(TEXT), fast.synthesise(TEXT)
    finally:
        plain.close()
        fast.close()
    assert len(fast_speech.pcm) < 0.75 * len(slow_speech.pcm)
    assert np.abs(fast_speech.pcm).max() < 0.5 * np.abs(slow_speech.pcm).max()


@pytest.mark.parametrize("disturb", [signal.SIGSTOP, signal.SIGKILL])
def test_pyttsx3_that_hangs_or_crashes_is_started_again(disturb):
    engine = Pyttsx3Engine(170, 1.0, timeout_s=1.0)
    try:
        engine.synthesise(TEXT)
        first = engine.pid
        assert first is not None
        os.kill(first, disturb)
        start_s = time.monotonic()
        assert len(engine.synthesise(TEXT).pcm) > WAV_RATE_HZ
        assert time.monotonic() - start_s < 10 * pace()
        assert engine.pid != first
    finally:
        engine.close()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_espeak_that_hangs_or_is_missing_is_an_error(tmp_path):
    with pytest.raises(SpeechError, match=r"did not answer within 0\.5 s"):
        EspeakEngine(170, 1.0, program=hanging_program(tmp_path), timeout_s=0.5).synthesise(TEXT)
    with pytest.raises(SpeechError, match="not installed"):
        EspeakEngine(170, 1.0, program="no-such-program").synthesise(TEXT)
    with pytest.raises(SpeechError, match="failed"):
        EspeakEngine(170, 1.0, program="false").synthesise(TEXT)


def test_a_failing_engine_is_replaced_with_one_warning(tmp_path):
    warnings: list[str] = []
    engines: list[SpeechEngine] = [
        EspeakEngine(170, 1.0, program=hanging_program(tmp_path), timeout_s=0.3),
        EspeakEngine(170, 1.0),
    ]
    path = tmp_path / "speech.wav"
    voice = Voice(engines, WavPlayer(path, is_timeline=True), warnings.append)
    voice.say(Sentence(TEXT, 0.0))
    voice.say(Sentence(TEXT, 3.0))
    voice.close(6.0)
    assert len(warnings) == 1
    assert "espeak-ng speaks instead" in warnings[0]
    assert len(spoken_spans(path)) == 2
    assert voice.where == str(path)


def test_no_engine_is_one_warning_and_silence(tmp_path):
    warnings: list[str] = []
    engines: list[SpeechEngine] = [EspeakEngine(170, 1.0, program="nope"), EspeakEngine(170, 1.0, program="neither")]
    voice = Voice(engines, WavPlayer(tmp_path / "speech.wav", is_timeline=True), warnings.append)
    for second in range(3):
        voice.say(Sentence(TEXT, float(second)))
    voice.close(3.0)
    assert len(warnings) == 1
    assert "going on in silence" in warnings[0]
    assert voice.where.startswith("none (")


def test_timeline_has_each_sentence_at_its_time_and_none_on_top_of_another(tmp_path):
    path = tmp_path / "deep" / "speech.wav"
    voice = Voice([EspeakEngine(170, 1.0)], WavPlayer(path, is_timeline=True), print)
    for time_s in (2.0, 2.5, 10.0):
        voice.say(Sentence(TEXT, time_s))
    voice.close(20.0)
    assert soundfile.info(path).duration == pytest.approx(20.0, abs=0.01)
    spans = spoken_spans(path)
    assert spans[0][0] == pytest.approx(2.0, abs=0.1)
    assert spans[-1][0] == pytest.approx(10.0, abs=0.1)
    sound_s = sum(end - start for start, end in spans)
    alone_s = len(EspeakEngine(170, 1.0).synthesise(TEXT).pcm) / WAV_RATE_HZ
    assert sound_s > 3 * alone_s - 1.2


def test_live_source_leaves_no_silence_between(tmp_path):
    path = tmp_path / "speech.wav"
    voice = Voice([EspeakEngine(170, 1.0)], WavPlayer(path, is_timeline=False), print)
    for time_s in (100.0, 7200.0):
        voice.say(Sentence(TEXT, time_s))
    voice.close(7300.0)
    assert soundfile.info(path).duration < 8


def test_file_is_whole_after_every_sentence(tmp_path):
    path = tmp_path / "speech.wav"
    path.write_bytes(b"yesterday's")
    player = WavPlayer(path, is_timeline=True)
    assert path.read_bytes() == b"yesterday's"  # until there is something to put in its place
    player.play(Speech(np.full(WAV_RATE_HZ, 1000, np.int16), WAV_RATE_HZ), 1.0)
    assert soundfile.info(path).duration == pytest.approx(2.0)
    player.close(3.0)


def test_no_space_left_is_one_warning(tmp_path):
    path = tmp_path / "full.wav"
    path.symlink_to("/dev/full")
    with pytest.raises(SpeechError, match="No space left"):
        WavPlayer(path, is_timeline=True).play(Speech(np.zeros(10, np.int16), WAV_RATE_HZ), 0.0)


def test_space_that_runs_out_is_one_warning_and_silence(tmp_path):
    warnings: list[str] = []
    path = tmp_path / "speech.wav"
    voice = Voice([Recorded()], WavPlayer(path, is_timeline=True), warnings.append)
    voice.say(Sentence(TEXT, 0.0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # what a full disk does, a little later
    try:
        for time_s in (3.0, 6.0, 9.0):
            voice.say(Sentence(TEXT, time_s))
        voice.close(12.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(warnings) == 1
    assert "File too large; going on in silence" in warnings[0]
    assert voice.where.startswith("broken off: ")
    assert soundfile.info(path).frames > WAV_RATE_HZ


def test_the_four_gigabytes_of_the_format_are_a_limit_not_a_crash(tmp_path):
    warnings: list[str] = []
    path = tmp_path / "speech.wav"
    voice = Voice([EspeakEngine(170, 1.0)], WavPlayer(path, is_timeline=True), warnings.append)
    voice.say(Sentence(TEXT, 0.0))
    voice.say(Sentence(TEXT, 1e5))
    voice.close(1e5)
    assert len(warnings) == 1
    assert "4 GB" in warnings[0]
    assert path.stat().st_size < 1_000_000


def test_unwritable_place_is_refused_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written") as refused:
        open_player(
            str(tmp_path / "file" / "a.wav"), tmp_path / "x.wav", threading.Event(), is_file=True, lossless=False
        )
    assert refused.value.exit_code == 2


def test_auto_output_is_a_file_when_faster_than_real_time(tmp_path):
    player = open_player("auto", tmp_path / "out" / "x.wav", threading.Event(), is_file=True, lossless=True)
    player.close(1.0)
    assert player.where == f"{tmp_path}/out/x.wav (faster than real time)"


def test_voice_thread_says_what_is_left_then_ends(tmp_path):
    lines, stop = Lines(), threading.Event()
    path = tmp_path / "speech.wav"
    voice = Voice([EspeakEngine(170, 1.0)], WavPlayer(path, is_timeline=True), print)
    lines.put(Sentence(TEXT, 0.0))
    lines.put(Sentence(TEXT, 4.0))
    lines.close()
    run_voice(lines, voice, stop)
    voice.close(0.0)
    assert voice.num_spoken == 2


def test_resampling_keeps_length_and_pitch():
    tone = (np.sin(np.arange(16000) * 2 * np.pi * 440 / 16000) * 10000).astype(np.int16)
    louder = resample(Speech(tone, 16000), 48000)
    assert len(louder) == 48000
    spectrum = np.abs(np.fft.rfft(louder))
    assert abs(int(spectrum.argmax()) - 440) <= 1


class Mumbling:
    """An engine that gives no sound."""

    name = "mumbling"

    def synthesise(self, text: str) -> Speech:
        raise NoSound("mumbling gave no sound")

    def close(self) -> None:
        pass


def test_an_engine_without_sound_is_followed_by_the_next_with_one_warning(tmp_path):
    warnings: list[str] = []
    voice = Voice(
        [Mumbling(), EspeakEngine(170, 1.0)], WavPlayer(tmp_path / "a.wav", is_timeline=False), warnings.append
    )
    voice.say(Sentence(TEXT, 0.0))
    voice.say(Sentence(TEXT, 1.0))
    voice.close(0.0)
    assert voice.num_spoken == 2
    assert warnings == ["voice: mumbling gave no sound; espeak-ng speaks instead"]


def test_what_no_engine_can_pronounce_costs_no_engine(tmp_path):
    class Picky(Mumbling):
        def synthesise(self, text: str) -> Speech:
            return EspeakEngine(170, 1.0).synthesise(text) if text == TEXT else super().synthesise(text)

    warnings: list[str] = []
    voice = Voice([Picky(), Picky()], WavPlayer(tmp_path / "a.wav", is_timeline=False), warnings.append)
    voice.say(Sentence("hm", 0.0))
    voice.say(Sentence(TEXT, 1.0))
    voice.close(0.0)
    assert (voice.num_spoken, warnings) == (1, [])


def test_a_fresh_child_speaks_at_once_and_at_the_speed_that_was_asked_for():
    lengths = []
    for _ in range(4):
        engine = Pyttsx3Engine(170, 1.0)
        lengths.append([len(engine.synthesise(text).pcm) for text in (TEXT, "You put it down.")])
        engine.close()
    assert lengths == [lengths[0]] * 4
    assert min(lengths[0]) > 0


def test_nothing_to_pronounce_is_no_failure(tmp_path):
    warnings: list[str] = []
    voice = Voice(open_engines("pyttsx3", 170, 1.0), WavPlayer(tmp_path / "a.wav", is_timeline=False), warnings.append)
    voice.say(Sentence("… – !", 0.0))
    voice.close(0.0)
    assert (voice.num_spoken, warnings) == (0, [])


class Slow:
    """A player that takes ten seconds for a sentence, unless it is hushed."""

    where, is_heard = "a slow device", True

    def __init__(self, hush: threading.Event, heard: list[tuple[float, float]]):
        self._hush, self._heard = hush, heard

    def play(self, speech: Speech, time_s: float) -> None:
        start_s = time.monotonic()
        self._hush.wait(10 if time_s < 9 else 0)
        self._heard.append((time_s, time.monotonic() - start_s))

    def hush(self) -> None:
        pass

    def close(self, end_s: float | None) -> None:
        pass


def test_muting_breaks_the_sentence_off_and_the_next_one_is_said():
    heard: list[tuple[float, float]] = []
    thread = VoiceThread(lambda _, hush, __: Voice([EspeakEngine(170, 1.0, hush)], Slow(hush, heard), print))
    thread.start(VoiceSection())
    for time_s in (0.0, 1.0, 2.0):
        thread.say(Sentence(TEXT, time_s))
    wait_for(lambda: thread.part().state == "speaking", 10)
    thread.cut()
    thread.say(Sentence(TEXT, 9.0, is_answer=True))
    wait_for(lambda: 9.0 in [time_s for time_s, _ in heard], 20)
    assert thread.close() == []
    assert not [time_s for time_s, _ in heard if time_s in (1.0, 2.0)], "what waited is forgotten"
    assert all(took_s < 9 for _, took_s in heard)


def test_what_is_held_while_it_is_being_made_does_not_sound_before_it_is_released():
    heard: list[tuple[float, float]] = []

    class Thinking(Mumbling):
        def synthesise(self, text: str) -> Speech:
            time.sleep(0.4)
            return Speech(np.ones(1, np.int16), WAV_RATE_HZ)

    thread = VoiceThread(lambda _, hush, __: Voice([Thinking()], Slow(hush, heard), print))
    thread.start(VoiceSection())
    thread.say(Sentence(TEXT, 9.0, is_answer=True))
    wait_for(lambda: thread.part().state == "speaking", 10)
    thread.hold()
    time.sleep(0.8)
    assert heard == []
    thread.release()
    wait_for(lambda: len(heard) == 1, 10)
    assert thread.close() == []


def test_a_remark_that_comes_too_late_is_not_said_and_counted():
    heard: list[tuple[float, float]] = []
    thread = VoiceThread(lambda _, hush, __: Voice([EspeakEngine(170, 1.0, hush)], Slow(hush, heard), print))
    thread.start(VoiceSection())
    thread.say(Sentence(TEXT, 1.0, since_s=time.monotonic() - 60))
    thread.say(Sentence(TEXT, 9.0, is_answer=True, since_s=time.monotonic() - 60))
    wait_for(lambda: heard and thread.num_unsaid, 20)
    assert thread.close() == []
    assert ([time_s for time_s, _ in heard], thread.num_unsaid) == ([9.0], 1)


def test_what_is_held_is_said_again_from_its_beginning_and_nothing_is_lost():
    heard: list[float] = []

    class Held(Slow):
        """Plays half a second of each sentence, unless it is hushed."""

        hushed = threading.Event()

        def play(self, speech: Speech, time_s: float) -> None:
            self.hushed.clear()
            if not self.hushed.wait(0.5):
                heard.append(time_s)

        def hush(self) -> None:
            self.hushed.set()

    thread = VoiceThread(lambda _, hush, __: Voice([EspeakEngine(170, 1.0, hush)], Held(hush, []), print))
    thread.start(VoiceSection())
    for time_s in (0.0, 1.0, 2.0):
        thread.say(Sentence(TEXT, time_s, is_answer=True))
    wait_for(lambda: thread.part().state == "speaking", 10)
    time.sleep(0.1)
    thread.hold()
    wait_for(lambda: thread.part().state == "idle", 10)
    said = list(heard)
    time.sleep(0.8)
    assert heard == said, "it is silent while it is held"
    thread.release()
    wait_for(lambda: len(heard) == 3, 20)
    assert heard == [0.0, 1.0, 2.0]
    thread.say(Sentence(TEXT, 3.0, is_answer=True))
    wait_for(lambda: thread.part().state == "speaking", 10)
    thread.hold()
    thread.cut()
    thread.say(Sentence(TEXT, 9.0, is_answer=True))
    wait_for(lambda: heard[-1] == 9.0, 20)
    assert thread.close() == []
    assert 3.0 not in heard or heard.index(3.0) < heard.index(9.0)


def test_muting_at_any_moment_leaves_nothing_to_be_said():
    """Also between the moment that a line is taken and the one that it is said."""
    heard: list[tuple[float, float]] = []

    class Plain(Mumbling):
        def synthesise(self, text: str) -> Speech:
            return Speech(np.ones(1, np.int16), WAV_RATE_HZ)

    thread = VoiceThread(lambda _, hush, __: Voice([Plain()], Slow(hush, heard), print))
    thread.start(VoiceSection())
    for number in range(200):
        thread.say(Sentence(TEXT, 0.0))
        if number % 3:
            time.sleep(number % 7 / 5000)
        thread.cut()
    thread.say(Sentence(TEXT, 9.0, is_answer=True))
    wait_for(lambda: 9.0 in [time_s for time_s, _ in heard], 20)
    assert thread.close() == []
    assert all(took_s < 9 for _, took_s in heard), "each was broken off"


def test_a_voice_whose_thread_died_says_why_and_speaks_again():
    heard: list[tuple[float, float]] = []

    def open_voice(_: VoiceSection, hush: threading.Event, __: object) -> Voice:
        if not opened:
            opened.append(1)
            raise ValueError("a driver of another kind")
        return Voice([EspeakEngine(170, 1.0, hush)], Slow(hush, heard), print)

    opened: list[int] = []
    thread = VoiceThread(open_voice)
    thread.start(VoiceSection())
    wait_for(lambda: thread.part().state == "failed", 10)
    assert "a driver of another kind" in thread.part().detail
    assert "a driver of another kind" in thread.mend()
    thread.say(Sentence(TEXT, 9.0, is_answer=True))
    wait_for(lambda: heard, 20)
    assert thread.mend() == ""
    assert thread.close() == []


def test_an_interrupted_voice_of_piper_is_not_loaded_anew():
    first = piper.PiperEngine(170, 1.0)
    assert len(first.synthesise("Hello.").pcm)
    first.close()
    loaded = piper._opened.cache_info().misses
    slower = piper.PiperEngine(120, 1.0).synthesise("Hello.")
    assert len(slower.pcm) > len(first.synthesise("Hello.").pcm)
    assert piper._opened.cache_info().misses == loaded
