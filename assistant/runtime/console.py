"""A log on stderr that never waits: whoever reads it may have stopped (Ctrl-S, a pager, a tool that hangs)."""

from __future__ import annotations

import logging
import os
import select
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
    poll = select.poll()
    poll.register(stream.fileno(), select.POLLOUT)
    while data and poll.poll(0):
        data = data[os.write(stream.fileno(), data[:PIECE_BYTES]) :]
    return not data


class ConsoleHandler(logging.Handler):
    """Lines for a stream; those that find no room are counted, and the count is told when there is room again."""

    def __init__(self, stream: TextIO):
        super().__init__()
        self._stream, self._num_lost = stream, 0

    def emit(self, record: logging.LogRecord) -> None:
        """Any thread; the base class lets in one at a time."""
        try:
            if self._num_lost and write_if_read(self._stream, f"({self._num_lost} lines were not read in time)\n"):
                self._num_lost = 0
            if self._num_lost or not write_if_read(self._stream, self.format(record) + "\n"):
                self._num_lost += 1
        except OSError:  # the reader has gone
            self._num_lost += 1
