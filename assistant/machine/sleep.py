"""Lets the devices go before the computer sleeps, and takes them again after it: systemd-logind on the system bus.

One thread with an event loop of its own. An inhibitor lock delays the sleep until the devices are free, or logind has
waited long enough (five seconds, as it comes). Where there is no logind, nothing happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable

from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError, DBusFastError

from assistant.runtime.threads import make_thread

MATCH = "type='signal',interface='org.freedesktop.login1.Manager',member='PrepareForSleep'"
CALL_TIMEOUT_S = 5.0
RETRY_S = 10.0
STOP_TIMEOUT_S = 2.0

log = logging.getLogger("onlooker.sleep")


class SleepWatch:
    """Use: `start`, `close`. before, after: called in threads of its own; `before` may take some seconds."""

    def __init__(self, before: Callable[[], None], after: Callable[[], None]):
        self._before, self._after = before, after
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._lock_fd: int | None = None
        self._is_asleep = False
        self._thread = make_thread("sleep", lambda: asyncio.run(self._run()))

    def start(self) -> None:
        """Begin to watch; returns when the watch is set up, or could not be."""
        self._thread.start()
        self._ready.wait(STOP_TIMEOUT_S)

    def close(self) -> None:
        """Within STOP_TIMEOUT_S."""
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT_S)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        is_first = True
        while not self._stop.is_set():
            try:
                await self._watch(self._stop)
            except (DBusError, DBusFastError, ValueError, OSError, EOFError, TimeoutError) as error:
                if is_first:
                    log.info("no systemd-logind here, so a sleep is not noticed beforehand: %s", error)
            except Exception:  # a fault of ours, or a bus that says what nobody expects: it is tried again
                log.exception("a sleep is not noticed beforehand for a while")
            finally:
                self._release()
                if self._is_asleep:  # nobody will tell when it is over
                    await asyncio.to_thread(self._wake)
            is_first = False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), RETRY_S)

    async def _watch(self, stop: asyncio.Event) -> None:
        """Until `stop`, or the bus is lost."""
        bus = await asyncio.wait_for(MessageBus(bus_type=BusType.SYSTEM, negotiate_unix_fd=True).connect(), 5)
        signals: asyncio.Queue[bool] = asyncio.Queue()

        def hear(message: Message) -> None:
            if message.message_type is MessageType.SIGNAL and message.member == "PrepareForSleep":
                signals.put_nowait(bool(message.body[0]))

        try:
            bus.add_message_handler(hear)
            await _call(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "AddMatch", "s", [MATCH])
            await self._take_lock(bus)
            waits = [asyncio.ensure_future(wait) for wait in (stop.wait(), bus.wait_for_disconnect())]
            while True:
                heard = asyncio.ensure_future(signals.get())
                await asyncio.wait([heard, *waits], return_when=asyncio.FIRST_COMPLETED)
                if not heard.done():
                    heard.cancel()
                    for wait in waits:
                        wait.cancel()
                    return
                if heard.result():
                    log.info("the computer goes to sleep")
                    self._is_asleep = True
                    await asyncio.to_thread(self._before)
                    self._release()
                else:
                    log.info("the computer is awake again")
                    await asyncio.to_thread(self._wake)
                    await self._take_lock(bus)
        finally:
            bus.disconnect()

    def _wake(self) -> None:
        self._is_asleep = False
        self._after()

    async def _take_lock(self, bus: MessageBus) -> None:
        self._release()
        body = ["sleep", "Onlooker", "lets the camera go", "delay"]
        reply = await _call(bus, "org.freedesktop.login1", "/org/freedesktop/login1", "Inhibit", "ssss", body)
        self._lock_fd = reply.unix_fds[reply.body[0]]

    def _release(self) -> None:
        fd, self._lock_fd = self._lock_fd, None
        if fd is not None:
            os.close(fd)


async def _call(bus: MessageBus, name: str, path: str, member: str, signature: str, body: list[str]) -> Message:
    """A method of the interface that is called as the path is, with dots; logind's is its Manager."""
    interface = {"org.freedesktop.login1": "org.freedesktop.login1.Manager"}.get(name, name)
    message = Message(
        destination=name, path=path, interface=interface, member=member, signature=signature, body=list(body)
    )
    reply = await asyncio.wait_for(bus.call(message), CALL_TIMEOUT_S)
    assert reply is not None
    if reply.message_type is MessageType.ERROR:
        raise DBusError(reply.error_name or "unknown", str(reply.body[0] if reply.body else ""))
    return reply
