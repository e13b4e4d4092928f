"""From sound to a question: who speaks, until when, what was said, and whether it was said to us."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import NoReturn

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.config.keys import EarSection
from assistant.ear import listening
from assistant.ear.activity import VoiceActivity
from assistant.ear.listening import Ear, Heard
from assistant.ear.transcriber import Transcriber, Transcript
from assistant.ear.turns import FRAME_S, SpokenTurn, Turns, TurnSettings
from assistant.ear.words import addressed, is_echo, is_ghost, words_of
from assistant.errors import HearingError
from assistant.runtime.mailbox import Mailbox
from assistant.sound.card_child import FRAME, HEARD_HZ, _Resampler
from assistant.voice.piper import PiperEngine
from model import weights
from model.errors import WeightsError
from tests.assistant.camera import wait_for
from tests.pace import pace

SILENCE = np.zeros(FRAME, np.int16)


@cache
def voice() -> PiperEngine:
    return PiperEngine(170, 1.0)


def spoken(text: str) -> np.ndarray:
    """At HEARD_HZ, with half a second of quiet before and a second behind."""
    speech = voice().synthesise(text)
    pcm = _Resampler(speech.sample_rate_hz, HEARD_HZ)(speech.pcm)
    return np.concatenate([np.zeros(HEARD_HZ // 2, np.int16), pcm, np.zeros(HEARD_HZ, np.int16)])


def frames_of(pcm: np.ndarray) -> np.ndarray:
    return pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME)


# ---- voice activity ------------------------------------------------------------------------------------------


def test_speech_is_told_from_quiet_and_noise():
    activity, noise = VoiceActivity(), np.random.default_rng(0).normal(0, 2000, HEARD_HZ * 3).astype(np.int16)
    spoken_probs = [activity.probability(frame) for frame in frames_of(spoken("What am I holding in my hand?"))]
    activity.forget()
    noise_probs = [activity.probability(frame) for frame in frames_of(noise)]
    assert max(spoken_probs[15:50]) > 0.9
    assert max(spoken_probs[:12]) < 0.3
    assert max(noise_probs) < 0.5


# ---- turns ---------------------------------------------------------------------------------------------------


def turns_of(probabilities: list[float]) -> list[SpokenTurn]:
    turns = Turns()
    found = [turns.add(np.full(FRAME, number, np.int16), p) for number, p in enumerate(probabilities)]
    return [turn for turn in found if turn is not None]


def test_a_turn_has_its_beginning_and_ends_after_quiet():
    (turn,) = turns_of([0.0] * 30 + [0.9] * 40 + [0.1] * 40)
    assert turn.spoken_s == pytest.approx(40 * FRAME_S)
    first, last = turn.pcm[0], turn.pcm[-1]
    assert first == 30 - round(TurnSettings().before_s / FRAME_S)
    assert last == 70 + np.ceil(TurnSettings().end_s / FRAME_S) - 1


def test_a_breath_ends_no_turn_and_a_click_begins_none():
    assert len(turns_of([0.9] * 20 + [0.1] * 15 + [0.9] * 20 + [0.0] * 30)) == 1
    assert turns_of([0.0] * 20 + [0.9] * 2 + [0.0] * 60) == []
    assert turns_of(([0.9] + [0.0] * 40) * 5) == []


def test_who_never_stops_is_heard_in_pieces():
    found = turns_of([0.9] * 1500)
    assert len(found) == 2
    assert all(len(turn.pcm) / HEARD_HZ <= TurnSettings().most_s + FRAME_S for turn in found)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.4, 0.9]), st.integers(1, 60)), max_size=30))
def test_nothing_is_heard_twice_and_all_is_bounded(runs: list[tuple[float, int]]):
    found = turns_of([p for p, count in runs for _ in range(count)])
    heard = [number for turn in found for number in turn.pcm.reshape(-1, FRAME)[:, 0].tolist()]
    assert heard == sorted(set(heard))
    assert all(turn.spoken_s >= TurnSettings().least_s for turn in found)


# ---- words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("Hey Onlooker, what am I holding?", "what am I holding?"),
        ("hey on looker what is this", "what is this"),
        ("Hey, unlooker. What's on the table?", "What's on the table?"),
        ("Onlooker, is the stove on?", "is the stove on?"),
        ("Hey Onlooker.", ""),
        ("Onlooker.", None),
        ("Hey online looker, stop", "stop"),
        ("What am I holding?", None),
        ("Hey look, a bird!", None),
        ("Hey, look over there.", None),
        ("I was an onlooker at the scene.", None),
        ("On Tuesday we look at it.", None),
        ("The onlookers were surprised.", None),
        ("Hey, I look her up.", None),
        ("", None),
    ],
)
def test_what_follows_the_wake_word_is_meant_for_us(text: str, rest: str | None):
    assert addressed(text, "hey onlooker") == rest


@pytest.mark.parametrize(
    ("text", "said", "is_one"),
    [
        ("You reach for the green bottle.", ["You reach for the green bottle."], True),
        ("reach for the queen bottle", ["You pick up the plate.", "You reach for the green bottle."], True),
        ("What is on the table?", ["You reach for the green bottle."], False),
        ("Stop.", ["You reach for the green bottle, and stop."], True),
        ("Where is the green bottle?", ["You reach for the green bottle."], True),
        ("Where did I put my keys?", ["You reach for the green bottle."], False),
        ("What is this?", [], False),
        ("", ["You stop."], False),
        ("You read.", ["You reach for the green bottle."], True),
        ("Where is the bottle?", ["You pick up the green bottle."], False),
        ("What's that?", ["You reach for the green bottle."], False),
    ],
)
def test_our_own_words_are_an_echo_while_they_sound(text: str, said: list[str], is_one: bool):
    assert is_echo(text, said) == is_one


def test_another_name_is_listened_to():
    assert addressed("Okay computer, stop.", "okay computer") == "stop."
    assert addressed("Hey Onlooker, stop.", "okay computer") is None


@pytest.mark.parametrize(
    ("transcript", "is_one"),
    [
        (Transcript("What is this?", -0.3, 0.1), False),
        (Transcript("Thank you.", -0.2, 0.1), True),
        (Transcript(" you", -0.2, 0.9), True),
        (Transcript("", 0.0, 1.0), True),
        (Transcript("…", -0.1, 0.1), True),
        (Transcript("What is this?", -1.4, 0.1), True),
        (Transcript("What is this?", -0.7, 0.9), True),
        (Transcript("What is this?", -0.3, 0.9), False),
        (Transcript("no no no no no no", -0.3, 0.1), True),
        (Transcript("Stop.", -0.5, 0.2), False),
        (Transcript("Yes.", -0.5, 0.2), False),
    ],
)
def test_ghosts_are_told_from_words(transcript: Transcript, is_one: bool):
    assert is_ghost(transcript) == is_one


# ---- speech to text ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def transcriber() -> Iterator[Transcriber]:
    made = Transcriber("whisper-tiny.en")
    yield made
    made.close()


def test_what_is_said_is_written_down(transcriber: Transcriber):
    transcript = transcriber.transcribe(spoken("What is on the table?"))
    assert words_of(transcript.text) == ["what", "is", "on", "the", "table"]
    assert not is_ghost(transcript)


def test_a_dead_transcriber_is_replaced(transcriber: Transcriber):
    transcriber.transcribe(spoken("What is this?"))
    assert transcriber.pid is not None
    psutil.Process(transcriber.pid).kill()
    assert "table" in transcriber.transcribe(spoken("What is on the table?")).text


def test_weights_that_cannot_be_had_are_said(monkeypatch):
    def missing(_: str) -> NoReturn:
        raise WeightsError("the index does not answer")

    monkeypatch.setattr(weights, "ensure", missing)
    with pytest.raises(HearingError, match=r"ear\.model: the index does not answer"):
        Transcriber("whisper-tiny.en").transcribe(SILENCE)


# ---- the ear -------------------------------------------------------------------------------------------------


class Microphone:
    """Gives what is put into it, as the sound card would."""

    def __init__(self) -> None:
        self.heard = Mailbox[bytes](4096, name="heard")
        self.microphone_name, self.deaf, self.failure, self.is_listening = "a test", "", "", False

    def listen(self, *, is_on: bool) -> None:
        self.is_listening = is_on

    def hear(self, pcm: np.ndarray) -> None:
        if self.is_listening:
            for frame in frames_of(pcm):
                self.heard.put(frame.tobytes())


class Listener:
    """An ear's audience, its microphone, and what came of it. own: what our own voice says just now."""

    def __init__(self, section: EarSection, activity: Callable[[], VoiceActivity] = VoiceActivity) -> None:
        self.microphone, self.own = Microphone(), ""
        self.asked: list[Heard] = []
        self.told: list[str] = []
        self.unheard_because: list[str] = []
        self.ear = Ear(section, self.microphone, self, activity)

    @property
    def num_begun(self) -> int:
        return self.told.count("begun")

    def heard(self, heard: Heard) -> None:
        self.asked.append(heard)

    def unheard(self, why: str) -> None:
        self.unheard_because.append(why)

    def begun(self) -> None:
        self.told.append("begun")

    def interrupted(self) -> None:
        self.told.append("interrupted")

    def resumed(self) -> None:
        self.told.append("resumed")

    is_waiting = True

    def said(self, start_s: float, end_s: float) -> list[str]:
        return [self.own] if self.own else []


@contextmanager
def listener(mode: str, **about: str) -> Iterator[Listener]:
    made = Listener(EarSection.model_validate({"mode": mode, **about}))
    made.ear.start()
    wait_for(lambda: made.ear._is_ready, 30)
    try:
        yield made
    finally:
        assert made.ear.close() == []


def test_an_open_ear_takes_every_sentence_for_a_question():
    with listener("open") as listening_to:
        assert listening_to.microphone.is_listening
        listening_to.microphone.hear(spoken("What is on the table?"))
        wait_for(lambda: listening_to.asked, 30)
        listening_to.microphone.hear(np.random.default_rng(1).normal(0, 1500, HEARD_HZ * 2).astype(np.int16))
        listening_to.microphone.hear(spoken("Where is the cup?"))
        wait_for(lambda: len(listening_to.asked) == 2, 30)
        assert [heard.text.lower()[:5] for heard in listening_to.asked] == ["what ", "where"]
        assert listening_to.num_begun == 2


def test_a_wake_word_is_waited_for():
    with listener("wake-word", wake_word="hey computer") as listening_to:
        listening_to.microphone.hear(spoken("The table is over there."))
        listening_to.microphone.hear(spoken("Hey computer. What is on the table?"))
        wait_for(lambda: listening_to.asked, 30)
        (heard,) = listening_to.asked
        assert words_of(heard.text) == ["what", "is", "on", "the", "table"]
        assert not heard.was_wanted


def test_a_question_may_come_a_moment_after_the_wake_word(monkeypatch):
    monkeypatch.setattr(listening, "FOLLOW_UP_S", 6.0 * pace())
    with listener("wake-word", wake_word="hey computer") as listening_to:
        listening_to.microphone.hear(spoken("Hey computer!"))
        wait_for(lambda: listening_to.num_begun == 1, 30)
        listening_to.microphone.hear(spoken("Where is the cup?"))
        wait_for(lambda: listening_to.asked, 30)
        assert "cup" in listening_to.asked[0].text
        listening_to.microphone.hear(spoken("Where is the plate?"))
        time.sleep(3 * pace())
        assert len(listening_to.asked) == 1


def test_the_microphone_is_closed_until_somebody_wants_to_speak():
    with listener("push-to-talk") as listening_to:
        assert not listening_to.microphone.is_listening
        listening_to.ear.attend()
        assert listening_to.microphone.is_listening
        listening_to.microphone.hear(spoken("What is this thing on the table?"))
        wait_for(lambda: listening_to.asked, 30)
        assert listening_to.asked[0].was_wanted
        wait_for(lambda: not listening_to.microphone.is_listening, 2)


def test_what_is_said_behind_the_question_is_nobodys():
    """Also what was in the microphone's queue when it was closed, and half a turn of it."""
    with listener("push-to-talk") as listening_to:
        listening_to.ear.attend()
        private = spoken("This is only for you, my dear.")
        listening_to.microphone.hear(
            np.concatenate([spoken("What is on the table?"), private, private[: HEARD_HZ * 2]])
        )
        wait_for(lambda: listening_to.asked, 30)
        time.sleep(2 * pace())
        assert [heard.text for heard in listening_to.asked] == ["What is on the table?"]
        listening_to.ear.attend()
        time.sleep(0.3 * pace())
        listening_to.microphone.hear(spoken("Where is the plate?"))
        wait_for(lambda: len(listening_to.asked) == 2, 30)
        asked = listening_to.asked[1].text.lower().replace("where's", "where is")  # each rendering sounds a little else
        assert words_of(asked) == ["where", "is", "the", "plate"]
        assert "dear" not in listening_to.asked[1].text


def test_who_has_gone_is_not_listened_to_any_longer():
    with listener("push-to-talk") as listening_to:
        listening_to.ear.attend()
        listening_to.is_waiting = False
        wait_for(lambda: not listening_to.microphone.is_listening, 5)


def test_an_ear_that_is_closed_tells_who_waits():
    with listener("push-to-talk") as listening_to:
        listening_to.ear.attend()
    assert listening_to.unheard_because == ["the ear was closed"]


def test_who_says_nothing_is_told_so(monkeypatch):
    monkeypatch.setattr(listening, "PATIENCE_S", 0.5)
    with listener("push-to-talk") as listening_to:
        listening_to.ear.attend()
        listening_to.microphone.hear(np.tile(SILENCE, 40))
        wait_for(lambda: listening_to.unheard_because, 10)
        assert listening_to.unheard_because == ["nothing was said"]
        assert not listening_to.microphone.is_listening


def test_a_muted_microphone_is_not_taken_for_silence():
    with listener("open") as listening_to:
        listening_to.microphone.hear(np.zeros(HEARD_HZ * 6, np.int16))
        wait_for(lambda: "is it muted?" in listening_to.ear.part().detail, 10)
        assert listening_to.ear.part().state == "failed"
        listening_to.microphone.hear(np.ones(HEARD_HZ, np.int16))
        wait_for(lambda: listening_to.ear.part().state == "on", 10)


def test_a_fault_of_the_ear_is_a_state_and_ends_the_waiting(monkeypatch):
    def missing() -> VoiceActivity:
        raise HearingError("the package faster_whisper is missing; pip install faster-whisper")

    monkeypatch.setattr(listening, "AGAIN_S", 0.5)
    made = Listener(EarSection(mode="push-to-talk"), missing)
    made.ear.start()
    wait_for(lambda: made.ear.part().state == "failed", 10)
    made.ear.attend()
    assert "pip install faster-whisper" in made.unheard_because[0]
    assert not made.microphone.is_listening
    assert made.ear.part().state == "failed"
    assert made.ear.close() == []


def test_who_speaks_into_our_voice_lets_it_pause_and_a_question_ends_it():
    with listener("open") as listening_to:
        listening_to.own = "You reach for the green bottle."
        listening_to.microphone.hear(spoken("Where did I put my keys?"))
        wait_for(lambda: listening_to.asked, 30)
        assert listening_to.told == ["interrupted", "begun"]


def test_what_was_no_question_lets_our_voice_go_on():
    with listener("open") as listening_to:
        listening_to.own = "You reach for the green bottle."
        listening_to.microphone.hear(spoken("You reach for the green bottle."))  # its echo
        wait_for(lambda: "resumed" in listening_to.told, 30)
        assert listening_to.told == ["interrupted", "resumed"]
        assert (listening_to.asked, listening_to.ear.num_ghosts) == ([], 1)


def test_what_was_too_short_to_be_a_turn_lets_our_voice_go_on(monkeypatch):
    probabilities = iter([0.0] * 10 + [0.9] * 6 + [0.0] * 400)
    monkeypatch.setattr(VoiceActivity, "probability", lambda *_: next(probabilities, 0.0))
    with listener("open") as listening_to:
        listening_to.own = "You reach for the green bottle."
        listening_to.microphone.hear(np.ones(HEARD_HZ * 3, np.int16))
        wait_for(lambda: "resumed" in listening_to.told, 20)
        assert listening_to.told == ["interrupted", "resumed"]


def test_a_cough_does_not_interrupt():
    rng = np.random.default_rng(2)
    burst = (rng.normal(0, 6000, HEARD_HZ // 4) * np.hanning(HEARD_HZ // 4)).astype(np.int16)
    with listener("open") as listening_to:
        listening_to.own = "You reach for the green bottle."
        for _ in range(5):
            listening_to.microphone.hear(np.concatenate([burst, np.zeros(HEARD_HZ, np.int16)]))
        wait_for(lambda: listening_to.microphone.heard.is_empty, 20)
        assert listening_to.told == []


def test_whether_a_wake_word_comes_is_waited_for_before_our_voice_is_silent():
    with listener("wake-word", wake_word="hey computer") as listening_to:
        listening_to.own = "You reach for the green bottle."
        listening_to.microphone.hear(spoken("I think we should have dinner now."))
        listening_to.microphone.hear(spoken("Hey computer, stop talking please."))
        wait_for(lambda: listening_to.asked, 30)
        assert listening_to.told == ["begun"]
