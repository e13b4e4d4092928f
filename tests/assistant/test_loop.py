"""The mind, with a stream that follows a script: every frame once, in order, questions at their moment."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
import torch

from assistant.mind.familiarity import UNFAMILIAR, WARNING, Familiarity
from assistant.mind.loop import Pacing, run_mind
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.messages import Asked, Event, FrameTokens, Query, Seen, Status, Words
from model.errors import StreamError
from model.stream import Decision


@dataclass
class ScriptedStream:
    """Keeps the rules of model.stream.Stream. A frame whose token is above 0.5 makes it speak, once.

    log: what was fed to it: frames as numbers, questions and replies as text.
    """

    log: list[object] = field(default_factory=list)
    batch_sizes: list[int] = field(default_factory=list)
    is_replying: bool = False
    num_closed: int = 0
    num_prepared: int = 0
    silence_threshold: float = 0.5

    def prepare(self) -> bool:
        assert not self.is_replying, "made ready while a reply is open"
        self.num_prepared += 1
        return False

    def observe_many(self, frame_tokens_KND: torch.Tensor, stops_at: Callable[[Decision], bool]) -> list[Decision]:
        assert not self.is_replying, "frames while a reply is open"
        self.batch_sizes.append(len(frame_tokens_KND))
        decisions = []
        for frame in frame_tokens_KND:
            self.log.append(int(frame[0, 0]))
            decisions.append(Decision(1 - float(frame[0, 1]), bool(frame[0, 1] > 0.5)))
            if stops_at(decisions[-1]):
                break
        return decisions

    def ask(self, text: str, notes: Sequence[str] = ()) -> None:
        if len(text) > 100:
            raise StreamError("a question of 101 tokens: shorten it")
        self.log.append(f"? {text}")

    def reply(self) -> Iterator[str]:
        self.is_replying = True
        try:
            yield from (" You", " see", " it.")
        finally:
            self.is_replying = False
            self.num_closed += 1
            self.log.append("reply")


def frame(index: int, *, speaks: bool = False, fps: float = 2.0, strangeness: float | None = None) -> FrameTokens:
    tokens = torch.tensor([[float(index), float(speaks)]])
    return FrameTokens(tokens, index / fps, 100 + index / fps, index, strangeness)


def run(
    frames: list[FrameTokens],
    questions: list[Query],
    stream: ScriptedStream | None = None,
    familiarity: Familiarity | None = None,
) -> list[Event]:
    stream = stream or ScriptedStream()
    tokens, queries, events = Mailbox[FrameTokens](1000, name="tokens"), Mailbox[Query](99, name="questions"), []
    for item in frames:
        tokens.put(item)
    for query in questions:
        queries.put(query)
    tokens.close()
    run_mind(stream, tokens, queries, events.append, threading.Event(), familiarity=familiarity, clock=lambda: 200.0)
    return events


def replies_in(events: list[Event]) -> list[tuple[float, int | None, str]]:
    texts: dict[int, str] = {}
    done = []
    for event in events:
        if isinstance(event, Words):
            texts[event.reply_id] = texts.get(event.reply_id, "") + event.text
            if event.final:
                done.append((event.time_s, event.query_id, texts[event.reply_id]))
    return done


def test_every_frame_is_seen_once_in_order_and_batched():
    stream = ScriptedStream()
    events = run([frame(k, speaks=k in (3, 4, 30)) for k in range(40)], [], stream)
    assert [event.index for event in events if isinstance(event, Seen)] == list(range(40))
    assert [item for item in stream.log if isinstance(item, int)] == list(range(40))
    assert replies_in(events) == [(time_s, None, " You see it.") for time_s in (1.5, 2.0, 15.0)]
    assert max(stream.batch_sizes) > 8
    assert stream.num_prepared == 0, "busy, and yet made ready"
    assert stream.log.index("reply") == 4  # right after frame 3, before frame 4


def test_latency_runs_from_the_capture():
    seen = [event for event in run([frame(0), frame(1)], []) if isinstance(event, Seen)]
    assert [event.latency_s for event in seen] == [100.0, 99.5]


@pytest.mark.parametrize(("asked_s", "after"), [(0.0, 0), (0.2, 0), (0.5, 1), (2.3, 4), (4.5, 9), (5.2, 9)], ids=str)
def test_a_question_comes_after_the_last_frame_at_or_before_its_time(asked_s, after):
    stream = ScriptedStream()
    events = run([frame(k) for k in range(10)], [Query("What?", asked_s, 7)], stream)
    assert stream.log.index("? What?") == after + 1
    assert replies_in(events) == [(after / 2, 7, " You see it.")]
    (asked,) = [event for event in events if isinstance(event, Asked)]
    assert not asked.late


def test_a_question_after_the_end_is_asked_at_the_end_and_said_to_be_late():
    events = run([frame(k) for k in range(4)], [Query("What?", 99.0, 0)])
    (asked,) = [event for event in events if isinstance(event, Asked)]
    assert asked.late
    assert asked.time_s == 1.5
    assert len(replies_in(events)) == 1


def test_questions_in_their_order_each_with_its_own_answer():
    stream = ScriptedStream()
    events = run([frame(k, speaks=k == 2) for k in range(6)], [Query("b", 1.0, 1), Query("a", 0.6, 0)], stream)
    assert stream.log == [0, 1, "? a", "reply", 2, "reply", "? b", "reply", 3, 4, 5]
    assert [query_id for _, query_id, _ in replies_in(events)] == [0, None, 1]


def test_a_question_that_is_too_long_is_a_warning():
    events = run([frame(0)], [Query("x" * 101, 0.0, 0), Query("short", 0.0, 1)])
    (warning,) = [event for event in events if isinstance(event, Status)]
    assert "shorten it" in warning.detail
    assert replies_in(events) == [(0.0, 0, ""), (0.0, 1, " You see it.")]


def test_a_question_that_nobody_waits_for_is_not_answered():
    stream, gone = ScriptedStream(), threading.Event()
    gone.set()
    events = run([frame(0)], [Query("What?", 0.0, 0, gone), Query("And now?", 0.0, 1)], stream)
    assert replies_in(events) == [(0.0, 0, ""), (0.0, 1, " You see it.")]
    assert "? What?" not in stream.log


class Reserved(Pacing):
    """Wants a remark at every third frame, whatever the model says; and finds every second one a repeat."""

    def __init__(self) -> None:
        self.num_frames, self.noted = 0, []

    def threshold(self, own: float) -> float:
        return own / 2

    def wants(self, decision: Decision) -> bool:
        self.num_frames += 1
        return self.num_frames % 3 == 0

    def note(self, text: str, *, is_answer: bool) -> bool:
        self.noted.append((text, is_answer))
        return is_answer or len(self.noted) % 2 == 1


@pytest.mark.parametrize("max_batch", [1, 16])
def test_remarks_are_made_when_the_pacing_wants_them(max_batch):
    stream, pacing, events = ScriptedStream(), Reserved(), []
    tokens, queries = Mailbox[FrameTokens](99, name="tokens"), Mailbox[Query](9, name="questions")
    for index in range(9):
        tokens.put(frame(index, speaks=index == 1))
    queries.put(Query("What?", 4.0, 7))
    tokens.close()
    run_mind(stream, tokens, queries, events.append, threading.Event(), pacing=pacing, max_batch=max_batch)
    assert stream.log == [0, 1, 2, "reply", 3, 4, 5, "reply", 6, 7, 8, "reply", "? What?", "reply"]
    assert pacing.num_frames == 9
    assert [is_answer for _, is_answer in pacing.noted] == [False, False, False, True]
    ends = [event for event in events if isinstance(event, Words) and event.final]
    assert [end.unheard for end in ends] == [False, True, False, False]
    assert stream.silence_threshold == 0.25


def test_what_a_slow_model_cannot_look_at_yet_is_left_where_it_may_be_dropped():
    now_s, waiting = [0.0], []
    tokens = Mailbox[FrameTokens](99, name="tokens")

    class Slow(ScriptedStream):
        def observe_many(self, frames, stops_at):
            now_s[0] += 2.0 * len(frames)
            waiting.append(len(tokens))
            return super().observe_many(frames, stops_at)

    for index in range(40):
        tokens.put(frame(index))
    tokens.close()
    run_mind(Slow(), tokens, Mailbox[Query](1, name="q"), lambda _: None, threading.Event(), clock=lambda: now_s[0])
    assert waiting == list(range(39, -1, -1)), "one at a time, the rest not yet taken out"


def test_what_the_pacing_refuses_ends_no_look():
    """A hundred frames, all of which the model would speak after, while nothing may be said."""

    class Forbidding(Pacing):
        def wants(self, decision: Decision) -> bool:
            return False

    stream, tokens, seen = ScriptedStream(), Mailbox[FrameTokens](100, name="tokens"), []
    for index in range(100):
        tokens.put(frame(index, speaks=True))
    tokens.close()

    def note(event: Event) -> None:
        if isinstance(event, Seen):
            seen.append(event)

    run_mind(stream, tokens, Mailbox[Query](1, name="q"), note, threading.Event(), pacing=Forbidding())
    assert [event.index for event in seen] == list(range(100))
    assert all(event.decision.speaks for event in seen), "what the model wants is told all the same"
    assert stream.batch_sizes == [1, 2, 4, 8, 16, 16, 16, 16, 16, 5]


def test_a_frame_that_came_during_a_reply_is_marked():
    times = iter([*[200.0] * 4, 204.0, *[210.0] * 99])  # around the look, its report, the first piece; the reply's end
    stream, tokens = ScriptedStream(), Mailbox[FrameTokens](9, name="tokens")
    events: list[Event] = []
    for index, captured_s in enumerate((199.0, 202.0, 206.0)):
        tokens.put(FrameTokens(frame(index, speaks=index == 0).tokens, index / 2, captured_s, index))
    tokens.close()
    clock = lambda: next(times)  # noqa: E731
    run_mind(stream, tokens, Mailbox[Query](1, name="questions"), events.append, threading.Event(), clock=clock)
    assert [event.behind_reply for event in events if isinstance(event, Seen)] == [False, True, False]


def test_no_frames_no_words():
    assert run([], [Query("What?", 0.0, 0)]) == []


def test_stop_cuts_the_sentence_and_closes_it():
    stream, stop, events = ScriptedStream(), threading.Event(), []
    tokens, queries = Mailbox[FrameTokens](9, name="tokens"), Mailbox[Query](9, name="questions")
    tokens.put(frame(0, speaks=True))

    def report(event: Event) -> None:
        events.append(event)
        if isinstance(event, Words):
            stop.set()

    run_mind(stream, tokens, queries, report, stop)
    assert replies_in(events) == [(0.0, None, " You")]
    assert events[-1].cut
    assert stream.num_closed == 1
    assert not stream.is_replying


def test_live_question_is_answered_while_no_frame_comes():
    stream, stop, events = ScriptedStream(), threading.Event(), []
    tokens, queries = Mailbox[FrameTokens](9, name="tokens"), Mailbox[Query](9, name="questions")
    tokens.put(frame(0))
    answered = threading.Event()

    def report(event: Event) -> None:
        events.append(event)
        if isinstance(event, Seen):
            queries.put(Query("What?", 0.0, 3))
        if isinstance(event, Words) and event.final:
            answered.set()

    thread = threading.Thread(target=lambda: run_mind(stream, tokens, queries, report, stop))
    thread.start()
    assert answered.wait(5)
    while not stream.num_prepared and thread.is_alive():  # idle moments are used
        time.sleep(0.01)
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert stream.num_prepared
    assert replies_in(events) == [(0.0, 3, " You see it.")]


def test_in_another_world_nothing_is_said_and_that_is_told_once():
    frames = [frame(k, speaks=k % 3 == 0, strangeness=3.0 if k < 6 else 9.0) for k in range(40)]
    frames += [frame(k, speaks=k == 79, strangeness=1.0) for k in range(40, 80)]
    events = run(frames, [Query("What is it?", 15.0, 5)], familiarity=Familiarity(5.0, fps=2.0))
    seen = [event for event in events if isinstance(event, Seen)]
    assert [event.index for event in seen] == list(range(80))
    first, last = (next(event.index for event in order if event.is_strange) for order in (seen, seen[::-1]))
    assert 6 < first <= 10  # the mean of all so far: 3, 3, 3, 3, 3, 3, 9, 9, 9 and 9
    assert 45 < last < 60  # and of the last twenty
    said = replies_in(events)
    assert [text for _, query_id, text in said if query_id is not None] == [UNFAMILIAR]
    assert [time_s for time_s, query_id, _ in said if query_id is None] == [0.0, 1.5, 3.0, 39.5]
    assert [event.detail for event in events if isinstance(event, Status)] == [WARNING]


def test_a_model_that_does_not_know_its_world_speaks_anywhere():
    frames = [frame(k, speaks=k == 3, strangeness=99.0) for k in range(6)]
    assert len(replies_in(run(frames, [], familiarity=Familiarity(None, fps=2.0)))) == 1
