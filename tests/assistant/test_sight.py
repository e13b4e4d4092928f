"""Since when nothing was seen, and until when."""

from datetime import datetime

import pytest

from assistant.capture.stillness import AFTER_S
from assistant.capture.worker import STILL
from assistant.daemon.sight import Sight

NOW = datetime(2026, 11, 30, 14, 30)
AT_UNIX_S = datetime(2026, 11, 30, 14, 5).timestamp()
AT_S = 5000.0  # the same moment, monotonic


def test_before_the_first_picture():
    sight = Sight()
    sight.note_capture("paused", "", AT_UNIX_S, AT_S)
    assert sight.why_blind(NOW) == "The camera is paused, and I have not seen anything yet."
    sight.note_capture("ready", "camera:0", AT_UNIX_S, AT_S)
    assert sight.why_blind(NOW), "not until a picture was looked at"
    sight.note_frame(AT_S + 1)
    assert sight.why_blind(NOW) == ""


def test_what_was_taken_before_a_loss_is_no_sight_of_now():
    sight = Sight()
    sight.note_capture("ready", "camera:0", AT_UNIX_S - 60, AT_S - 60)
    sight.note_frame(AT_S - 59)
    sight.note_capture("lost", "it was pulled out", AT_UNIX_S, AT_S)
    sight.note_frame(AT_S - 1)
    assert sight.why_blind(NOW) == "The camera has been lost since 14:05, so I cannot see what is there now."
    sight.note_capture("opening", "camera:0", AT_UNIX_S + 60, AT_S + 60)
    assert "since 14:05" in sight.why_blind(NOW)
    assert "since Monday 14:05" in sight.why_blind(datetime(2026, 12, 1, 0, 10))
    sight.note_capture("ready", "camera:0", AT_UNIX_S + 90, AT_S + 90)
    sight.note_frame(AT_S - 0.5)  # it had waited for the end of a reply
    assert "since 14:05" in sight.why_blind(NOW), "it is back, but no picture of now was looked at"
    sight.note_frame(AT_S + 91)
    assert sight.why_blind(NOW) == ""


@pytest.mark.parametrize(
    ("name", "words"), [("black", "been black since 14:05"), ("frozen", "not changed at all since 14:05")]
)
def test_black_and_frozen_pictures_are_no_sight_either(name, words):
    """They are told of after AFTER_S, and were so from its beginning."""
    sight = Sight()
    sight.note_capture("ready", "camera:0", AT_UNIX_S - 60, AT_S - 60)
    sight.note_frame(AT_S - 59)
    sight.note_capture("ready", STILL[name], AT_UNIX_S + AFTER_S, AT_S + AFTER_S)
    sight.note_frame(AT_S + 11)
    assert words in sight.why_blind(NOW)
    sight.note_capture("ready", "camera:0", AT_UNIX_S + 20, AT_S + 20)
    sight.note_frame(AT_S + 19.5)
    assert words in sight.why_blind(NOW), "a picture of before"
    sight.note_frame(AT_S + 20.5)
    assert sight.why_blind(NOW) == ""


def test_an_open_camera_that_brings_nothing_is_no_sight():
    sight = Sight()
    sight.note_capture("ready", "camera:0", AT_UNIX_S, AT_S)
    sight.note_frame(AT_S + 1)
    assert sight.why_blind(NOW) == ""
    assert sight.why_blind(NOW, 60.0) == "No picture has come since 14:29, so I cannot see what is there now."
