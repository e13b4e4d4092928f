"""Glasses and phones that send: waited for, watched, lost, waited for again; the key is shown nowhere."""

import asyncio
import multiprocessing
import socket
import threading
from collections.abc import Iterator

import aiohttp
import av
import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack

from assistant.capture.keeper import Keeper
from assistant.capture.source import parse_source
from assistant.errors import UsageError
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.messages import Event, Frame, Status
from tests.assistant.camera import wait_for


class Sender:
    """OBS, or glasses: ten pictures a second by RTMP, from `begin` to `end`."""

    def __init__(self, address: str):
        self._address, self._stop = address, threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)

    def _send(self) -> None:
        while not self._stop.wait(0.2):
            container = av.open(self._address, "w", format="flv")
            try:
                self._stream(container)
                container.close()
            except OSError:  # nobody listens yet
                continue

    def _stream(self, container) -> None:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "10"}
        number = 0
        while not self._stop.wait(0.1):
            picture = np.full((240, 320, 3), 40 + number % 160, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture)):
                container.mux(packet)
            number += 1


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def sender(port) -> Iterator[Sender]:
    sender = Sender(f"rtmp://127.0.0.1:{port}/live/hunter2")
    yield sender
    sender.end()


def test_a_sender_is_waited_for_watched_and_waited_for_again(port, sender):
    source = parse_source(f"rtmp-listen://127.0.0.1:{port}/live/hunter2")
    frames, events, stop = Mailbox[Frame](1000, name="frames"), list[Event](), threading.Event()
    keeper = Keeper(source, frames, events.append, fps=5, timeout_s=2)
    thread = threading.Thread(target=keeper.run, args=(stop,))
    thread.start()
    try:
        wait_for(lambda: [event.state for event in events if isinstance(event, Status)] == ["waiting"], 10)
        for number in (1, 2):
            sender.begin()
            before = frames.num_put
            print(wait_for(lambda before=before: frames.num_put > before, 20))
            wait_for(lambda before=before: frames.num_put > before + 5, 10)
            sender.end()
            wait_for(lambda: keeper.state == "lost", 5)
            states = [event.state for event in events if isinstance(event, Status)]
            wait_for(lambda: events[-1].state == "waiting", 5)
            assert states[: 3 * number] == ["waiting", "ready", "lost"] * number
    finally:
        stop.set()
        keeper.wake()
        thread.join(30)
    assert not thread.is_alive()
    assert not multiprocessing.active_children()
    assert not any("hunter2" in str(event) for event in events)
    shades = [int(frame.pixels.mean()) for frame in frames.take_many(1000, timeout_s=0)]
    assert min(shades) >= 35


@pytest.mark.parametrize("text", ["rtmp-listen://", "rtmp-listen://127.0.0.1/live/hunter2", "rtmp-listen://h:99999/x"])
def test_an_address_that_cannot_be_listened_at_is_explained(text):
    with pytest.raises(UsageError, match="rtmp-listen://HOST:PORT/KEY") as refused:
        parse_source(text)
    assert "hunter2" not in str(refused.value)


class WhipSender:
    """A browser, or OBS: a moving picture by WebRTC, from a thread with a loop of its own."""

    def __init__(self, port: int, token: str):
        self._url, self._token = f"http://127.0.0.1:{port}/whip", token
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._peer: RTCPeerConnection | None = None

    def begin(self) -> int:
        """The status code of the answer; 0 if nobody listens."""
        return asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result(30)

    def end(self) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            asyncio.run_coroutine_threadsafe(peer.close(), self._loop).result(10)

    def close(self) -> None:
        self.end()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _begin(self) -> int:
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peer.addTrack(VideoStreamTrack())
        await peer.setLocalDescription(await peer.createOffer())
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/sdp"}
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.post(self._url, data=peer.localDescription.sdp, headers=headers) as response,
            ):
                if response.status == 201:
                    await peer.setRemoteDescription(RTCSessionDescription(await response.text(), "answer"))
                    self._peer = peer
                    return 201
                code = response.status
        except aiohttp.ClientConnectionError:
            code = 0
        await peer.close()
        return code


def test_whip_takes_who_has_the_token(port):
    source = parse_source(f"whip-listen://127.0.0.1:{port}/hunter2")
    assert "hunter2" not in source.shown
    frames, events, stop = Mailbox[Frame](1000, name="frames"), list[Event](), threading.Event()
    keeper = Keeper(source, frames, events.append, fps=5, timeout_s=2)
    thread = threading.Thread(target=keeper.run, args=(stop,))
    thread.start()
    stranger, sender = WhipSender(port, "wrong"), WhipSender(port, "hunter2")
    try:
        wait_for(lambda: stranger.begin() == 401, 20)
        for _ in range(2):
            before = frames.num_put
            wait_for(lambda: sender.begin() == 201, 20)
            print(wait_for(lambda before=before: frames.num_put > before + 5, 20))
            assert keeper.state == "ready"
            assert stranger.begin() == 401
            sender.end()
            wait_for(lambda: keeper.state in ("lost", "waiting"), 8)
    finally:
        stop.set()
        keeper.wake()
        thread.join(30)
        stranger.close()
        sender.close()
    assert not thread.is_alive()
    assert not any("hunter2" in str(event) for event in events)
    first = frames.take(timeout_s=0)
    assert first is not None
    assert first.pixels.shape == (480, 640, 3)
