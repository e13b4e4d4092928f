"""A log on stderr that never waits: whoever reads it may have stopped (Ctrl-S, a pager, a tool that hangs)."""

from __future__ import annotations

import contextlib
import logging
import os
import select
from collections.abc import Iterator
from typing import TextIO

PIECE_BYTES = select.PIPE_BUF if hasattr(select, "PIPE_BUF") else 512
"""A pipe that takes anything takes so much without a wait."""


def write_if_read(stream: TextIO, text: str) -> bool:
    """Write as much as can be written at once, whatever its characters; False if that was not all.

    stream: open on a file, a pipe or a terminal. Raises OSError.
    """
    data = text.encode(stream.encoding or "utf-8", "backslashreplace")
    if os.name != "posix":
        stream.write(text)
        stream.flush()
        return True
    with _impatient(stream.fileno()) as descriptor:
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        while data and poll.poll(0):
            try:
                data = data[os.write(descriptor, data[:PIECE_BYTES]) :]
            except BlockingIOError:
                break
    return not data


@contextlib.contextmanager
def _impatient(descriptor: int) -> Iterator[int]:
    """A descriptor of the same file. A terminal with a little room takes a long line only when it is read, so that
    one is opened again, not to wait; others that write to it are not concerned."""
    own = None
    if os.isatty(descriptor):
        with contextlib.suppress(OSError):
            own = os.open(os.ttyname(descriptor), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        yield descriptor if own is None else own
    finally:
        if own is not None:
            os.close(own)


class ConsoleHandler(logging.Handler):
    """Lines for a stream; those that find no room are counted, and the count is told when there is room again."""

    def __init__(self, stream: TextIO):
        super().__init__()
        self._stream, self._num_lost = stream, 0

    def emit(self, record: logging.LogRecord) -> None:
        """Any thread; the base class lets in one at a time."""
        try:
            if self._num_lost and write_if_read(self._stream, f"\n({self._num_lost} lines were not read in time)\n"):
                self._num_lost = 0
            if self._num_lost or not write_if_read(self._stream, self.format(record) + "\n"):
                self._num_lost += 1
        except OSError:  # the reader has gone
            self._num_lost += 1
        except Exception:  # of a library's log call: no reason to end its thread
            self.handleError(record)
