"""What two models said over the same videos, and how much of it differs."""

from pathlib import Path

from assistant.capture.source import parse_source
from assistant.config.keys import Config
from assistant.watch.comparison import Difference, Told, compare, narrate
from model.assembly import open_checkpoint
from model.stream import Decision

GOLDEN = Path(__file__).parents[1] / "golden"


def decisions(*probs: float, threshold: float = 0.5) -> list[Decision]:
    return [Decision(prob, prob < threshold) for prob in probs]


def test_changed_decisions_and_words_are_counted():
    ours = Told(decisions(0.9, 0.2, 0.505, 0.1), {1: " You cut.", 3: " You pour."})
    theirs = Told(decisions(0.9, 0.8, 0.495, 0.1), {2: " You wait.", 3: " You stir."})
    assert compare([ours], [ours], 0.5) == Difference(4, 0, 0, 2, 0)
    assert compare([ours, ours], [theirs, ours], 0.5) == Difference(8, 2, 1, 3, 1)


def test_a_video_is_told_frame_by_frame(make_video):
    model = open_checkpoint(GOLDEN)
    told = narrate(model, Config(), parse_source(str(make_video(seconds=5))))
    assert len(told.decisions) == 10
    assert told.replies
    assert set(told.replies) == {index for index, decision in enumerate(told.decisions) if decision.speaks}
    assert all(text.startswith(" ") for text in told.replies.values())
    model.silence_threshold = 1.0  # never silent
    assert compare([told], [narrate(model, Config(), parse_source(str(make_video(seconds=5))))], 0.725).frames == 10
