"""Frames that queued, with a real stream: few passes while nothing may be said, decisions as one by one."""

import threading

import pytest
import torch

from assistant.config.keys import PolicySection
from assistant.mind.loop import run_mind
from assistant.mind.pacing import PolicyPacing, settings_of
from assistant.mind.policy import Policy
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.messages import Event, FrameTokens, Query, Seen, Words
from model.stream import Stream
from model.videolm import VideoLM

NUM_FRAMES = 100
TALKATIVE = 1.0  # a silence threshold that no probability reaches: the model would speak after every frame


class Counting:
    """The model's engine, which counts its passes."""

    def __init__(self, engine):
        self._engine, self.num_passes = engine, 0

    def read(self, *given):
        self.num_passes += 1
        return self._engine.read(*given)

    def __getattr__(self, name: str):
        return getattr(self._engine, name)


def watch(model: VideoLM, section: PolicySection, *, max_batch: int) -> tuple[list[Event], int]:
    """What is told of NUM_FRAMES frames that wait, and in how many passes they went through the decoder.

    No time passes: a gap, once begun, lasts.
    """
    engine = Counting(model.engine)
    options = model.open_stream(window_tokens=2048, max_reply_tokens=4, silence_threshold=TALKATIVE).options
    policy = Policy(settings_of(section), TALKATIVE)
    pacing = PolicyPacing(policy, checkpoint_threshold=TALKATIVE, clock=lambda: 1000.0, minute_of_day=lambda: 720.0)
    size = (NUM_FRAMES, 3, model.image_size, model.image_size)
    squares = torch.randint(0, 255, size, generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    tokens, questions = Mailbox[FrameTokens](NUM_FRAMES, name="tokens"), Mailbox[Query](1, name="questions")
    for index, tokens_ND in enumerate(model.encode(squares)):
        tokens.put(FrameTokens(tokens_ND, index / 2, 1000.0, index))
    tokens.close()
    events: list[Event] = []
    stream = Stream(engine, model.grammar, options)  # type: ignore[arg-type]
    run_mind(stream, tokens, questions, events.append, threading.Event(), pacing=pacing, max_batch=max_batch)
    return events, engine.num_passes


WISHES = {
    "do not disturb": PolicySection(do_not_disturb=True),
    "quiet hours": PolicySection(quiet_hours=["00:00-23:59"]),
    "the gap": PolicySection(min_gap_s=60),
    "a promise": PolicySection(remarks_per_hour=6),
}


@pytest.mark.parametrize("wish", WISHES)
def test_frames_after_which_nothing_may_be_said_go_through_together(model, wish):
    together, num_passes = watch(model, WISHES[wish], max_batch=16)
    one_by_one, _ = watch(model, WISHES[wish], max_batch=1)
    seen = [event for event in together if isinstance(event, Seen)]
    assert len(seen) == NUM_FRAMES
    assert all(event.decision.speaks for event in seen), "what the model wants is told, also where it may not"
    assert num_passes < 30
    words = [[event for event in events if isinstance(event, Words)] for events in (together, one_by_one)]
    assert [(event.text, event.time_s) for event in words[0]] == [(event.text, event.time_s) for event in words[1]]
    assert [event.decision.silence_prob for event in seen] == pytest.approx(
        [event.decision.silence_prob for event in one_by_one if isinstance(event, Seen)], abs=1e-4
    )


def test_what_may_be_said_is_said_at_once(model):
    events, _ = watch(model, PolicySection(min_gap_s=0, repeat_after_s=0), max_batch=16)
    said = [event.time_s for event in events if isinstance(event, Words) and event.final]
    assert said == [index / 2 for index in range(NUM_FRAMES)]
