"""Clients that do their worst, for tests: `python -m tests.assistant.control_rude DIRECTORY` until it is killed.

NUM_RUDE of them at once, all in this process; whoever is thrown out comes again.
"""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

NUM_RUDE = 45
Rude = Callable[[socket.socket], None]
EXPENSIVE = json.dumps({"v": 1, "id": 1, "do": "status", "unknown": [{}] * 12_000}).encode() + b"\n"


def flood_and_never_read(line: socket.socket) -> None:
    for _ in range(20_000):
        line.sendall(b'{"v":1,"id":1,"do":"status"}\n')


def flood_with_expensive_requests(line: socket.socket) -> None:
    assert len(EXPENSIVE) < 65536
    line.setblocking(True)
    threading.Thread(target=drain, args=(line,), daemon=True).start()
    while True:
        line.sendall(EXPENSIVE)


def flood_with_blank_lines(line: socket.socket) -> None:
    while True:
        line.sendall(b"\n" * 60_000)


def subscribe_and_never_read(line: socket.socket) -> None:
    line.sendall(b"".join(b'{"v":1,"id":%d,"do":"events"}\n' % number for number in range(40)))
    time.sleep(30)


def ask_a_thousand_times(line: socket.socket) -> None:
    for number in range(1000):
        line.sendall(b'{"v":1,"id":%d,"do":"ask","text":"count 50"}\n' % number)
    time.sleep(1)


def send_a_line_without_end(line: socket.socket) -> None:
    while True:
        line.sendall(b"x" * 60_000)


def send_half_a_line(line: socket.socket) -> None:
    line.sendall(b'{"v": 1,')
    time.sleep(30)


def drip(line: socket.socket) -> None:
    while True:
        line.sendall(b" ")
        time.sleep(0.01)


def send_random_bytes(line: socket.socket) -> None:
    while True:
        line.sendall(random.randbytes(4096))


def send_nested_json(line: socket.socket) -> None:
    line.sendall(b"[" * 60_000 + b"\n")
    line.recv(1000)


def come_and_go(line: socket.socket) -> None:
    time.sleep(0.001)


def drain(line: socket.socket) -> None:
    try:
        while line.recv(65536):
            pass
    except OSError:
        pass


ALL: tuple[Rude, ...] = (
    flood_and_never_read,
    flood_with_expensive_requests,
    flood_with_blank_lines,
    subscribe_and_never_read,
    ask_a_thousand_times,
    send_a_line_without_end,
    send_half_a_line,
    drip,
    send_random_bytes,
    send_nested_json,
    come_and_go,
)


def be_rude(rude: Rude, path: str) -> None:
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(30)
            try:
                line.connect(path)
                rude(line)
            except OSError:
                time.sleep(0.001)


def main() -> None:
    path = os.fspath(Path(sys.argv[1]) / "control.sock")
    names = sys.argv[2:]
    chosen = [rude for rude in ALL if not names or rude.__name__ in names]
    threads = [
        threading.Thread(target=be_rude, args=(chosen[number % len(chosen)], path), daemon=True)
        for number in range(NUM_RUDE)
    ]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
