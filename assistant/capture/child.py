"""The capture child's main function: one source, from opening to its end, in a process that may crash or hang alone."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import assert_never

from assistant.capture.protocol import Finished, Outlet, PictureMemory, SourceFailed, Start

Reader = Callable[[Start, Outlet], float | None]
"""Ships pictures until the source ends or the parent goes away. Gives the second at which a file ended; raises
SourceFailed."""


def capture_main(connection: Connection, memory: PictureMemory) -> None:
    """Read the source that the first message names, until it ends or the parent closes the pipe."""
    start: Start = connection.recv()
    outlet = Outlet(connection, memory)
    try:
        end_s = _reader_of(start)(start, outlet) or 0.0
    except SourceFailed as error:
        connection.send(error.failed)
    else:
        connection.send(Finished(end_s))
    finally:
        outlet.close()


def _reader_of(start: Start) -> Reader:
    """Imports no more than is needed: each stands on a library of its own."""
    match start.kind:
        case "camera":
            from assistant.capture.camera_reader import read_camera

            return read_camera
        case "screen":
            from assistant.capture.screen_reader import read_screen

            return read_screen
        case "push" if start.target.startswith("whip://"):
            from assistant.capture.whip_reader import read_whip

            return read_whip
        case "file" | "network" | "push":
            from assistant.capture.video_reader import read_video

            return read_video
        case _:
            assert_never(start.kind)
