"""The capture child's main function: one source, from opening to its end, in a process that may crash or hang alone."""

from __future__ import annotations

from multiprocessing.connection import Connection

from assistant.capture.protocol import Finished, Outlet, PictureMemory, SourceFailed, Start


def capture_main(connection: Connection, memory: PictureMemory) -> None:
    """Read the source that the first message names, until it ends or the parent closes the pipe."""
    start: Start = connection.recv()
    outlet = Outlet(connection, memory)
    end_s = 0.0
    try:
        if start.kind == "camera":
            from assistant.capture.camera_reader import read_camera

            read_camera(start, outlet)
        elif start.target.startswith("whip://"):
            from assistant.capture.whip_reader import read_whip

            read_whip(start, outlet)
        elif start.kind == "screen":
            from assistant.capture.screen_reader import read_screen

            read_screen(start, outlet)
        else:
            from assistant.capture.video_reader import read_video

            end_s = read_video(start, outlet)
    except SourceFailed as error:
        connection.send(error.failed)
    else:
        connection.send(Finished(end_s))
    finally:
        outlet.close()
