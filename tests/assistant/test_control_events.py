"""Events come to who subscribed, in order, filtered, until cancelled."""

import threading

from assistant.control.client import Client
from tests.assistant.control_daemon import Raw


def test_events_come_to_who_wants_them(served):
    with Client.connect(served.directory) as all_of_it, Client.connect(served.directory) as some:
        everything = all_of_it.events()
        filtered = some.events(kinds=["status", "answer"], parts=["camera"])
        served.server.publish("remark", {"text": "You pick up the red mug."})
        served.server.publish("status", {"part": "voice", "state": "ready"})
        served.server.publish("status", {"part": "camera", "state": "warning"})
        served.server.publish("answer", {"text": "On the shelf."})
        assert [next(everything).event for _ in range(4)] == ["remark", "status", "status", "answer"]
        assert [next(filtered).facts for _ in range(2)] == [
            {"part": "camera", "state": "warning"},
            {"text": "On the shelf."},
        ]


def test_a_subscription_can_be_cancelled(served):
    with Raw(served.directory) as raw:
        raw.say("events", "e", kinds=["remark"])
        assert raw.hear() == {
            "v": 1,
            "id": "e",
            "kind": "result",
            "facts": {"kinds": ["remark"], "parts": []},
        }
        served.server.publish("remark", {"n": 1})
        assert raw.hear() == {"v": 1, "id": "e", "kind": "event", "event": "remark", "facts": {"n": 1}}
        raw.say("cancel", "c", request="e")
        assert [raw.hear()["kind"] for _ in range(2)] == ["done", "result"]
        served.server.publish("remark", {"n": 2})
        raw.say("status", "s")
        assert raw.hear()["id"] == "s"


def test_quiet_subscribers_make_sure_that_the_daemon_lives(served):
    with Client.connect(served.directory) as client:
        events = client.events(quiet_s=0.05)
        threading.Timer(0.4, lambda: served.server.publish("remark", {"n": 1})).start()
        assert next(events).facts == {"n": 1}
        assert served.server.facts()["requests"] >= 4


def test_events_of_many_threads_arrive_each_thread_s_in_order(served):
    with Client.connect(served.directory) as client:
        events = client.events()

        def publish(thread: int) -> None:
            for number in range(100):
                served.server.publish("remark", {"thread": thread, "number": number})

        threads = [threading.Thread(target=publish, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        got: dict[int, list[int]] = {number: [] for number in range(5)}
        for _ in range(500):
            facts = next(events).facts
            got[facts["thread"]].append(facts["number"])
        assert got == {number: list(range(100)) for number in range(5)}
