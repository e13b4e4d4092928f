"""The daemon's heart: one live source watched without end, remarks made and questions answered, for whoever asks.

`Service.run` is the main thread: it starts the parts, hears their events, looks after them, and ends them in reverse
order. What other threads may call says so; it sets flags, puts things into mailboxes, and reads.

    Watching       the pipeline: capture, encoder and mind, started again when they fail
    Camera         open or closed, as the user and the computer's sleep want it
    Keeping        the threads of the sound card, the voice, the ear and the journal
    Hearing        spoken questions
    Conversation   questions, answers and remarks
    Reconfiguring  edits of the configuration
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from assistant.capture.source import Source
from assistant.config.keys import Config, StreamSection
from assistant.config.reload import ConfigFile
from assistant.daemon.camera import Camera
from assistant.daemon.conversation import Conversation, Wanted
from assistant.daemon.hearing import Hearing
from assistant.daemon.keeping import Keeping
from assistant.daemon.modes import ModesFile
from assistant.daemon.parts import Parts, Publish
from assistant.daemon.reconfiguring import Reconfiguring
from assistant.daemon.watching import Watching
from assistant.errors import WorkerFailed
from assistant.journal.thread import JournalThread
from assistant.machine.systemd import Notifier
from assistant.mind.loop import Pacing
from assistant.mind.standing import Watchlist
from assistant.runtime.asker import Asker
from assistant.runtime.faults import ProcessSpoilt
from assistant.runtime.health import Part
from assistant.runtime.mailbox import Mailbox
from assistant.runtime.messages import Asked, Event, Seen, Status, Words
from assistant.runtime.states import State
from assistant.runtime.threads import stuck_message
from assistant.voice.thread import OpenVoice

if TYPE_CHECKING:
    from model.stream import Stream
    from model.videolm import VideoLM

NUM_EVENTS_QUEUED = 256
TICK_S = 0.2
ZONE_EVERY_S = 30.0

log = logging.getLogger("onlooker.service")


@dataclass(frozen=True)
class _Hushed:
    """The voice was cut, and is not to say `unsaid` any more. is_muted: it was muted; else somebody speaks to us."""

    unsaid: list[str]
    is_muted: bool


class Service:
    """One run without end.

    open_stream: a fresh stream of the model. check: called often by the main thread; raises what is to end the run.
    config_file: None where no edit is to take effect.
    """

    def __init__(
        self,
        source: Source,
        config: Config,
        model: VideoLM,
        open_stream: Callable[[StreamSection], Stream],
        *,
        publish: Publish,
        pacing: Pacing | None = None,
        open_voice: OpenVoice = lambda *_: None,
        journal: JournalThread | None = None,
        modes: ModesFile | None = None,
        watchlist: Watchlist | None = None,
        config_file: ConfigFile | None = None,
        notifier: Notifier | None = None,
        check: Callable[[], None] = lambda: None,
    ):
        self._model, self._publish, self._check = model, publish, check
        self._modes, self.journal = modes or ModesFile(None), journal
        self.watchlist = watchlist or Watchlist()
        self._notifier, self._fed_s = notifier or Notifier({}), 0.0
        self._events = Mailbox[Event | Wanted | _Hushed](NUM_EVENTS_QUEUED, name="events")
        self._stop = threading.Event()
        self._parts = Parts(publish, "capture", "encoder", "mind", "voice", "ear", "journal", "config", "metrics")
        self._parts["metrics"] = Part(State.OFF)
        if model.device.type == "cuda":
            self._parts["gpu"] = Part(State.OURS)
        self._watching = Watching(
            source,
            config,
            model,
            open_stream,
            pacing=pacing or Pacing(),
            parts=self._parts,
            report=self._report,
            started=lambda: self.camera.follow(),
            ended=self._begin_anew,
            check=check,
            stop=self._stop,
        )
        self.camera = Camera(self._watching, self._modes, self._stop)
        self._keeping = Keeping(open_voice, journal, self._parts)
        self._conversation = Conversation(
            self._watching,
            self.camera,
            self._parts,
            self._modes,
            self._keeping.voice,
            journal,
            model=model,
            publish=publish,
            post=lambda wanted: self._events.put_wait(wanted, timeout_s=0),
        )
        self.hearing = self._keeping.hearing = Hearing(
            self._conversation,
            self._keeping.voice,
            lambda: self._keeping.ear,
            self.switch,
            self.watchlist,
            lambda unsaid: self._events.put_wait(_Hushed(unsaid, is_muted=False), timeout_s=0),
        )
        self._reconfiguring = Reconfiguring(
            config_file, config, model, self._watching, self._keeping, self.camera, self._parts
        )
        self._started_s, self._zone_s = time.monotonic(), 0.0
        self._num_seen, self._latency_s = 0, 0.0

    # ---- the main thread -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Watch until `stop_soon`. Raises WorkerFailed when a part does not stop, ProcessSpoilt if only a new process
        can go on, and what keeps it from being started."""
        is_spoilt = False
        try:
            self._keeping.start(self._watching.config)
            self._parts.tell("config", State.FAILED if self._modes.trouble else State.IN_EFFECT, self._modes.trouble)
            self._watching.start()
            self._notifier.ready(f"watching {self._watching.source.shown}")
            while not self._stop.is_set():
                event = self._events.take(timeout_s=TICK_S)
                if event is not None:
                    self._hear(event)
                self._look_after()
        except ProcessSpoilt:
            is_spoilt = True
            raise
        finally:
            if is_spoilt:
                self._notifier.beginning_anew()
            elif self._stop.is_set():
                self._notifier.stopping()
            stuck = self._watching.end("the daemon is being stopped") + self._keeping.close()
        if stuck:
            raise WorkerFailed(stuck_message(stuck))

    def _look_after(self) -> None:
        """Do what is due by the clock, without any event: the watchdog, the helpers, pauses, restarts, edits."""
        self._feed_watchdog()
        self._follow_time_zone()
        self._keeping.look_after(self._watching.config.privacy)
        self.camera.answer_pauses()
        self._conversation.questions.give_up_cancelled()
        self._watching.look_after()
        self._check()
        self._reconfiguring.look()
        self._conversation.explain_silence()

    def _feed_watchdog(self) -> None:
        now_s = time.monotonic()
        if self._notifier.watchdog_s is not None and now_s - self._fed_s > self._notifier.watchdog_s:
            self._fed_s = now_s
            self._notifier.alive()

    def _follow_time_zone(self) -> None:
        """Who travels keeps the quiet hours of the place, and reads its times in the log."""
        now_s = time.monotonic()
        if now_s - self._zone_s > ZONE_EVERY_S:
            self._zone_s = now_s
            if hasattr(time, "tzset"):
                time.tzset()

    def _hear(self, event: Event | Wanted | _Hushed) -> None:
        if isinstance(event, Seen | Words):
            self._parts["mind"].worked_at_s = time.monotonic()
        match event:
            case Seen():
                self._latency_s = event.latency_s
                self._num_seen += 1
                self._conversation.note_seen(event)
                for name in ("encoder", "mind"):
                    self._parts[name].state = State.READY
            case Status():
                if event.part == "capture":
                    self._conversation.note_capture(event)
                self._parts.tell(event.part, event.state, event.detail)
            case Words():
                self._conversation.hear(event)
            case Wanted():
                self._conversation.pass_on(event)
            case _Hushed(unsaid, is_muted):
                self._conversation.hush(unsaid + (self._keeping.voice.cut() if is_muted else []))
            case Asked():
                self._conversation.note_asked(event)
            case _:
                pass

    def _begin_anew(self, why: str) -> None:
        """A pipeline has ended: what its threads still said of themselves counts, all else is of a stream that is no
        more."""
        for event in self._events.take_many(NUM_EVENTS_QUEUED, timeout_s=0):
            if isinstance(event, Status):
                self._hear(event)
        self._conversation.begin_anew(why)

    # ---- the pipeline's threads ------------------------------------------------------------------------------

    def _report(self, event: Event) -> bool:
        """Waits for room, but not while they are being ended."""
        while self._watching.pipeline is not None and not self._stop.is_set():
            if self._events.put_wait(event, timeout_s=0.1):
                return True
        return False

    # ---- any thread ------------------------------------------------------------------------------------------

    def stop_soon(self) -> None:
        """End `run`; signal handlers may call it, too."""
        self._stop.set()

    def facts(self) -> dict[str, Any]:
        """All that `status` says."""
        watching, modes = self._watching, self._modes.now
        pipeline, stream = watching.pipeline, watching.config.stream
        return {
            "source": watching.source.shown,
            "model": self._model.name,
            "device": str(self._model.device),
            "engine": self._model.engine.kind,
            "window_tokens": stream.window_tokens,
            "full_speed": pipeline is not None and pipeline.is_prepared,
            "up_s": round(time.monotonic() - self._started_s, 1),
            "paused": modes.paused,
            "private": modes.private,
            "journal": self.journal is not None and self.journal.is_on,
            "muted": modes.muted or self._parts["voice"].state == State.OFF,
            "parts": self._parts.facts(watching.frame_skip.keeps_one_in / stream.fps),
            "frames": self._num_seen,
            "dropped": watching.num_dropped,
            "remarks": self._conversation.num_remarks,
            "unsaid": self._keeping.voice.num_unsaid,
            "latency_s": round(self._latency_s, 3) if self._num_seen else None,
            "questions_open": len(self._conversation.questions),
            "restarts": watching.num_restarts,
            "watched_for": [item.text for item in self.watchlist.list()],
            "unfamiliar": self._conversation.is_strange,
            "silence": asdict(self._conversation.silence),
        }

    def ask(self, text: str, asker: Asker) -> None:
        """Answered when the mind has come to it."""
        self._conversation.ask(text, asker)

    def have_said(self, text: str, asker: Asker) -> None:
        """Aloud, in its turn."""
        self._conversation.have_said(text, asker)

    def switch(self, **changes: bool) -> None:
        """Modes, at once. Raises OutputError if a restart would not know of it."""
        try:
            self._modes.switch(**changes)
        finally:
            self.camera.follow()
            if changes.get("muted"):
                # and again in the main thread, for what that is just about to have said
                self._events.put_wait(_Hushed(self._keeping.voice.cut(), is_muted=True), timeout_s=0)
            self._publish("modes", asdict(self._modes.now))

    def tell(self, part: str, state: State, detail: str = "") -> None:
        """Of a part beside the service; never waits."""
        self._events.put_wait(Status(part, state, detail, time.monotonic()), timeout_s=0)

    def reload(self, asker: Asker) -> bool:
        """Read the configuration anew, and answer then. False: too many have asked already."""
        return self._reconfiguring.ask_for(asker)

    def busy_s(self) -> float:
        """For how long encoder and mind have worked, together; only differences mean anything."""
        return self._watching.busy_s

    def share_gpu(self, is_needed: bool, share: float) -> None:
        """Others need the GPU now, or no longer. share: of the time that they use it, 0–1."""
        skip = self._watching.frame_skip
        skip.is_on = is_needed
        looked_at = f"one frame in {skip.keeps_one_in} is looked at"
        detail = f"other programs use it {share:.0%} of the time: {looked_at}" if is_needed else ""
        self._events.put_wait(
            Status("gpu", State.SHARED if is_needed else State.OURS, detail, time.monotonic()), timeout_s=1
        )
