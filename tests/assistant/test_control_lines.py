"""The protocol without a socket: what is understood, what is refused, and that both directions fit."""

import contextlib
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistant.control import protocol
from assistant.control.buffers import LineBuffer, Outbox
from assistant.control.lines import (
    NotAMessage,
    encode,
    encode_event,
    encode_request,
    event_body,
    parse_message,
    parse_request,
)
from assistant.control.protocol import (
    AnswerWords,
    Ask,
    Cancel,
    Done,
    Events,
    Hello,
    Listen,
    Log,
    Notice,
    Plain,
    Private,
    Refusal,
    Request,
    Result,
    Say,
    Standing,
)
from assistant.control.requests import REQUESTS

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
IDS = st.one_of(
    st.integers(-(2**53), 2**53), st.text(st.characters(exclude_categories=["Cs"]), max_size=protocol.MAX_ID_CHARACTERS)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


PLAIN = ("status", "pause", "resume", "mute", "unmute", "stop", "reload", "devices")


@pytest.mark.parametrize(
    ("do", "fields", "body"),
    [
        ("hello", {}, Hello()),
        ("listen", {}, Listen()),
        *((do, {}, Plain(do)) for do in PLAIN),
        ("ask", {"text": "Wo ist die Tasse? 杯子"}, Ask("Wo ist die Tasse? 杯子")),
        ("cancel", {"request": "a"}, Cancel("a")),
        ("private", {"on": False}, Private(False)),
        ("log", {}, Log({})),
        ("standing", {"query": {"cancel": 3}}, Standing({"cancel": 3})),
        ("say", {"text": "Dinner!"}, Say("Dinner!")),
        ("log", {"query": {"since_s": 60}}, Log({"since_s": 60})),
        ("events", {}, Events(frozenset(protocol.EVENT_KINDS), frozenset())),
        ("events", {"kinds": ["remark"], "parts": ["mind"]}, Events(frozenset({"remark"}), frozenset({"mind"}))),
    ],
)
def test_requests_are_understood(do, fields, body):
    assert parse_request(encode_request(5, do, {**fields, "something": ["new"]})) == Request(5, body)


def test_every_action_is_understood_by_some_test():
    assert {"hello", "ask", "say", "listen", "cancel", "private", "log", "standing", "events", *PLAIN} == set(REQUESTS)


@UNHURRIED
@given(IDS)
def test_ids_are_kept_as_they_are(request_id):
    request = parse_request(encode_request(request_id, "status", {}))
    assert request == Request(request_id, Plain("status"))
    assert type(request.id) is type(request_id)
    assert parse_message(encode(Result(request_id))) == Result(request_id)
    assert parse_message(encode_event(request_id, event_body("remark", {}))) == Notice(request_id, "remark", {})


@pytest.mark.parametrize(
    ("said", "code", "in_message"),
    [
        ({"v": 1, "id": 1, "do": "fly"}, "unknown", 'do = "fly": must be one of hello, status'),
        ({"v": 1, "id": 1}, "unknown", "do = null"),
        ({"v": 1, "id": 1, "do": ["status"]}, "unknown", "status"),
        ({"v": 2, "id": 1, "do": "status"}, "wrong-version", "speaks version 2, this daemon speaks version 1"),
        ({"v": True, "id": 1, "do": "status"}, "wrong-version", "speaks version true"),
        ({"id": 1, "do": "status"}, "wrong-version", "no version"),
        ({"v": 1, "do": "status"}, "invalid", "id = null"),
        ({"v": 1, "id": True, "do": "status"}, "invalid", "id = true"),
        ({"v": 1, "id": 1.5, "do": "status"}, "invalid", "id = 1.5"),
        ({"v": 1, "id": 2**53 + 1, "do": "status"}, "invalid", "id = "),
        ({"v": 1, "id": "x" * 65, "do": "status"}, "invalid", "at most 64 characters"),
        ({"v": 1, "id": "\ud800", "do": "status"}, "invalid", "id = "),
        ({"v": 1, "id": 1, "do": "ask"}, "invalid", "ask: text = null"),
        ({"v": 1, "id": 1, "do": "ask", "text": " \n"}, "invalid", "must be a question"),
        ({"v": 1, "id": 1, "do": "ask", "text": "\ud800"}, "invalid", "must be a question"),
        ({"v": 1, "id": 1, "do": "cancel", "request": []}, "invalid", "cancel: request"),
        ({"v": 1, "id": 1, "do": "private", "on": 1}, "invalid", "private: on = 1"),
        ({"v": 1, "id": 1, "do": "log", "query": "all"}, "invalid", "log: query"),
        (
            {"v": 1, "id": 1, "do": "events", "kinds": []},
            "invalid",
            "must be of remark, query, answer, unsaid, status, modes",
        ),
        ({"v": 1, "id": 1, "do": "events", "kinds": [["remark"]]}, "invalid", "list of strings"),
        ({"v": 1, "id": 1, "do": "events", "kinds": ["gossip"]}, "invalid", "gossip"),
        ({"v": 1, "id": 1, "do": "events", "parts": "camera"}, "invalid", "parts"),
    ],
)
def test_wrong_requests_are_refused_with_the_reason(said, code, in_message):
    refusal = parse_request(json.dumps(said).encode())
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
    assert in_message in refusal.message
    assert code not in protocol.CLOSING_CODES
    assert refusal.id == (said.get("id") if said.get("id") == 1 and said["id"] is not True else None)


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"",
        b"[]",
        b'"status"',
        b"{",
        b'{"v": NaN}',
        b'{"v": 1, "id": 1, "do": "\xff"}',
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"v": ' + b"1" * 60_000 + b"}",
        b"\0" * 100,
    ],
)
def test_what_is_no_json_object_ends_the_connection(line):
    refusal = parse_request(line)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "malformed"
    assert refusal.code in protocol.CLOSING_CODES
    assert len(refusal.message) < 300


@UNHURRIED
@given(st.binary(max_size=300))
def test_no_bytes_break_the_parsers(line):
    assert isinstance(parse_request(line), Request | Refusal)
    with contextlib.suppress(NotAMessage):
        parse_message(line)


@UNHURRIED
@given(st.dictionaries(st.sampled_from(["v", "id", "do", "text", "request", "on", "query", "kinds", "parts"]), JSON))
def test_no_object_breaks_the_parsers(said):
    for fixed in ({}, {"v": 1}, {"v": 1, "id": 1}, *({"v": 1, "id": 1, "do": do} for do in REQUESTS)):
        parsed = parse_request(json.dumps({**said, **fixed}).encode())
        assert isinstance(parsed, Request | Refusal)
        if isinstance(parsed, Refusal):
            assert parse_message(encode(parsed)) == parsed


@UNHURRIED
@given(IDS | st.none(), st.text(), st.dictionaries(st.text(), JSON))
def test_messages_arrive_as_they_were_sent(message_id, text, facts):
    for message in (
        Result(message_id, facts),
        AnswerWords(message_id, text),
        Done(message_id, facts, True),
        Notice(message_id, "remark", facts),
        Refusal(message_id, "busy", text, text, 3),
    ):
        line = encode(message)
        assert line.count(b"\n") == 1
        assert parse_message(line) == message


def test_half_a_surrogate_pair_can_be_sent():
    assert parse_message(encode(AnswerWords(1, "caf\udce9"))) == AnswerWords(1, "caf\udce9")


@pytest.mark.parametrize("facts", [{"fps": float("nan")}, {"fps": object()}])
def test_facts_that_json_cannot_say_are_told_to_who_says_them(facts):
    with pytest.raises((ValueError, TypeError)):
        encode(Result(1, facts))


@pytest.mark.parametrize(
    "line", [b"", b"{}", b'{"v":1,"id":1,"kind":"song"}', b'{"v":1,"id":[],"kind":"words","text":""}', b'{"v":"x"}']
)
def test_what_is_no_message_is_said_to_be_none(line):
    with pytest.raises(NotAMessage):
        parse_message(line)


def test_another_version_is_told_by_its_number():
    assert parse_message(b'{"v":2,"id":1,"kind":"whatever"}') == 2


@UNHURRIED
@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b""))), st.randoms())
def test_lines_come_out_whole_however_they_came_in(lines, chance: random.Random):
    data, buffer, taken = b"".join(line + b"\n" for line in lines) + b"rest", LineBuffer(100), []
    while data:
        size = chance.randint(1, 30)
        buffer.feed(data[:size], 0.0)
        data = data[size:]
        while (line := buffer.take(0.0)) is not None:
            taken.append(line)
    assert taken == lines
    assert not buffer.has_line
    assert buffer.unfinished_since_s == 0.0


@pytest.mark.parametrize(("size", "is_too_long"), [(10, False), (11, True)])
@pytest.mark.parametrize("end", [b"", b"\n", b"\nnext\n"])
def test_a_line_may_be_so_long_and_no_longer(size, is_too_long, end):
    buffer = LineBuffer(10)
    buffer.feed(b"x" * size + end, 0.0)
    assert buffer.is_too_long == is_too_long
    assert buffer.has_line == (bool(end) and not is_too_long)
    assert buffer.take(0.0) == (b"x" * size if end and not is_too_long else None)


def test_the_clock_of_a_line_starts_with_its_first_byte():
    buffer = LineBuffer(100)
    buffer.feed(b"abc", 1.0)
    buffer.feed(b"def", 2.0)
    assert buffer.unfinished_since_s == 1.0
    buffer.feed(b"\ngh", 3.0)
    assert buffer.take(4.0) == b"abcdef"
    assert buffer.unfinished_since_s == 4.0
    buffer.feed(b"i\n", 5.0)
    assert buffer.take(6.0) == b"ghi"
    assert buffer.unfinished_since_s is None


@UNHURRIED
@given(st.lists(st.binary(min_size=1, max_size=9), max_size=30), st.randoms())
def test_the_outbox_sends_all_bytes_in_order(messages, chance: random.Random):
    outbox, sent = Outbox(1000, 1000), b""
    for message in messages:
        assert outbox.put(message, 0.0)
        data = outbox.peek(chance.randint(1, 12))
        num_sent = chance.randint(0, len(data))
        outbox.advance(num_sent, 1.0)
        sent += data[:num_sent]
    while data := outbox.peek(7):
        outbox.advance(len(data), 1.0)
        sent += data
    assert sent == b"".join(messages)
    assert outbox.is_empty
    assert outbox.stalled_since_s is None


def test_the_outbox_is_bounded_by_number_and_by_bytes():
    by_number, by_bytes = Outbox(4, 1000), Outbox(1000, 100)
    assert [by_number.put(b"x", 0.0) for _ in range(6)] == [True] * 4 + [False] * 2
    assert [by_bytes.put(b"x" * 30, 0.0) for _ in range(4)] == [True] * 3 + [False]
    assert by_bytes.put(b"bye" * 30, 0.0, force=True)
    assert by_number.is_filling
    assert not Outbox(4, 100).is_filling


def test_the_outbox_knows_since_when_nothing_goes_out():
    outbox = Outbox(10, 100)
    outbox.put(b"abcd", 1.0)
    outbox.put(b"ef", 2.0)
    assert outbox.stalled_since_s == 1.0
    outbox.advance(2, 3.0)
    assert outbox.stalled_since_s == 3.0
    outbox.advance(4, 4.0)
    assert outbox.stalled_since_s is None
