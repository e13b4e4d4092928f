"""Replies to sentences: an answer is said phrase by phrase while it is written, a remark when it is whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from assistant.runtime.messages import Words
from assistant.voice.lines import Sentence
from assistant.voice.phrases import Phrases


class Teller:
    """Use: `hear` every piece of every reply, by one thread.

    say: gets what is to be said. is_muted: an answer that was muted once is not taken up again in its middle.
    """

    def __init__(self, say: Callable[[Sentence], object], is_muted: Callable[[], bool] = lambda: False):
        self._say, self._is_muted = say, is_muted
        self._replies: dict[int, _Reply] = {}  # that are being written, by their number

    def hear(self, words: Words) -> None:
        """A piece of a reply. What was broken off is not said to its end, a repeated remark not at all."""
        reply = self._replies.setdefault(words.reply_id, _Reply())
        reply.is_hushed |= self._is_muted()
        reply.text += words.text
        is_answer, is_whole = words.query_id is not None, words.final and not (words.cut or words.unheard)
        said = reply.phrases.add(words.text) if is_answer else []
        if is_whole:
            said.append(reply.phrases.rest() if is_answer else reply.text.strip())
        if words.final:
            del self._replies[words.reply_id]
        for text in filter(None, said if not reply.is_hushed else []):
            self._say(Sentence(text, words.time_s, is_answer or bool(words.reminds)))

    def hush(self) -> None:
        """What is being written is not to be said any more."""
        for reply in self._replies.values():
            reply.is_hushed = True

    def forget(self) -> None:
        """What is being written will not be finished."""
        self._replies.clear()


@dataclass
class _Reply:
    """One that is being written."""

    text: str = ""
    phrases: Phrases = field(default_factory=Phrases)
    is_hushed: bool = False
