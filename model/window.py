"""Which positions of a cache of fixed size are kept, and where it is cut: the bookkeeping of a stream, without tensors.

The prefix (the system prompt and everything up to the first frame, or to where it was pinned) is kept for ever. What
slides out is always a run from the end of one frame to the end of another, so that what remains is grammatical.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from model.errors import StreamError

EVICTED_FRACTION = 1 / 8
"""Share of the window that goes at once when it is full, so that eviction is rare."""


@dataclass
class Marks:
    """What a stream knows about the positions in its cache.

    kept: length of the prefix that is never evicted. frame_ends: positions right after each frame behind the
    prefix, where the cache may be cut. num_frames: frames observed since the stream began. pins_next_frame: the
    prefix will reach to the end of the next frame.
    """

    kept: int = 0
    frame_ends: list[int] = field(default_factory=list)
    num_frames: int = 0
    pins_next_frame: bool = True


class Cut(NamedTuple):
    """What is to go: the positions from the prefix's end to `stop`. is_all: that is all there is behind the prefix."""

    stop: int
    is_all: bool


class Window:
    """The window of one stream. capacity: positions of its cache."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.marks = capacity, Marks()

    def is_crowded(self, num_tokens: int) -> bool:
        """Whether so much was said before the first frame that the prefix, which must stay small, cannot hold it."""
        return not self.marks.kept and num_tokens > self.capacity // 2

    def pin(self, num_tokens: int) -> None:
        """Keep all up to the end of the next frame for ever. Raises StreamError if half of the window is in use."""
        if num_tokens > self.capacity // 2:
            raise StreamError(
                f"cannot keep {num_tokens} tokens of a window of {self.capacity}: pin earlier, or widen it"
            )
        self.marks.pins_next_frame = True

    def check_question(self, num_tokens: int) -> None:
        """Raises StreamError for questions that together would take more than an eighth of the window."""
        limit = self.capacity // 8
        if num_tokens > limit:
            raise StreamError(f"a question of {num_tokens} tokens: at most {limit} fit into this window; shorten it")

    def note_frame(self, end: int) -> None:
        """A frame was appended that ends at this position."""
        marks = self.marks
        marks.num_frames += 1
        if marks.pins_next_frame and (not marks.kept or end <= self.capacity // 2):
            marks.kept, marks.frame_ends = end, []
        else:
            marks.frame_ends.append(end)
        marks.pins_next_frame = False

    def cut(self, num_tokens: int, more: int) -> Cut | None:
        """What is to go so that `more` positions fit behind `num_tokens` in use; None if they fit as it is.

        They may not fit even then, where the prefix is too long.
        """
        free, kept, ends = self.capacity - num_tokens, self.marks.kept, self.marks.frame_ends
        if more <= free:
            return None
        wanted = max(more - free, int(self.capacity * EVICTED_FRACTION))
        for end in ends:
            if end - kept >= wanted:
                return Cut(end, is_all=False)
        if ends and more <= free + ends[-1] - kept:
            return Cut(ends[-1], is_all=False)
        return Cut(num_tokens, is_all=True)

    def note_cut(self, stop: int) -> int:
        """The positions from the prefix's end to `stop` are gone; gives how many those were."""
        count = stop - self.marks.kept
        self.marks.frame_ends = [end - count for end in self.marks.frame_ends if end > stop]
        return count
