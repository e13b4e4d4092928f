"""What the daemon does with what it hears: asks, obeys, answers who waits."""

import pytest

from assistant.daemon.hearing import NO_EAR, Hearing
from assistant.ear.listening import Heard
from assistant.errors import OutputError
from assistant.mind.standing import Watchlist
from assistant.runtime.asker import Asker
from assistant.voice.lines import Sentence
from assistant.voice.thread import VoiceThread
from tests.assistant.asker import KeepingAsker


class Voice(VoiceThread):
    """Says nothing, and keeps what it is to say."""

    def __init__(self) -> None:
        super().__init__(lambda *_: None)
        self.lines: list[str] = []
        self.num_cuts = 0

    def say(self, line: Sentence) -> None:
        self.lines.append(line.text)

    def cut(self) -> list[str]:
        self.num_cuts += 1
        return ["A cup"]


class Attentive:
    """An ear that notes that it is to listen."""

    num_attended = 0

    def attend(self) -> None:
        self.num_attended += 1


class House:
    """A `Hearing` and what came of it."""

    def __init__(self) -> None:
        self.voice, self.ear = Voice(), Attentive()
        self.asked: list[tuple[str, Asker]] = []
        self.switched: list[dict[str, bool]] = []
        self.failure: OutputError | None = None
        self.watchlist = Watchlist()
        self.unsaid: list[list[str]] = []
        self.hearing = Hearing(self, self.voice, lambda: self.ear, self._switch, self.watchlist, self._hush)

    latest = "You cut it."

    def ask(self, text: str, asker: Asker) -> None:
        self.asked.append((text, asker))

    def say(self, text: str) -> None:
        self.voice.lines.append(text)

    def _hush(self, unsaid: list[str]) -> None:
        self.unsaid.append(unsaid)

    def _switch(self, **changes: bool) -> None:
        self.switched.append(changes)
        if self.failure:
            raise self.failure


@pytest.fixture
def house() -> House:
    return House()


def test_who_asks_aloud_hears_why_there_is_no_answer(house: House):
    house.hearing.heard(Heard("What is this?", was_wanted=False))
    ((text, asker),) = house.asked
    assert text == "What is this?"
    asker.error("busy", "nothing is looked at just now")
    assert house.voice.lines == ["Nothing is looked at just now."]


def test_an_answer_that_was_interrupted_is_not_wanted_any_more(house: House):
    house.hearing.heard(Heard("What is this?", was_wanted=False))
    ((_, asker),) = house.asked
    house.hearing.begun()
    assert asker.is_cancelled
    assert not asker.words("A cup.")
    assert house.voice.num_cuts == 1
    assert house.unsaid == [["A cup"]]
    asker.error("failed", "it was broken off")
    assert house.voice.lines == []


def test_a_client_that_listens_gets_the_question_and_the_answer(house: House):
    client = KeepingAsker()
    house.hearing.listen(client)
    assert house.ear.num_attended == 1
    house.hearing.heard(Heard("What is this?", was_wanted=True))
    ((_, asker),) = house.asked
    asker.words("A cup.")
    assert client.text == "What is this?\nA cup."


def test_what_is_said_after_a_client_has_gone_was_not_said_to_us(house: House):
    client = KeepingAsker()
    house.hearing.listen(client)
    assert house.hearing.is_waiting
    client.is_cancelled = True
    assert not house.hearing.is_waiting
    house.hearing.heard(Heard("Stop watching.", was_wanted=True))
    assert (house.asked, house.switched, client.text) == ([], [], "")


def test_one_client_at_a_time_and_only_where_there_is_an_ear(house: House):
    first, second, third = KeepingAsker(), KeepingAsker(), KeepingAsker()
    ear, house.ear = house.ear, None
    house.hearing.listen(first)
    house.ear = ear
    assert first.failure == f"invalid: ear.mode is off: nobody listens; {NO_EAR}"
    house.hearing.listen(second)
    house.hearing.listen(third)
    assert third.failure.startswith("busy: somebody is being listened to already")
    second.is_cancelled = True  # it went away
    house.hearing.listen(fourth := KeepingAsker())
    house.hearing.unheard("nothing was said")
    assert fourth.failure.startswith("failed: nothing was said")
    assert house.ear.num_attended == 2


@pytest.mark.parametrize(
    ("text", "words", "switched"),
    [
        ("Stop.", "", []),
        ("Be quiet for ten minutes.", "I am quiet for 10 minutes.", []),
        ("You can speak again.", "I speak again.", [{"muted": False}]),
        ("What did you say?", "You cut it.", []),
        ("Stop watching.", "I am closing the camera.", [{"paused": True}]),
        ("Resume.", "I am watching again.", [{"paused": False}]),
        ("Tell me when I open my fridge.", "I will tell you when you open your fridge.", []),
        ("Let me know every time I'm cutting the bread", "I will tell you each time you are cutting the bread.", []),
        ("What are you watching for?", "I watch for nothing.", []),
        ("Cancel all my reminders.", "I no longer watch for 0 things.", []),
    ],
)
def test_commands_are_obeyed_and_acknowledged(house: House, text: str, words: str, switched: list[dict[str, bool]]):
    client = KeepingAsker()
    house.hearing.listen(client)
    house.hearing.heard(Heard(text, was_wanted=True))
    assert house.asked == []
    assert house.switched == switched
    assert house.voice.lines == ([words] if words else [])
    assert client.facts == {"text": words}
    assert house.voice.is_quiet == ("ten minutes" in text)


def test_what_is_watched_for_is_told_and_forgotten(house: House):
    for text in (
        "Tell me when I open the fridge.",
        "Tell me if the water boils.",
        "What do you watch for?",
        "Forget my reminders.",
    ):
        house.hearing.heard(Heard(text, was_wanted=False))
    assert house.voice.lines[2:] == [
        "I tell you when you open the fridge, and when the water boils.",
        "I no longer watch for 2 things.",
    ]
    assert house.watchlist.is_empty


def test_what_a_restart_would_not_know_of_is_said(house: House):
    house.failure = OutputError("modes.json: cannot be written: done, but a restart will not know of it")
    house.hearing.heard(Heard("Pause.", was_wanted=False))
    assert house.voice.lines == [str(house.failure)]


def test_a_voice_that_is_to_be_quiet_says_answers_only():
    said: list[str] = []
    thread = VoiceThread(lambda *_: None)
    thread._speaker = type("Speaker", (), {"put": lambda _, line: said.append(line.text)})()  # type: ignore[assignment]
    thread.quiet(60.0)
    thread.say(Sentence("You cut it.", 0.0))
    thread.say(Sentence("It is a cup.", 0.0, is_answer=True))
    thread.quiet(0.0)
    thread.say(Sentence("You wash it.", 0.0))
    assert said == ["It is a cup.", "You wash it."]


def test_it_is_turned_down_and_up_again(house: House):
    for said, answer in [
        ("Louder.", "I am as loud as I can be."),
        ("A bit softer.", "Like this."),
        ("Louder.", "Like this."),
        ("Louder.", "I am as loud as I can be."),
    ]:
        house.hearing.heard(Heard(said, was_wanted=False))
        assert house.voice.lines.pop() == answer
