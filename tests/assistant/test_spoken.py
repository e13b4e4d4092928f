"""Text as it is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.voice.spoken import spoken


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("You pick up the red cup.", "You pick up the red cup."),
        ("Heat it to 180°C for 25 min.", "Heat it to 180 degrees Celsius for 25 minutes."),
        ("Add 1 kg of flour, 2.5 dl milk & 1 tbsp oil.",
         "Add 1 kilogram of flour, 2.5 deciliters milk and 1 tablespoon oil."),
        ("It is 50% full, 3 m wide and 1 ft high.", "It is 50 percent full, 3 meters wide and 1 foot high."),
        ("Wait 5–10 min, e.g. with the lid on.", "Wait 5 to 10 minutes, for example with the lid on."),
        ("See https://example.org/a?b=c.", "See a link."),
        ("See [the manual](https://example.org).", "See the manual."),
        ("**Stop** now! 🔥🔥", "Stop now!"),
        ("- First\n- Second", "First Second"),
        ("In the 1990s, on 2026-11-30, a snake_case_name", "In the 1990s, on 2026-11-30, a snake_case_name"),
        ("1½ cups and ½ a lemon", "1 and a half cups and half a lemon"),
        ("2 + 2 = 4", "2 plus 2 equals 4"),
        ("Milk vs. cream, etc.", "Milk versus cream, and so on"),
        ("At 10:30 in room 5m2", "At 10:30 in room 5m2"),
        ("I am in the kitchen", "I am in the kitchen"),
        ("5 in the box", "5 in the box"),
        ("", ""),
    ],
)  # fmt: skip
def test_units_symbols_links_and_emoji_become_words(text: str, said: str):
    assert spoken(text) == said


@given(st.text(max_size=80))
def test_plain_words_are_said_as_they_are_among_whatever_else(text: str):
    said = spoken(f"{text} You cut it.")
    assert said.endswith("You cut it.")
    assert "\n" not in said
