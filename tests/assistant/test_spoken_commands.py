"""What is to be done rather than answered."""

import pytest

from assistant.ear.commands import QUIET_S, Command, command_in, spoken_time


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("Stop.", Command("stop")),
        ("Stop it, please!", Command("stop")),
        ("Never mind.", Command("stop")),
        ("Quiet!", Command("stop")),
        ("Be quiet for ten minutes.", Command("quiet", 600)),
        ("Please be quiet for 20 minutes", Command("quiet", 1200)),
        ("Could you be silent for half an hour?", Command("quiet", 1800)),
        ("Be quiet for an hour and a half.", Command("quiet", 5400)),
        ("No more remarks for an hour.", Command("quiet", 3600)),
        ("Stay quiet.", Command("quiet", QUIET_S)),
        ("Be quiet for a few minutes.", Command("quiet", 300)),
        ("Be quiet for a couple of hours.", Command("quiet", 7200)),
        ("Do not disturb me for the next two hours.", Command("quiet", 7200)),
        ("Be quiet for 900 hours", Command("quiet", 86400)),
        ("You can speak again.", Command("speak")),
        ("Repeat that, please.", Command("repeat")),
        ("What did you say?", Command("repeat")),
        ("Could you repeat it?", Command("repeat")),
        ("I didn't hear that.", Command("repeat")),
        ("Louder, please!", Command("louder")),
        ("Could you speak up?", Command("louder")),
        ("A bit louder.", Command("louder")),
        ("Turn it down.", Command("softer")),
        ("Not so loud!", Command("softer")),
        ("Speak more softly, please.", Command("softer")),
        ("Which one is louder?", None),
        ("Pause.", Command("pause")),
        ("Stop watching.", Command("pause")),
        ("Close your eyes!", Command("pause")),
        ("Resume.", Command("resume")),
        ("Start watching again, please.", Command("resume")),
        ("Don’t look!", Command("pause")),
        ("Be quiet for 0 minutes.", None),
        ("Did it stop?", None),
        ("When did I stop the water?", None),
        ("Is it quiet in here?", None),
        ("Be quiet for a banana.", None),
        ("What did I say about the cup?", None),
        ("Where is the pause button?", None),
        ("Can you see the cup?", None),
        ("", None),
    ],
)
def test_whole_turns_are_commands(text: str, command: Command | None):
    assert command_in(text) == command


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (30, "30 seconds"),
        (60, "a minute"),
        (90, "90 seconds"),
        (600, "10 minutes"),
        (3600, "an hour"),
        (5400, "90 minutes"),
        (7200, "2 hours"),
    ],
)
def test_times_are_said_as_people_say_them(seconds: float, words: str):
    assert spoken_time(seconds) == words
