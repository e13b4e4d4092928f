"""A stream that sums up: instead of sliding, its window begins anew from what the model says was done so far.

Once the window is nearly full, the model is asked for it, as ProAssist (EMNLP 2025) does. The question and its
answer stay, right behind the prefix, and all before them goes; the next summary is written in sight of the last one.
"""

import logging
from collections.abc import Callable

from torch import Tensor

from model.engine import MAX_FRAMES_PER_PASS, Engine
from model.grammar import Cursor, Grammar
from model.stream import Decision, Stream, StreamOptions, speaks

log = logging.getLogger("onlooker.stream")

QUESTION = "What have I done so far?"


def make_stream(engine: Engine, grammar: Grammar, options: StreamOptions) -> Stream:
    """A fresh stream of the kind that `options.when_full` names. Raises StreamError for a window that is too small."""
    return (SummarizingStream if options.when_full == "summary" else Stream)(engine, grammar, options)


class SummarizingStream(Stream):
    """summary: what the window began with the last time; empty before the first, and after the stream was loaded.

    A summary is written between frames, and takes as long as any reply. A model that has nothing to say to the question
    is not asked again: the window then slides, as any other.
    """

    def __init__(self, engine: Engine, grammar: Grammar, options: StreamOptions) -> None:
        super().__init__(engine, grammar, options)
        self.summary, self._declines = "", False
        step = len(grammar.before_frame(Cursor("frame"))) + grammar.spec.num_frame_tokens
        asked = Cursor("frame", questions=(QUESTION,))
        shown = len(grammar.before_frame(asked)) + grammar.spec.num_frame_tokens + len(grammar.before_decision)
        self._turn_tokens = shown + len(grammar.before_reply(asked)) + options.max_reply_tokens + 1
        # Frames and a remark later it must still have room, or the window slides; in a small window that may happen.
        wanted = self._turn_tokens + MAX_FRAMES_PER_PASS * step + options.max_reply_tokens
        self._reserve = min(wanted, options.window_tokens // 2)

    def observe_many(self, frame_tokens_KND: Tensor, stops_at: Callable[[Decision], bool] = speaks) -> list[Decision]:
        """As `Stream.observe_many`; a summary comes first if it is due."""
        if self._is_due():
            self._sum_up()
        return super().observe_many(frame_tokens_KND, stops_at)

    def _is_due(self) -> bool:
        """Only right behind a frame: what was begun and what is asked is to be said first."""
        is_between = self.cursor == Cursor("frame", opening_id=self.cursor.opening_id)
        is_nearly_full = self._turn_tokens <= self.cache.free < self._reserve
        return not self._declines and is_between and is_nearly_full and self.num_frames_kept > 0

    def _sum_up(self) -> None:
        start, cursor, marks = self.num_tokens, self.cursor, self.marks()
        self.ask(QUESTION)
        summary = "".join(self.reply()).strip()
        if not summary:
            self._declines = True
            self.cache.rollback(start)
            self.cursor, self._window.marks = cursor, marks
            log.warning("the model has no answer to %r: the window slides", QUESTION)
            return
        self.summary = summary
        self._evict(start)
        log.debug("begun anew from: %s", summary)
