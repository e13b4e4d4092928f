"""What is asked, answered and remarked: told to who asked and to subscribers, kept in the journal, said aloud."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from assistant.daemon.camera import Camera
from assistant.daemon.modes import ModesFile
from assistant.daemon.parts import Parts, Publish
from assistant.daemon.questions import MAX_CHARS, TOO_MANY, OpenQuestion, Questions, one_line
from assistant.daemon.sight import Sight
from assistant.daemon.silence import Silence, why_silent
from assistant.daemon.watching import Watching
from assistant.journal.memory import notes_of, recollect, told
from assistant.journal.thread import JournalThread
from assistant.journal.writer import JournalLine
from assistant.runtime.asker import Asker
from assistant.runtime.health import stale_after_s
from assistant.runtime.messages import Asked, Query, Seen, Status, Words
from assistant.runtime.states import State
from assistant.voice.lines import Sentence
from assistant.voice.phrases import Phrases
from assistant.voice.telling import Teller
from assistant.voice.thread import VoiceThread

if TYPE_CHECKING:
    from model.videolm import VideoLM

NOTHING_SEEN = "I have not seen anything yet."
STRANGE = "This does not look like the world I was trained in, so I keep silent."


@dataclass(frozen=True)
class Wanted:
    """A question that has come, for the main thread."""

    question: OpenQuestion
    text: str


class Conversation:
    """Owned by the main thread, but for `ask` and the figures.

    post: hands a question to the main thread; False where that has too much to do.
    """

    def __init__(
        self,
        watching: Watching,
        camera: Camera,
        parts: Parts,
        modes: ModesFile,
        voice: VoiceThread,
        journal: JournalThread | None,
        *,
        model: VideoLM,
        publish: Publish,
        post: Callable[[Wanted], bool],
    ):
        self._watching, self._camera, self._parts, self._modes = watching, camera, parts, modes
        self._voice, self._journal, self._model = voice, journal, model
        self._teller = Teller(voice.say, lambda: modes.now.muted)
        self._publish, self._post = publish, post
        self.questions, self._sight = Questions(), Sight()
        self.num_remarks = 0
        self.latest = ""  # what was said last
        self.silence = Silence("", "")  # as of the latest `explain_silence`
        self._seen: Seen | None = None  # the last frame that was looked at
        self._time_s = 0.0  # of it, in the stream
        self._unsaid = ""  # of what was told, for the next question
        self._texts: dict[int, str] = {}  # of replies that are being written, by their number

    # ---- any thread ------------------------------------------------------------------------------------------

    def ask(self, text: str, asker: Asker) -> None:
        """Answered when the mind has come to it."""
        text = one_line(text)
        if not text:
            asker.error("invalid", "there is no question", "", 2)
            return
        if len(text) > MAX_CHARS:
            why = f"the question has {len(text):,} characters, at most {MAX_CHARS:,} can be asked"
            asker.error("invalid", why, "shorten it", 2)
            return
        if self._watching.pipeline is None:
            mind = self._parts["mind"]
            why = f"nothing is looked at just now: {mind.detail or f'the mind is {mind.state}'}"
            asker.error("busy", why, "ask again in a while; `onlooker status` says more", 3)
            return
        question = self.questions.open(asker)
        if question is not None and not self._post(Wanted(question, text)):
            self.questions.refuse(question, *TOO_MANY)

    def have_said(self, text: str, asker: Asker) -> None:
        """Said aloud in its turn, and answered at once."""
        text, voice = one_line(text), self._voice.part()
        if len(text) > MAX_CHARS:
            asker.error("invalid", f"{len(text):,} characters are too many, at most {MAX_CHARS:,} are said", "", 2)
        elif self._modes.now.muted:
            asker.error("failed", "nothing is said: it is muted", "`onlooker unmute`", 3)
        elif voice.state in (State.OFF, State.FAILED):
            why = f"the voice is {voice.state}" + (f" ({voice.detail})" if voice.detail else "")
            asker.error("failed", f"nothing is said: {why}", "see `onlooker doctor`", 3)
        else:
            self.say(text)
            asker.done()

    @property
    def is_strange(self) -> bool:
        """Whether what was seen last does not look like the world that the model was trained in."""
        return self._seen is not None and self._seen.is_strange

    # ---- the main thread -------------------------------------------------------------------------------------

    def begin_anew(self, why: str) -> None:
        """There is another stream, which has seen nothing yet: what was open in the last one is answered with `why`."""
        self._seen = None
        self._texts.clear()
        self._unsaid = ""
        self._teller.forget()
        self._sight.note_capture(State.OPENING, "", time.time(), time.monotonic())
        self.questions.fail(why)

    def hush(self, unsaid: list[str]) -> None:
        """What is being answered is not said any more. unsaid: what the voice had before it, and the first of it
        perhaps not to its end: that is marked as unheard.
        """
        self._teller.hush()
        self._unsaid = " ".join(unsaid)
        if self._unsaid:
            self._publish("unsaid", {"text": self._unsaid, "time_s": self._time_s})
            self._remember("unsaid", self._unsaid, self._time_s)

    def say(self, text: str) -> None:
        """What is no answer of the model's, phrase by phrase. Any thread."""
        phrases = Phrases()
        for phrase in filter(None, [*phrases.add(text), phrases.rest()] if not self._modes.now.muted else []):
            self._voice.say(Sentence(phrase, self._time_s, is_answer=True))

    def note_seen(self, seen: Seen) -> None:
        """A frame was looked at."""
        self._sight.note_frame(seen.captured_s)
        self._time_s = seen.time_s
        if seen.is_strange and not self.is_strange and not self._modes.now.muted:
            self._voice.say(Sentence(STRANGE, seen.time_s))
        self._seen = seen

    def note_capture(self, status: Status) -> None:
        """The camera has something to say of itself."""
        if status.state != State.WARNING:
            since_s = time.monotonic() - status.at_s
            self._sight.note_capture(status.state, status.detail, time.time() - since_s, status.at_s)

    def note_asked(self, asked: Asked) -> None:
        """The mind has put a question to the model."""
        self._note_question(asked.query.text, asked.time_s, asked.query.id)

    def pass_on(self, wanted: Wanted) -> None:
        """To the mind, with what the journal knows of it; or answer from that, where the mind could not read it.

        What was seen last is not what is there now: while nothing is seen, that is said.
        """
        question, text = wanted.question, wanted.text
        if question.number not in self.questions:
            return
        pipeline, now_s, found = self._watching.pipeline, time.time(), []
        why_blind = self._why_blind(now_s)
        if self._journal is not None and self._journal.is_on:
            seen_s = 0.0 if why_blind or pipeline is None else pipeline.seen_s
            found = recollect(self._journal.path, text, now_s, now_s - seen_s)
        if (found and not self._model.reads_notes) or why_blind or pipeline is None:
            self._note_question(text, self._time_s, question.number)
            self._answer(question, told(found, now_s) if found else why_blind or NOTHING_SEEN)
            return
        unsaid, self._unsaid = self._unsaid, ""
        unheard = (f'I was interrupted before I had said all of this: "{unsaid}"',) if unsaid else ()
        notes = (*notes_of(found, now_s), *unheard) if self._model.reads_notes else ()
        query = Query(text, 0.0, question.number, question.cancelled, notes)
        if not pipeline.questions.put_wait(query, timeout_s=0):
            self.questions.refuse(question, *TOO_MANY)

    def hear(self, words: Words) -> None:
        """A piece of a reply."""
        if words.query_id is None or words.query_id in self.questions or words.final:
            self._teller.hear(words)
        text = self._texts.get(words.reply_id, "") + words.text
        if words.final:
            self._texts.pop(words.reply_id, None)
            text = text.strip()
        else:
            self._texts[words.reply_id] = text
        if words.query_id is None:
            if words.final and text and not words.unheard:
                self.num_remarks += 1
                self._make_known("remark", text, words)
            return
        question = self.questions.get(words.query_id)
        if words.final:
            self.questions.close(words.query_id)
        if question is None:
            return
        if words.text:
            question.asker.words(words.text)
        if words.final:
            if words.cut and not text:
                code, exit_code = ("invalid", 2) if words.why else ("failed", 1)
                question.asker.error(code, words.why or "the question was not answered", "", exit_code)
            else:
                question.asker.done({"text": text, "time_s": words.time_s, "cut": words.cut})
                self._make_known("answer", text, words)

    def explain_silence(self) -> None:
        """Note why nothing is said just now, and make it known when that is another reason."""
        before, self.silence = self.silence, self._why_silent()
        if self.silence.reason not in ("", before.reason):
            self._publish("silence", asdict(self.silence))

    def _why_silent(self) -> Silence:
        return why_silent(
            self._seen,
            self._parts["mind"],
            is_paused=self._modes.now.paused,
            is_asleep=self._camera.is_asleep,
            is_muted=self._modes.now.muted,
            is_quiet=self._voice.is_quiet,
            why_blind=self._why_blind(time.time()),
        )

    def _why_blind(self, now_unix_s: float) -> str:
        now_s, capture = time.monotonic(), self._parts["capture"]
        if self._camera.is_to_be_closed:  # it is about to say so itself
            self._sight.note_capture(State.PAUSED, "", now_unix_s, now_s)
        idle_s = now_s - (capture.worked_at_s or now_s) if capture.state == State.READY else 0.0
        is_idle = idle_s > stale_after_s(1 / self._watching.config.stream.fps)
        return self._sight.why_blind(datetime.fromtimestamp(now_unix_s), idle_s if is_idle else 0.0)

    def _answer(self, question: OpenQuestion, text: str) -> None:
        """Without the mind."""
        self.questions.close(question.number)
        question.asker.words(text)
        question.asker.done({"text": text, "time_s": self._time_s, "cut": False})
        self._make_known("answer", text, Words(0, "", True, self._time_s, question.number, None, 0.0))
        self.say(text)

    def _note_question(self, text: str, time_s: float, number: int) -> None:
        self._publish("query", {"text": text, "time_s": time_s})
        self._remember("query", text, time_s, query_id=number)

    def _make_known(self, kind: str, text: str, words: Words) -> None:
        self.latest = text
        about = {"reminds": words.reminds} if words.reminds else {}
        self._publish(kind, {"text": text, "time_s": words.time_s, "latency_s": words.latency_s, **about})
        self._remember(kind, text, words.time_s, query_id=words.query_id, silence_prob=words.silence_prob)

    def _remember(self, kind: str, text: str, time_s: float, **about: Any) -> None:
        if self._journal is not None and not self._modes.now.private:
            pipeline = self._watching.pipeline
            picture = pipeline.thumbnails.at(time_s) if pipeline else None
            shown = self._watching.source.shown
            self._journal.keep(JournalLine(kind, time.time(), time_s, shown, text, thumbnail=picture, **about))
