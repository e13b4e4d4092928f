"""Takes pictures from who sends them by WebRTC: a WHIP endpoint (RFC 9725). Runs in the capture child.

One sender at a time, who must have the token. No server on the Internet is asked how this machine may be reached: the
sender must see it by its own address.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from assistant.capture.live_outlet import LiveOutlet
from assistant.capture.protocol import Outlet, SourceFailed, Start
from model.video.upright import Upright

if TYPE_CHECKING:
    from aiohttp import web
    from aiortc import MediaStreamTrack, RTCPeerConnection

MAX_OFFER_BYTES = 64 * 1024
WAIT_S = 0.5


def read_whip(start: Start, outlet: Outlet) -> None:
    """Wait for a sender and ship its pictures until it leaves. Raises SourceFailed."""
    try:
        import aiohttp  # noqa: F401
        import aiortc  # noqa: F401
    except ImportError as error:
        raise SourceFailed(
            "missing", f"{start.shown}: needs the package {error.name}; pip install 'onlooker[whip]'"
        ) from None
    asyncio.run(_Receiver(start, outlet).run())


class _Receiver:
    """The endpoint, and the connection of the one who sends."""

    def __init__(self, start: Start, outlet: Outlet):
        parts = urlsplit(start.target)
        self._host, self._port = parts.hostname, parts.port
        self._expected = f"Bearer {parts.path.lstrip('/')}".encode()
        self._start, self._outlet = start, outlet
        self._peer: RTCPeerConnection | None = None
        self._tasks: set[asyncio.Task] = set()
        self._over: asyncio.Future[None] | None = None
        self._has_begun = False

    async def run(self) -> None:
        from aiohttp import web

        self._over = asyncio.get_running_loop().create_future()
        app = web.Application(client_max_size=MAX_OFFER_BYTES)
        app.add_routes([web.post("/whip", self._begin), web.delete("/whip/session", self._end)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
            while not self._over.done():
                await asyncio.wait([self._over], timeout=WAIT_S)
                if not self._has_begun:
                    self._outlet.alive()
            self._over.result()
        except OSError as error:
            raise SourceFailed("missing", f"{self._start.shown}: cannot be listened at: {error.strerror}") from None
        finally:
            for task in self._tasks:
                task.cancel()
            if self._peer is not None:
                await self._peer.close()
            await runner.cleanup()

    def _is_known(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization", "").encode("utf-8", "replace")
        return hmac.compare_digest(given, self._expected)

    async def _begin(self, request: web.Request) -> web.Response:
        from aiohttp import web
        from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

        if not self._is_known(request):
            return web.Response(status=401, text="the token is missing or wrong\n")
        if self._peer is not None:
            return web.Response(status=409, text="somebody sends already\n")
        self._peer = peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peer.on("track", self._take)
        peer.on("connectionstatechange", self._look)
        try:
            await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
            await peer.setLocalDescription(await peer.createAnswer())
        except Exception as error:  # whatever the offer holds must not end the endpoint
            self._peer = None
            await peer.close()
            return web.Response(status=400, text=f"the offer cannot be answered: {error}\n")
        headers = {"Location": "/whip/session"}
        answer = peer.localDescription.sdp
        return web.Response(status=201, text=answer, content_type="application/sdp", headers=headers)

    async def _end(self, request: web.Request) -> web.Response:
        from aiohttp import web

        if not self._is_known(request):
            return web.Response(status=401)
        self._leave("it ended the session")
        return web.Response(status=200)

    def _take(self, track: MediaStreamTrack) -> None:
        if track.kind == "video":
            task = asyncio.ensure_future(self._ship(track))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ship(self, track: MediaStreamTrack) -> None:
        from aiortc.mediastreams import MediaStreamError
        from av import VideoFrame

        upright, live = Upright(1.0), LiveOutlet(self._outlet, self._start.fps)
        try:
            while True:
                picture = await track.recv()
                assert isinstance(picture, VideoFrame)
                self._has_begun = True
                live.show(*upright.size(picture), lambda picture=picture: upright.rgb(picture))
        except MediaStreamError:
            self._leave("its video ended")
        except OSError as error:  # the parent has gone
            self._fail(error)

    def _look(self) -> None:
        if self._peer is not None and self._peer.connectionState in ("failed", "closed"):
            self._leave("the connection ended")

    def _leave(self, why: str) -> None:
        self._fail(SourceFailed("missing", f"{self._start.shown}: the sender has left: {why}"))

    def _fail(self, error: BaseException) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_exception(error)
