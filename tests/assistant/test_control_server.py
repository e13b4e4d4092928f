"""The control server over real sockets: answers, their order, cancelling, leaving, limits."""

import itertools
import os
import threading

import pytest

from assistant.control import protocol
from assistant.control.client import Client
from assistant.control.connection import Limits
from assistant.control.errors import RequestRefused
from tests.assistant.control_daemon import VERSION, Raw, eventually


def is_sorted(words: list[str], request_id: object) -> bool:
    return words == [f"{request_id}:{number} " for number in range(len(words))]


def test_the_simple_requests_reach_the_daemon(served):
    with Client.connect(served.directory) as client:
        assert client.request("status") == {"state": "ready"}
        for do in ("pause", "resume", "mute", "unmute"):
            assert client.request(do) == {}
        client.request("private", {"on": True})
        client.request("private", {"on": False})
        assert client.request("log", {"query": {"search": "mug"}})["query"] == {"search": "mug"}
        hello = client.request("hello")
        assert client.daemon.pid == os.getpid()
    assert served.daemon.calls == ["pause", "resume", "mute", "unmute", ("private", True), ("private", False)]
    assert (hello["version"], hello["protocol"]) == (VERSION, 1)
    assert set(hello["capabilities"]) >= {"status", "ask", "cancel", "events"}


def test_ids_come_back_as_they_were(served):
    ids = [0, -7, 2**53, "", "a", "1", 1, "ü"]
    with Raw(served.directory) as raw:
        for request_id in ids:
            raw.say("status", request_id)
        assert [raw.hear()["id"] for _ in ids] == ids


def test_the_error_of_the_daemon_is_the_error_of_the_client(served):
    with Client.connect(served.directory) as client:
        with pytest.raises(RequestRefused, match="camera:9") as refused:
            client.request("devices")
        assert refused.value.exit_code == 3
        with pytest.raises(RequestRefused, match="RuntimeError: a fault of the daemon's; please report") as refused:
            client.request("reload")
        assert refused.value.exit_code == 1
        assert refused.value.refusal.code == "internal"
        assert client.request("status") == {"state": "ready"}


def test_wrong_requests_leave_the_connection_usable(served):
    with Raw(served.directory) as raw:
        raw.say("fly", 1)
        raw.send(b'{"v": 3, "id": 2, "do": "status"}\n\n\r\n')
        raw.say("private", 3, on="yes")
        raw.say("status", 4, extra={"of": "tomorrow"})
        assert [(raw.hear()["id"], code) for code in ("unknown", "wrong-version", "invalid")] == [
            (1, "unknown"),
            (2, "wrong-version"),
            (3, "invalid"),
        ]
        assert raw.hear()["facts"] == {"state": "ready"}


def test_fifty_clients_get_their_own_words_in_order(served):
    """Each asks twice on one connection; words of all hundred answers are in flight at once."""
    num_words, heard = 40, {}
    clients = [Raw(served.directory) for _ in range(50)]
    num_both = 0

    def listen(number: int) -> None:
        heard[number] = [clients[number].hear() for _ in range(2 * num_words + 2)]

    threads = [threading.Thread(target=listen, args=(number,)) for number in range(50)]
    for number, client in enumerate(clients):
        client.say("ask", f"{number}a", text=f"count {num_words}")
        client.say("ask", f"{number}b", text=f"count {num_words}")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for number, messages in heard.items():
        answers = {f"{number}a": [], f"{number}b": []}
        for message in messages:
            if message["kind"] == "words":
                answers[message["id"]].append(message["text"])
        for request_id, words in answers.items():
            assert len(words) == num_words
            assert is_sorted(words, request_id)
        order = [message["id"] for message in messages]
        num_both += sum(one != other for one, other in itertools.pairwise(order))
        assert sorted(message["id"] for message in messages if message["kind"] == "done") == sorted(answers)
    assert len(heard) == 50
    assert num_both > 50 * num_words, "the two answers of a client did not come interleaved"
    for client in clients:
        client.close()


def test_the_client_keeps_two_answers_apart(served):
    with Client.connect(served.directory) as client:
        first, second = client.ask("count 30"), client.ask("count 20")
        assert client.request("status") == {"state": "ready"}
        assert is_sorted(list(second), 2)
        words = list(first)
        assert len(words) == 30
        assert is_sorted(words, 1)
        assert first.facts == {"by": "fake"}
        assert list(first) == []


def test_cancel_stops_an_answer(served):
    with Client.connect(served.directory) as client:
        answer = client.ask("count 1000000")
        assert next(answer) == "1:0 "
        reply = served.daemon.asked[0]
        assert not reply.is_cancelled
        answer.cancel()
        assert answer.is_cancelled
        assert reply.is_cancelled
        assert not reply.words("too late")
        assert not reply.done()
        assert list(answer) == []
        assert client.request("status") == {"state": "ready"}


def test_nothing_comes_for_a_request_after_its_end(served):
    with Raw(served.directory) as raw:
        raw.say("ask", "long", text="count 1000000")
        raw.say("cancel", "c1", request="long")
        raw.say("cancel", "c2", request="long")
        raw.say("status", "last")
        messages = []
        while not messages or messages[-1]["id"] != "last":
            messages.append(raw.hear())
        done = messages.index({"v": 1, "id": "long", "kind": "done", "facts": {}, "cancelled": True})
        assert [message["id"] for message in messages[done:]] == ["long", "c1", "c2", "last"]
        assert [message["facts"] for message in messages[done + 1 : done + 3]] == [
            {"cancelled": True},
            {"cancelled": False},
        ]
        raw.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            raw.hear()


def test_a_client_cannot_cancel_what_is_another_s(served):
    with Raw(served.directory) as one, Raw(served.directory) as other:
        one.say("ask", 1, text="hold")
        assert eventually(lambda: served.daemon.asked)
        other.say("cancel", 5, request=1)
        assert other.hear()["facts"] == {"cancelled": False}
        assert not served.daemon.asked[0].is_cancelled


def test_who_leaves_wants_no_answer_any_more(served):
    with Raw(served.directory) as raw:
        raw.say("ask", 1, text="hold")
        assert eventually(lambda: served.daemon.asked)
        assert not served.daemon.asked[0].is_cancelled
    assert eventually(lambda: served.daemon.asked[0].is_cancelled)


def test_requests_sent_before_leaving_are_answered(served):
    """`echo '…' | nc -N -U control.sock`"""
    with Raw(served.directory) as raw:
        raw.send(b"".join(b'{"v":1,"id":%d,"do":"status"}\n' % number for number in range(200)))
        raw.socket.shutdown(1)
        assert [message["id"] for message in raw.hear_all()] == list(range(200))


def test_the_fifty_first_is_turned_away(served):
    clients = [Client.connect(served.directory) for _ in range(50)]
    for client in clients:
        client.request("status")
    with Raw(served.directory) as raw:
        refusal = raw.hear()
        assert (refusal["code"], refusal["id"]) == ("busy", None)
        assert "busy: 50 clients" in refusal["message"]
        assert raw.hear() is None
    with Client.connect(served.directory) as client:
        assert eventually(lambda: served.server.facts()["dropped"] == {"busy": 2}), "hung up before we speak"
        with pytest.raises(RequestRefused, match="busy: 50") as refused:
            client.request("status")
    assert refused.value.exit_code == 3
    assert served.server.facts()["dropped"] == {"busy": 2}
    clients.pop().close()
    assert eventually(lambda: served.server.facts()["clients"] == 49)
    with Client.connect(served.directory) as client:
        assert client.request("status") == {"state": "ready"}
    for client in clients:
        assert client.request("status") == {"state": "ready"}
        client.close()


def test_a_thousand_questions_at_once_are_bounded(served):
    with Raw(served.directory) as raw:
        sender = threading.Thread(
            target=lambda: [raw.say("ask", number, text="hold") for number in range(1000)], daemon=True
        )
        sender.start()
        refused = [raw.hear() for _ in range(1000 - 32)]
        assert {message["code"] for message in refused} == {"busy"}
        assert [message["id"] for message in refused] == list(range(32, 1000))
        sender.join(5)
        served.daemon.asked[0].done()
        assert raw.hear()["id"] == 0
        raw.say("ask", 0, text="count 1")
        assert raw.hear()["text"] == "0:0 "
    assert len(served.daemon.asked) == 33


def test_an_id_can_be_open_once_only(served):
    with Raw(served.directory) as raw:
        raw.say("ask", 1, text="hold")
        raw.say("ask", 1, text="hold")
        assert raw.hear()["code"] == "invalid"
        served.daemon.asked[0].done()
        raw.say("ask", 1, text="count 0")
        assert [raw.hear()["kind"] for _ in range(2)] == ["done", "done"]


def test_what_waits_for_one_client_is_bounded_by_default():
    limits = Limits()
    assert (limits.num_clients, limits.outbox_messages, limits.outbox_bytes) == (50, 1000, 1024 * 1024)
    assert (limits.line_bytes, limits.unfinished_s) == (64 * 1024, 10.0)
    assert limits.outbox_bytes >= protocol.MAX_MESSAGE_BYTES * 4
