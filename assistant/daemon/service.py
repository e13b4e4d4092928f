"""The daemon's heart: one live source watched without end, remarks made and questions answered, for whoever asks.

`Service.run` is the main thread: it starts the parts, hears their events, restarts what fails, and ends all in reverse
order. What other threads may call says so; it sets flags, puts questions into a mailbox, and reads.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from assistant.capture.source import Source, source_of
from assistant.capture.worker import turn_of
from assistant.config.keys import Config, PrivacySection, StreamSection
from assistant.config.reload import ConfigFile, changes, waits_for_a_start
from assistant.control.reply import Reply
from assistant.daemon.modes import ModesFile
from assistant.daemon.questions import MAX_CHARS, TOO_MANY, Question, Questions, one_line
from assistant.daemon.sight import Sight
from assistant.errors import ConfigError, DeviceMissing, WorkerFailed
from assistant.journal.memory import notes_of, recollect, told
from assistant.journal.thread import JournalThread
from assistant.journal.writer import Line as JournalLine
from assistant.machine.systemd import Notifier
from assistant.mind.encoder import FrameSkip
from assistant.mind.loop import Pacing
from assistant.mind.pipeline import Pipeline
from assistant.runtime.faults import Fault, ProcessSpoilt, fault_of
from assistant.runtime.health import Health, Part, stale_after_s
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.messages import Asked, Event, Query, Seen, Status, Words
from assistant.runtime.threads import stuck_message
from assistant.voice.speaker import Line
from assistant.voice.thread import OpenVoice, VoiceThread
from model.errors import OnlookerError

if TYPE_CHECKING:
    from model.stream import Stream
    from model.videolm import VideoLM

NUM_EVENTS_QUEUED = 256
NUM_RELOADS_QUEUED = 16
NUM_PAUSES_QUEUED = 64
TICK_S = 0.2
HANG_S = 120.0
"""With frames waiting and none looked at for so long, the mind is taken for hung. Kernels compile in less."""

SLEEP_S = 3.0
PAUSE_S = 4.0
"""So long a pause may take to close the camera before the user is told that it is still open."""

MEND_EVERY_S, ZONE_EVERY_S = 5.0, 30.0
NOTHING_SEEN = "I have not seen anything yet."
MAX_RESTARTS, RESTART_WINDOW_S = 5, 60.0
REST_S = 60.0
"""A mind that fails however often it is started again is left alone for so long, with the camera closed."""

log = logging.getLogger("onlooker.service")


@dataclass(frozen=True)
class _Wanted:
    """A question that has come, for the main thread."""

    question: Question
    text: str


@dataclass(frozen=True)
class _Muted:
    """Silence is wanted at once."""


@dataclass(frozen=True)
class _Paused:
    """A pause is to be answered once the camera is closed. until_s: or when that has lasted too long."""

    reply: Reply
    until_s: float


Request = _Wanted | _Muted


class Service:
    """One run without end.

    open_stream: a fresh stream of the model. publish: tells subscribers (kind, facts); any thread, never waits. check:
    called often by the main thread; raises what is to end the run. config_file: None where no edit is to take effect.
    """

    def __init__(
        self,
        source: Source,
        config: Config,
        model: VideoLM,
        open_stream: Callable[[StreamSection], Stream],
        *,
        publish: Callable[[str, Mapping[str, Any]], None],
        pacing: Pacing | None = None,
        open_voice: OpenVoice = lambda _, __: None,
        journal: JournalThread | None = None,
        modes: ModesFile | None = None,
        config_file: ConfigFile | None = None,
        notifier: Notifier | None = None,
        check: Callable[[], None] = lambda: None,
    ):
        self._source, self._config, self._model = source, config, model
        self._open_stream, self._publish, self._pacing = open_stream, publish, pacing or Pacing()
        self._voice, self.journal, self._modes = VoiceThread(open_voice), journal, modes or ModesFile(None)
        self._config_file, self._check = config_file, check
        self._reloads: Mailbox[Reply] = Mailbox(NUM_RELOADS_QUEUED, name="reloads")
        self._pauses = Mailbox[_Paused](NUM_PAUSES_QUEUED, name="pauses")
        self._notifier, self._fed_s = notifier or Notifier({}), 0.0
        self._events = Mailbox[Event | Request](NUM_EVENTS_QUEUED, name="events")
        self._stop = threading.Event()
        self._questions = Questions()
        self._parts = Health("capture", "encoder", "mind", "voice", "journal", "config", "metrics")
        self._parts["metrics"] = Part("off")
        if model.device.type == "cuda":
            self._parts["gpu"] = Part("ours")
        self._pipeline: Pipeline | None = None
        self._frame_skip = FrameSkip()
        self._started_s = time.monotonic()
        self._restarts_s: deque[float] = deque(maxlen=MAX_RESTARTS)
        self._rests_until_s = 0.0
        self._reduced = ""  # what it does without, on a GPU that is too small
        self._num_restarts = 0
        self._num_seen = self._num_remarks = self._num_dropped_before = 0
        self._is_asleep, self._modes_lock = False, threading.Lock()
        self._is_ending = False  # a pipeline is, whose camera may still be open
        self._latency_s: float | None = None
        self._time_s = 0.0  # in the stream, of the last frame that was looked at
        self._texts: dict[int, str] = {}  # of replies that are being written, by their number
        self._sight, self._mended_s, self._zone_s = Sight(), 0.0, 0.0
        self._file_config = self._started_with = config  # as it stands in the file: now, and when this process began

    # ---- the main thread -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Watch until `stop_soon`. Raises WorkerFailed when a part does not stop, ProcessSpoilt if only a new process
        can go on, and what keeps it from being started."""
        is_spoilt = False
        try:
            self._voice.start(self._config.voice)
            self._start_journal(self._config.privacy)
            self._tell("config", "failed" if self._modes.trouble else "in effect", self._modes.trouble)
            self._start_pipeline()
            self._notifier.ready(f"watching {self._source.shown}")
            while not self._stop.is_set():
                event = self._events.take(timeout_s=TICK_S)
                if event is not None:
                    self._hear(event)
                self._look_after()
                self._mend()
                self._check()
                self._reconfigure()
        except ProcessSpoilt:
            is_spoilt = True
            raise
        finally:
            if is_spoilt:
                self._notifier.beginning_anew()
            elif self._stop.is_set():
                self._notifier.stopping()
            stuck = self._end_pipeline("the daemon is being stopped") + self._voice.close()
            if self.journal is not None:
                self.journal.close()
        if stuck:
            raise WorkerFailed(stuck_message(stuck))

    def stop_soon(self) -> None:
        """End `run`; any thread, signal handlers too."""
        self._stop.set()

    def _start_pipeline(self) -> None:
        """With half the window, and half of that, where the GPU has no room for all of it."""
        from assistant.mind.opening import no_room

        while True:
            try:
                stream = self._open_stream(self._config.stream)
                break
            except Exception as error:
                fault = fault_of(error)
                if fault == "gpu":
                    raise ProcessSpoilt(str(error)) from error
                if fault != "memory":
                    raise
                if not self._halve():
                    raise no_room(str(self._model.device)) from error
                self._tell("mind", "starting", self._reduced)
            self._free()
            self._check()
            if self._stop.is_set():
                return
        pipeline = Pipeline(
            self._source, self._config, self._model, stream, self._report, self._pacing, self._frame_skip
        )
        for name in ("capture", "encoder", "mind"):
            self._parts[name] = Part(detail=self._reduced if name == "mind" else "")
        self._pipeline = pipeline
        self._follow_modes()  # after it can be seen, so that no pause is lost
        self._switch_pictures()
        pipeline.start()

    def _start_pipeline_again(self) -> None:
        try:
            self._start_pipeline()
        except DeviceMissing as error:  # a new process may wait until there is room
            raise ProcessSpoilt(str(error)) from error

    def _end_pipeline(self, why: str) -> list[str]:
        self._is_ending = True
        pipeline, self._pipeline = self._pipeline, None
        if pipeline:
            self._num_dropped_before += pipeline.num_dropped
        stuck = pipeline.stop() if pipeline else []
        self._is_ending = bool(stuck)
        for event in self._events.take_many(NUM_EVENTS_QUEUED, timeout_s=0):
            if isinstance(event, Status):  # all else is of a stream that is no more
                self._hear(event)
        self._texts.clear()
        self._sight.note_capture("opening", "", time.time(), time.monotonic())  # the next one has seen nothing yet
        self._questions.fail(why)
        return stuck

    def _look_after(self) -> None:
        """Note who works, and end what nobody waits for."""
        self._feed_watchdog()
        self._mend_helpers()
        self._note_voice()
        self._note_time_zone()
        self._answer_pauses()
        self._questions.give_up_cancelled()
        pipeline = self._pipeline
        if pipeline is None:
            if time.monotonic() > self._rests_until_s:
                self._start_pipeline_again()
            return
        pipeline.look(self._parts["mind"].worked_at_s)
        for name, at_s in pipeline.worked_at_s.items():
            self._parts[name].worked_at_s = at_s or None
        if pipeline.hangs(HANG_S):
            raise ProcessSpoilt(f"the mind hangs: frames wait, and none was looked at for {HANG_S:.0f} s")

    def _mend_helpers(self) -> None:
        """Start the voice's and the journal's threads again, should one have died."""
        now_s = time.monotonic()
        if now_s - self._mended_s < MEND_EVERY_S:
            return
        self._mended_s = now_s
        with contextlib.suppress(OnlookerError):  # it is tried again
            if self._voice.mend():
                log.error("the voice's thread had died; it was started again")
        self._mend_journal()

    def _mend_journal(self) -> None:
        journal = self.journal
        if journal is None or not self._config.privacy.journal or (journal.is_on and not journal.has_died):
            return
        told = self._parts["journal"].detail
        try:
            self._start_journal(self._config.privacy)
        except OnlookerError as error:
            if str(error) == told:  # once for as long as it lasts
                self._parts["journal"] = Part("failed", told)
            else:
                self._tell("journal", "failed", str(error))
        else:
            self._tell("journal", "on", "its thread had died; it was started again")

    def _note_time_zone(self) -> None:
        """Who travels keeps the quiet hours of the place, and reads its times in the log."""
        now_s = time.monotonic()
        if now_s - self._zone_s > ZONE_EVERY_S:
            self._zone_s = now_s
            if hasattr(time, "tzset"):
                time.tzset()

    def _answer_pauses(self) -> None:
        now_s = time.monotonic()
        for pause in self._pauses.take_many(NUM_PAUSES_QUEUED, timeout_s=0):
            if self._is_camera_closed:
                pause.reply.done()
            elif not self._modes.now.paused:
                pause.reply.error("failed", "it was resumed before the camera was closed", "", 1)
            elif now_s > pause.until_s:
                pause.reply.error("failed", "the camera is still open: its driver hangs", "see `onlooker status`", 1)
            else:
                self._pauses.put(pause)

    def _note_voice(self) -> None:
        """Whether it speaks is for who asks; that nobody hears it any more, or again, is told."""
        before, now = self._parts["voice"], self._voice.part()
        self._parts["voice"] = now
        if before.state != now.state and "failed" in (before.state, now.state):
            self._tell("voice", now.state, now.detail)

    def _reconfigure(self) -> None:
        """Take over what was edited, and answer those who asked for it."""
        if self._config_file is None:
            return
        asked = self._reloads.take_many(NUM_RELOADS_QUEUED, timeout_s=0)
        try:
            config = self._config_file.poll(now=bool(asked))
            if config is None:
                return
            changed = changes(self._file_config, config)
            self._apply(config, changed)
            self._file_config = config
        except WorkerFailed:
            raise
        except OnlookerError as error:  # a mistake of the user's
            waiting = self._waiting_keys()
            self._tell("config", "failed", f"{error}; {_waits(waiting)}" if waiting else str(error))
            for reply in asked:
                reply.error("failed", str(error), "the old values stay in effect", error.exit_code)
            return
        waiting = self._waiting_keys()
        self._tell("config", "in effect", _waits(waiting))
        for reply in asked:
            reply.done({"changed": sorted(changed), "at_next_start": waiting})

    def _waiting_keys(self) -> list[str]:
        return waits_for_a_start(changes(self._started_with, self._file_config))

    def _apply(self, config: Config, changed: Mapping[str, object]) -> None:
        """What can be wrong with it comes first, so that after an OnlookerError the old values still hold."""
        from assistant.mind.opening import check_stream

        is_elsewhere = any(key.startswith(("capture.source", "capture.tls", "sources.")) for key in changed)
        source = source_of(config.capture, config.sources) if is_elsewhere else self._source
        if self._reduced and "stream.window_tokens" not in changed:  # the GPU has no more room than before
            reduced = {"window_tokens": self._config.stream.window_tokens}
            config = config.model_copy(update={"stream": config.stream.model_copy(update=reduced)})
        check_stream(self._model, config.stream)
        is_voice, is_privacy = (any(key.startswith(name) for key in changed) for name in ("voice.", "privacy."))
        if is_voice:
            self._voice.swap(config.voice)
        if is_privacy:
            try:
                self._start_journal(config.privacy)
            except OnlookerError:
                with contextlib.suppress(OnlookerError):
                    self._start_journal(self._config.privacy)
                if is_voice:
                    self._voice.swap(self._config.voice)
                raise
        self._source, self._config = source, config
        if "stream.window_tokens" in changed:
            self._reduced = ""
        self._pacing.update(config)
        self._switch_pictures()
        if changed.keys() & {"stream.window_tokens", "stream.max_reply_tokens", "stream.fps"}:
            stuck = self._end_pipeline("the configuration was changed")
            if stuck:
                raise ProcessSpoilt(f"after an edit of the configuration these threads hang: {', '.join(stuck)}")
            self._free()
            self._start_pipeline_again()
        elif self._pipeline is not None and any(key.startswith(("capture.", "sources.")) for key in changed):
            self._pipeline.keeper.change(
                source,
                fps=config.stream.fps,
                timeout_s=config.capture.timeout_s,
                turn=turn_of(config.capture),
            )

    def _switch_pictures(self) -> None:
        """Any thread."""
        pipeline, privacy = self._pipeline, self._config.privacy
        if pipeline is not None:
            is_on = privacy.journal and privacy.thumbnails and not self._modes.now.private
            pipeline.thumbnails.switch(is_on=is_on)

    def _feed_watchdog(self) -> None:
        now_s = time.monotonic()
        if self._notifier.watchdog_s is not None and now_s - self._fed_s > self._notifier.watchdog_s:
            self._fed_s = now_s
            self._notifier.alive()

    def _mend(self) -> None:
        """Start again what failed. The failure itself is let go first: its frames hold the stream, and its memory."""
        failure = self._pipeline.failure if self._pipeline else None
        if failure is None:
            return
        log.error("%s", failure, exc_info=failure)
        text, fault = str(failure), fault_of(failure)
        del failure
        self._restart(text, fault)

    def _restart(self, failure: str, fault: Fault) -> None:
        if fault == "gpu":
            raise ProcessSpoilt(failure)
        now_s = time.monotonic()
        rests = len(self._restarts_s) == MAX_RESTARTS and now_s - self._restarts_s[0] < RESTART_WINDOW_S
        self._restarts_s.append(now_s)
        self._num_restarts += 1
        is_smaller = fault == "memory" and self._halve()
        how = self._reduced if is_smaller else "as it was"
        if rests:
            how += f", in {REST_S:.0f} s: {MAX_RESTARTS} times within {RESTART_WINDOW_S:.0f} s did not help"
        self._tell("mind", "failed", f"{failure}; it is started again {how}")
        stuck = self._end_pipeline(failure)
        if stuck:
            raise ProcessSpoilt(f"{failure}, and these threads hang: {', '.join(stuck)}")
        self._free()
        if rests:
            self._restarts_s.clear()
            self._parts["capture"], self._parts["encoder"] = Part("closed"), Part("closed")
        self._rests_until_s = now_s + (REST_S if rests else min(2.0, 0.25 * len(self._restarts_s)))

    def _halve(self) -> bool:
        """Go on with half the window; False if that is too small. An edit of the file brings the whole one back."""
        from assistant.mind.opening import check_stream

        stream = self._config.stream
        half = stream.model_copy(update={"window_tokens": stream.window_tokens // 2})
        try:
            check_stream(self._model, half)
        except ConfigError:
            return False
        self._reduced = f"with {half.window_tokens} tokens: the GPU has no room for {stream.window_tokens}"
        self._config = self._config.model_copy(update={"stream": half})
        return True

    def _free(self) -> None:
        """What the last stream held, on the GPU too."""
        import torch

        gc.collect()
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()

    def _hear(self, event: Event | Request) -> None:
        if isinstance(event, Seen | Words):
            self._parts["mind"].worked_at_s = time.monotonic()
        match event:
            case Seen():
                self._num_seen += 1
                self._sight.note_frame(event.captured_s)
                self._latency_s, self._time_s = event.latency_s, event.time_s
                for name in ("encoder", "mind"):
                    self._parts[name].state = "ready"
            case Status():
                self._tell(event.part, event.state, event.detail, event.at_s)
            case Words():
                self._hear_words(event)
            case _Wanted():
                self._pass_on(event.question, event.text)
            case _Muted():
                self._voice.cut()
            case Asked():
                self._publish("query", {"text": event.query.text, "time_s": event.time_s})
                self._remember("query", event.query.text, event.time_s, query_id=event.query.id)
            case _:
                pass

    def _pass_on(self, question: Question, text: str) -> None:
        """To the mind, with what the journal knows of it; or answer from that, where the mind could not read it.

        What was seen last is not what is there now: while nothing is seen, that is said.
        """
        if question.number not in self._questions:
            return
        pipeline, now_s, found = self._pipeline, time.time(), []
        why_blind = self._why_blind(now_s)
        if self.journal is not None and self.journal.is_on:
            seen_s = 0.0 if why_blind or pipeline is None else pipeline.seen_s
            found = recollect(self.journal.path, text, now_s, now_s - seen_s)
        if (found and not self._model.reads_notes) or why_blind or pipeline is None:
            self._publish("query", {"text": text, "time_s": self._time_s})
            self._remember("query", text, self._time_s, query_id=question.number)
            self._answer(question, told(found, now_s) if found else why_blind or NOTHING_SEEN)
            return
        query = Query(text, 0.0, question.number, question.cancelled, notes_of(found, now_s))
        if not pipeline.questions.put_wait(query, timeout_s=0):
            self._questions.refuse(question, *TOO_MANY)

    def _why_blind(self, now_unix_s: float) -> str:
        now_s, capture = time.monotonic(), self._parts["capture"]
        if self._modes.now.paused or self._is_asleep:  # the camera is about to say so itself
            self._sight.note_capture("paused", "", now_unix_s, now_s)
        idle_s = now_s - (capture.worked_at_s or now_s) if capture.state == "ready" else 0.0
        is_idle = idle_s > stale_after_s(1 / self._config.stream.fps)
        return self._sight.why_blind(datetime.fromtimestamp(now_unix_s), idle_s if is_idle else 0.0)

    def _answer(self, question: Question, text: str) -> None:
        """Without the mind."""
        self._questions.close(question.number)
        question.reply.words(text)
        question.reply.done({"text": text, "time_s": self._time_s, "cut": False})
        self._make_known("answer", text, Words(0, "", True, self._time_s, question.number, None, 0.0))

    def _hear_words(self, words: Words) -> None:
        text = self._texts.get(words.reply_id, "") + words.text
        if words.final:
            self._texts.pop(words.reply_id, None)
            text = text.strip()
        else:
            self._texts[words.reply_id] = text
        if words.query_id is None:
            if words.final and text and not words.unheard:
                self._num_remarks += 1
                self._make_known("remark", text, words)
            return
        question = self._questions.get(words.query_id)
        if words.final:
            self._questions.close(words.query_id)
        if question is None:
            return
        if words.text:
            question.reply.words(words.text)
        if words.final:
            if words.cut and not text:
                question.reply.error("failed", words.why or "the question was not answered", "", 1)
            else:
                question.reply.done({"text": text, "time_s": words.time_s, "cut": words.cut})
                self._make_known("answer", text, words)

    def _make_known(self, kind: str, text: str, words: Words) -> None:
        self._publish(kind, {"text": text, "time_s": words.time_s, "latency_s": words.latency_s})
        self._remember(kind, text, words.time_s, query_id=words.query_id, silence_prob=words.silence_prob)
        if not (self._modes.now.muted or words.cut):
            self._voice.say(Line(text, words.time_s))

    def _remember(self, kind: str, text: str, time_s: float, **about: Any) -> None:
        if self.journal is not None and not self._modes.now.private:
            picture = self._pipeline.thumbnails.at(time_s) if self._pipeline else None
            self.journal.keep(
                JournalLine(kind, time.time(), time_s, self._source.shown, text, thumbnail=picture, **about)
            )

    def _tell(self, part: str, state: str, detail: str, at_s: float | None = None) -> None:
        """at_s: since when it is so, if not since now; monotonic."""
        if part == "capture" and state != "warning":
            now_s = time.monotonic()
            at_s = now_s if at_s is None else at_s
            self._sight.note_capture(state, detail, time.time() - (now_s - at_s), at_s)
        if state != "warning":
            self._parts[part].state, self._parts[part].detail = state, detail
        level = logging.WARNING if state in ("warning", "lost", "failed") else logging.INFO
        log.log(level, "%s: %s %s", part, state, detail)
        self._publish("status", {"part": part, "state": state, "detail": detail})

    def _report(self, event: Event) -> bool:
        """For the pipeline's threads: waits for room, but not while they are being ended."""
        while self._pipeline is not None and not self._stop.is_set():
            if self._events.put_wait(event, timeout_s=0.1):
                return True
        return False

    def _start_journal(self, section: PrivacySection) -> None:
        try:
            if self.journal is not None:
                self.journal.apply(section)
        finally:
            self._parts["journal"] = Part("on" if self.journal and self.journal.is_on else "off")

    # ---- sleep: the thread that hears of it ------------------------------------------------------------------

    def before_sleep(self) -> None:
        """Let the camera go, and wait until it is, for SLEEP_S at most."""
        self._is_asleep = True
        until_s = time.monotonic() + SLEEP_S
        while time.monotonic() < until_s:
            self._follow_modes()
            if self._is_camera_closed or self._stop.wait(0.05):
                return

    def after_sleep(self) -> None:
        """Take it again, unless the user had closed it."""
        self._is_asleep = False
        self._follow_modes()

    # ---- the GPU: the thread that watches it -------------------------------------------------------------------

    def busy_s(self) -> float:
        """For how long encoder and mind have worked, together. Any thread."""
        pipeline = self._pipeline
        return 2 * time.monotonic() - (pipeline.waited_s if pipeline else 0.0)

    def share_gpu(self, is_needed: bool, share: float) -> None:
        """Others need the GPU now, or no longer. share: of the time that they use it, 0–1."""
        self._frame_skip.is_on = is_needed
        looked_at = f"one frame in {self._frame_skip.keeps_one_in} is looked at"
        detail = f"other programs use it {share:.0%} of the time: {looked_at}" if is_needed else ""
        self._events.put_wait(Status("gpu", "shared" if is_needed else "ours", detail, time.monotonic()), timeout_s=1)

    # ---- requests: any thread --------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """All that `status` says."""
        pipeline = self._pipeline
        return {
            "source": self._source.shown,
            "model": self._model.name,
            "device": str(self._model.device),
            "engine": self._model.engine.kind,
            "window_tokens": self._config.stream.window_tokens,
            "full_speed": pipeline is not None and pipeline.is_prepared,
            "up_s": round(time.monotonic() - self._started_s, 1),
            "paused": self._modes.now.paused,
            "private": self._modes.now.private,
            "journal": self.journal is not None and self.journal.is_on,
            "muted": self._modes.now.muted or self._parts["voice"].state == "off",
            "parts": self._parts.facts(self._frame_skip.keeps_one_in / self._config.stream.fps),
            "frames": self._num_seen,
            "dropped": self._num_dropped_before + (pipeline.num_dropped if pipeline else 0),
            "remarks": self._num_remarks,
            "latency_s": None if self._latency_s is None else round(self._latency_s, 3),
            "questions_open": len(self._questions),
            "restarts": self._num_restarts,
        }

    def ask(self, text: str, reply: Reply) -> None:
        """Answered when the mind has come to it."""
        text = one_line(text)
        if not text:
            reply.error("invalid", "there is no question", "", 2)
            return
        if len(text) > MAX_CHARS:
            why = f"the question has {len(text):,} characters, at most {MAX_CHARS:,} can be asked"
            reply.error("invalid", why, "shorten it", 2)
            return
        if self._pipeline is None:
            mind = self._parts["mind"]
            why = f"the model is being started ({mind.state}{': ' if mind.detail else ''}{mind.detail})"
            reply.error("busy", why, "ask again in a while; `onlooker status` says more", 3)
            return
        question = self._questions.open(reply)
        if question is not None and not self._events.put_wait(_Wanted(question, text), timeout_s=0):
            self._questions.refuse(question, *TOO_MANY)

    def switch(self, **changes: bool) -> None:
        """Modes, at once. Raises OutputError if a restart would not know of it."""
        try:
            self._modes.switch(**changes)
        finally:
            self._switch_pictures()
            self._follow_modes()
            if changes.get("muted"):
                self._voice.cut()
                # and again, for what the main thread is just about to have said
                self._events.put_wait(_Muted(), timeout_s=0)
            self._publish("modes", asdict(self._modes.now))

    def answer_when_closed(self, reply: Reply) -> None:
        """The answer to a pause: once the camera is closed, or has not been for PAUSE_S."""
        if self._is_camera_closed:
            reply.done()
        elif not self._pauses.put_wait(_Paused(reply, time.monotonic() + PAUSE_S), timeout_s=0):
            reply.error("busy", "paused, but much is going on", "see `onlooker status`", 3)

    def tell(self, part: str, state: str, detail: str = "") -> None:
        """Of a part beside the service. Any thread; never waits."""
        self._events.put_wait(Status(part, state, detail, time.monotonic()), timeout_s=0)

    def reload(self, reply: Reply) -> bool:
        """Read the configuration anew, and answer then. False: too many have asked already."""
        return self._config_file is not None and self._reloads.put_wait(reply, timeout_s=0)

    @property
    def _is_camera_closed(self) -> bool:
        """Whether it is closed, and stays so for as long as somebody wants it closed. Any thread."""
        pipeline = self._pipeline
        return not self._is_ending if pipeline is None else pipeline.keeper.is_closed

    def _follow_modes(self) -> None:
        """The camera is open, or not, as the user has it and the computer is awake."""
        with self._modes_lock:  # the last one in acts on what is so by then
            pipeline = self._pipeline
            if pipeline is None:
                return
            if self._modes.now.paused or self._is_asleep:
                pipeline.keeper.pause()
            elif pipeline.keeper.is_paused:
                pipeline.keeper.resume()


def _waits(keys: list[str]) -> str:
    return f"{', '.join(keys)}: at the next start" if keys else ""
