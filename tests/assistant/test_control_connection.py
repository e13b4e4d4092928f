"""One connection without a socket: what is complained about, and when; what may wait."""

import threading

import pytest

from assistant.control.connection import Connection, Limits
from assistant.control.protocol import AnswerWords, Ask, Events, Refusal, Result
from assistant.control.reply import Reply
from assistant.control.transport import Peer

LIMITS = Limits(outbox_messages=8, unfinished_s=10, stalled_s=30, linger_s=1)


class FakeWire:
    """A wire that takes `room` bytes, then none until there is more room."""

    peer = Peer(0, 1)
    is_trusted = True

    def __init__(self) -> None:
        self.room = 0
        self.sent = b""
        self.is_closed = False

    def receive(self, limit_bytes: int) -> bytes | None:
        return None

    def send(self, data: bytes) -> int:
        taken = data[: self.room]
        self.room -= len(taken)
        self.sent += taken
        return len(taken)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def wire() -> FakeWire:
    return FakeWire()


@pytest.fixture
def connection(wire: FakeWire) -> Connection:
    return Connection(wire, LIMITS, lambda: None)


def open_ask(connection: Connection, request_id: int = 1) -> Reply:
    reply = connection.open(request_id, Ask("Where?"))
    assert isinstance(reply, Reply)
    return reply


def code_of(complaint: Refusal | None) -> str | None:
    return complaint.code if complaint else None


def test_an_unfinished_line_has_its_time(connection):
    assert connection.deadline_s() == float("inf")
    connection.lines.feed(b"half", 100.0)
    assert connection.deadline_s() == 110.0
    assert connection.complaint(109.9) is None
    assert code_of(connection.complaint(110.0)) == "unfinished"


def test_a_line_that_we_did_not_read_on_is_not_the_client_s_fault(connection, wire):
    connection.lines.feed(b"half", 100.0)
    for number in range(4):
        connection.tell(Result(number))
    assert connection.wants(101.0) == (False, True), "answers pile up: no more requests"
    assert connection.complaint(111.0) is None
    wire.room = 10_000
    connection.flush(10_000)
    assert connection.wants(120.0) == (True, False)
    assert connection.complaint(129.9) is None
    assert code_of(connection.complaint(130.0)) == "unfinished"


def test_whole_requests_wait_while_answers_pile_up(connection, wire):
    connection.lines.feed(b"one\ntwo\n", 0.0)
    assert connection.may_be_served
    for number in range(2):
        connection.tell(Result(number))
    assert not connection.may_be_served
    wire.room = 10_000
    connection.flush(10_000)
    assert connection.may_be_served


def test_what_finds_no_room_ends_the_client_with_what_came_before_and_the_reason(connection, wire):
    reply = open_ask(connection)
    for number in range(20):
        assert reply.words(str(number)), "the answering thread need not know"
    assert code_of(connection.complaint(0.0)) == "slow"
    wire.room = 70  # one message goes, and there would be room again: but what was lost would be missing before it
    connection.flush(70)
    reply.words("after a gap")
    connection.say_goodbye(connection.complaint(0.0), 0.0)
    assert reply.is_cancelled
    assert not reply.words("more")
    wire.room = 10_000
    connection.flush(10_000)
    said = wire.sent.splitlines()
    assert len(said) == LIMITS.outbox_messages + 1
    assert b'"text":"7"' in said[-2]
    assert b'"code":"slow"' in said[-1]
    assert b"gap" not in wire.sent
    assert connection.is_over(0.0)


def test_last_words_wait_so_long_and_no_longer(connection):
    connection.tell(Result(1))
    connection.say_goodbye(None, 50.0)
    assert connection.deadline_s() == 51.0
    assert not connection.is_over(50.9)
    assert connection.is_over(51.0)
    connection.tell(Result(2))


def test_a_client_that_takes_some_bytes_is_not_stalled(connection, wire):
    connection.tell(Result(1))
    since_s = connection.deadline_s() - LIMITS.stalled_s
    assert connection.complaint(since_s + 29.9) is None
    assert code_of(connection.complaint(since_s + 30.1)) == "slow"
    wire.room = 3
    connection.flush(100)
    assert connection.deadline_s() > since_s + LIMITS.stalled_s


def test_hanging_up_cancels_everything(connection, wire):
    replies = [open_ask(connection, number) for number in range(3)]
    connection.hang_up()
    assert wire.is_closed
    assert all(reply.is_cancelled for reply in replies)
    assert not any(reply.words("late") or reply.done() for reply in replies)


def test_many_threads_answer_and_nothing_is_lost_or_torn(wire):
    connection = Connection(wire, Limits(), lambda: None)
    replies = [open_ask(connection, number) for number in range(8)]
    wire.room = 10**9
    threads = [threading.Thread(target=lambda r=r: [r.words("x") for _ in range(100)] + [r.done()]) for r in replies]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        connection.flush(500)
    for _ in range(300):
        connection.flush(500)
    said = wire.sent.splitlines()
    assert len(said) == 808
    assert sum(line.count(b'"kind":"words"') for line in said) == 800


def test_an_event_goes_once_to_every_subscription_that_wants_it(connection, wire):
    for number, kinds in enumerate((["remark"], ["status"], ["remark", "status"])):
        connection.open(number, Events(frozenset(kinds), frozenset()))
    connection.publish("remark", None, b'"kind":"event","event":"remark","facts":{}}\n')
    wire.room = 10_000
    connection.flush(10_000)
    events = [line for line in wire.sent.splitlines() if b'"event"' in line]
    assert [line[:13] for line in events] == [b'{"v":1,"id":0', b'{"v":1,"id":2']


def test_half_a_word_is_an_error_of_who_says_it(connection):
    reply = open_ask(connection)
    with pytest.raises((TypeError, ValueError)):
        reply.done({"fps": float("inf")})
    assert not reply.is_over
    assert connection.say(reply, AnswerWords(1, "fine"))
