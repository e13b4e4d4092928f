"""Standing requests: understood, kept, told once, and never by another remark."""

import time
from pathlib import Path

import pytest

from assistant.mind.pacing import PolicyPacing
from assistant.mind.policy import Policy, PolicySettings
from assistant.mind.standing import MOST, Watchlist, standing_in
from model.stream import Decision


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Tell me when I open the fridge.", ("I open the fridge", False)),
        ("Can you tell me when I open the fridge?", ("I open the fridge", False)),
        ("Please let me know if the water boils.", ("the water boils", False)),
        ("Remind me whenever I leave the tap on", ("I leave the tap on", True)),
        ("Tell me every time I pick up a mug, please.", ("I pick up a mug,", True)),
        ("Watch out for when somebody opens the door.", ("somebody opens the door", False)),
        ("Tell me when it is.", None),
        ("Tell me if this is a knife.", None),
        ("Can you tell me if the stove is on?", None),
        ("Can you tell me when I opened the fridge?", None),
        ("Tell me when the next bus goes.", None),
        ("Tell me once more what this is.", None),
        ("Tell me when the fridge is opened.", ("the fridge is opened", False)),
        ("Tell me what I did.", None),
        ("When did I open the fridge?", None),
        ("", None),
    ],
)
def test_what_is_to_be_told_is_understood(text: str, found: tuple[str, bool] | None):
    assert standing_in(text) == found


@pytest.mark.parametrize(
    ("wanted", "remark", "is_told"),
    [
        ("I open the fridge", "You open the fridge.", True),
        ("the fridge is opened", "You open the fridge.", True),
        ("I open the fridge", "You close the fridge.", False),
        ("I open the fridge", "You open the white drawer.", False),
        ("I pick up a cup", "You pick up the red mug.", True),
        ("I pick up the red cup", "You pick up the yellow mug.", False),
        ("I put the milk into the fridge", "You put the milk in the fridge.", True),
        ("I'm taking the pan", "You take the frying pan.", True),
        ("the water boils", "The water is boiling.", True),
        ("I turn on the stove", "You turn on the stove.", True),
        ("I turn on the stove", "You reach for the stove.", False),
    ],
)
def test_a_remark_tells_what_it_names(wanted: str, remark: str, is_told: bool):
    watchlist = Watchlist()
    watchlist.add(wanted)
    assert (watchlist.told_by(remark) is not None) == is_told
    assert watchlist.is_empty == is_told, "told once"


def test_requests_survive_a_restart_and_grow_old(tmp_path: Path):
    path = tmp_path / "standing.json"
    first = Watchlist(path)
    first.add("I open the fridge")
    first.add("I pick up the mug", repeats=True)
    first.add("the door opens", lasts_s=0.05)
    time.sleep(0.1)
    again = Watchlist(path)
    assert [(item.text, item.repeats) for item in again.list()] == [
        ("I open the fridge", False),
        ("I pick up the mug", True),
    ]
    for _ in range(2):
        assert again.told_by("You pick up the red mug.") is not None
    assert again.cancel(1) == 1
    assert again.cancel(77) == 0
    assert [item.text for item in Watchlist(path).list()] == ["I pick up the mug"]
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text('[{"id": 1, "text": "I cut it", "until_unix_s": "soon"}]')
    assert "cannot be read" in Watchlist(path).trouble
    path.write_text("{]")
    damaged = Watchlist(path)
    assert damaged.is_empty
    assert "cannot be read" in damaged.trouble


def test_in_private_nothing_is_kept(tmp_path: Path):
    path, is_private = tmp_path / "standing.json", True
    watchlist = Watchlist(path, keeps=lambda: not is_private)
    watchlist.add("I open the fridge")
    assert not path.exists()
    assert watchlist.told_by("You open the fridge.") is not None
    is_private = False
    watchlist.add("I close the fridge")
    assert len(Watchlist(path).list()) == 1


def test_their_number_and_length_are_bounded():
    watchlist = Watchlist()
    for number in range(MOST):
        watchlist.add(f"I pick up thing{number} " + "x" * 500)
    assert all(len(item.text) <= 200 for item in watchlist.list())
    with pytest.raises(ValueError, match="cancel one first"):
        watchlist.add("I open the fridge")
    with pytest.raises(ValueError, match="what to watch for"):
        Watchlist().add("when it is")


def test_a_request_is_watched_for_where_remarks_are_not_wanted_and_nothing_else_is_heard():
    watchlist = Watchlist()
    pacing = PolicyPacing(
        Policy(PolicySettings(do_not_disturb=True), 0.5), checkpoint_threshold=0.5, watchlist=watchlist
    )
    speaks, silent = Decision(0.1, speaks=True), Decision(0.9, speaks=False)
    assert not pacing.wants(speaks)
    watchlist.add("I open the fridge")
    assert not pacing.wants(silent)
    assert pacing.wants(speaks)
    assert not pacing.note("You close the fridge.", is_answer=False)
    assert pacing.reminds == ""
    assert pacing.wants(speaks)
    assert pacing.note("You open the fridge.", is_answer=False)
    assert pacing.reminds == "I open the fridge"
    assert not pacing.wants(speaks)
