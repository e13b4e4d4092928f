"""The figures go to who has the token, from this machine, and to nobody else; slow clients hold up nothing for long."""

import http.client
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from assistant.errors import OutputError, UsageError
from assistant.web.metrics import REQUEST_TIMEOUT_S, MetricsKeeper, MetricsServer, read_token
from tests.assistant.camera import wait_for
from tests.pace import pace

FACTS = {
    "frames": 120,
    "dropped": 3,
    "remarks": 7,
    "restarts": 1,
    "paused": False,
    "private": True,
    "muted": False,
    "full_speed": True,
    "questions_open": 2,
    "up_s": 61.5,
    "latency_s": 0.125,
    "parts": {
        "capture": {"state": "ready", "detail": "rtsp://me:***@camera", "age_s": 0.4},
        "voice": {"state": "off", "detail": "", "age_s": None},
    },
}
TOKEN = "t" * 43


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    server = MetricsServer(0, TOKEN, lambda: FACTS)
    server.start()
    yield server
    server.close()


def get(server: MetricsServer, path: str = "/metrics", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    sent = {"Authorization": f"Bearer {TOKEN}", **{name.replace("_", "-"): text for name, text in headers.items()}}
    connection.request("GET", path, headers={name: text for name, text in sent.items() if text})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_prometheus_understands_them(server: MetricsServer) -> None:
    code, text = get(server)
    assert code == 200
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples[("onlooker_frames_total",)] == 120
    assert samples[("onlooker_private",)] == 1
    assert samples[("onlooker_up_seconds",)] == 61.5
    assert samples[("onlooker_latency_seconds",)] == 0.125
    assert samples[("onlooker_part_state", "capture", "ready")] == 1
    assert samples[("onlooker_part_age_seconds", "capture")] == 0.4
    assert samples[("onlooker_memory_bytes",)] > 1e6
    assert "rtsp" not in text, "addresses stay out of it"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": TOKEN}, 401),
        ({"Authorization": "Bearer \u00fc"}, 401),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:9464"}, 403),
        ({"Host": "localhost:9464"}, 200),
        ({"Origin": "http://localhost:9464"}, 403),
    ],
)
def test_nobody_else_gets_them(server: MetricsServer, headers: dict[str, str], code: int) -> None:
    assert get(server, **headers)[0] == code


def test_there_is_nothing_else(server: MetricsServer) -> None:
    assert get(server, "/")[0] == 404
    assert get(server, "/metrics/../secret")[0] == 404


def test_a_slow_client_holds_up_nothing_for_long(server: MetricsServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(b"GET /metr")
        start_s = time.monotonic()
        assert get(server)[0] == 200
        assert time.monotonic() - start_s < (REQUEST_TIMEOUT_S + 2) * pace()
    start_s = time.monotonic()
    server.close()
    assert time.monotonic() - start_s < 3 * pace()


def test_a_port_that_is_taken_is_named(server: MetricsServer) -> None:
    with pytest.raises(UsageError, match=str(server.port)):
        MetricsServer(server.port, TOKEN, lambda: FACTS)


def test_only_the_loopback_is_listened_on(server: MetricsServer) -> None:
    assert server._server.server_address[0] == "127.0.0.1"


def test_the_token_is_made_once_and_is_the_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "own" / "token"
    token = read_token(path)
    assert read_token(path) == token
    assert len(token) > 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("\n")
    with pytest.raises(OutputError, match="holds no token"):
        read_token(path)


def test_a_taken_port_for_the_figures_is_told_of_and_had_when_it_is_free(tmp_path):
    told, taken = [], socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    keeper = MetricsKeeper(
        taken.getsockname()[1], tmp_path / "token", dict, lambda *about: told.append(about), retry_s=0.1
    )
    keeper.start()
    try:
        wait_for(lambda: told, 10)
        assert told[0][0] == "failed"
        assert "cannot be had" in told[0][1]
        taken.close()
        wait_for(lambda: told[-1][0] == "on", 10)
        assert [state for state, _ in told] == ["failed", "on"]
    finally:
        keeper.close()
        taken.close()
