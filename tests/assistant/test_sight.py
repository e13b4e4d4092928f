"""Since when nothing was seen, and until when."""

from datetime import datetime

from assistant.capture.worker import STILL
from assistant.sight import Sight

NOW = datetime(2026, 11, 30, 14, 30)
AT_UNIX_S = datetime(2026, 11, 30, 14, 5).timestamp()


def test_before_the_first_picture():
    sight = Sight()
    sight.note_capture("paused", "", AT_UNIX_S)
    assert sight.why_blind(NOW) == "The camera is paused, and I have not seen anything yet."
    sight.note_capture("ready", "camera:0", AT_UNIX_S)
    assert sight.why_blind(NOW), "not until a picture was looked at"
    sight.note_frame()
    assert sight.why_blind(NOW) == ""


def test_what_was_queued_before_a_loss_is_no_sight_of_now():
    sight = Sight()
    sight.note_capture("ready", "camera:0", AT_UNIX_S - 60)
    sight.note_frame()
    sight.note_capture("lost", "it was pulled out", AT_UNIX_S)
    sight.note_frame()
    assert sight.why_blind(NOW) == "The camera has been lost since 14:05, so I cannot see what is there now."
    sight.note_capture("opening", "camera:0", AT_UNIX_S + 60)
    assert "since 14:05" in sight.why_blind(NOW)
    assert "since Monday 14:05" in sight.why_blind(datetime(2026, 12, 1, 0, 10))
    sight.note_capture("ready", "camera:0", AT_UNIX_S + 90)
    sight.note_frame()
    assert sight.why_blind(NOW) == ""


def test_black_and_frozen_pictures_are_no_sight_either():
    for name, words in (("black", "been black since 14:05"), ("frozen", "not changed at all since 14:05")):
        sight = Sight()
        sight.note_capture("ready", "camera:0", AT_UNIX_S - 60)
        sight.note_frame()
        sight.note_capture("ready", STILL[name], AT_UNIX_S)
        sight.note_frame()
        assert words in sight.why_blind(NOW)
        sight.note_capture("ready", "camera:0", AT_UNIX_S + 10)
        sight.note_frame()
        assert sight.why_blind(NOW) == ""
