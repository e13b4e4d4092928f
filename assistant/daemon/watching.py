"""The pipeline of a run without end: started, looked after, and started again when it fails, smaller if need be."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from assistant.capture.source import Source
from assistant.capture.worker import turn_of
from assistant.config.keys import Config, StreamSection
from assistant.daemon.parts import Parts
from assistant.errors import ConfigError, DeviceMissing
from assistant.mind.encoder import FrameSkip
from assistant.mind.live import LivePipeline
from assistant.mind.loop import Pacing, Report
from assistant.runtime.faults import Fault, ProcessSpoilt, fault_of
from assistant.runtime.health import Part
from assistant.runtime.states import State

if TYPE_CHECKING:
    from model.stream import Stream
    from model.videolm import VideoLM

HANG_S = 120.0
"""With frames waiting and none looked at for so long, the mind is taken for hung. Kernels compile in less."""

MAX_RESTARTS, RESTART_WINDOW_S = 5, 60.0
REST_S = 60.0
"""A mind that fails however often it is started again is left alone for so long, with the camera closed."""

log = logging.getLogger("onlooker.service")

NEW_STREAM = {f"stream.{key}" for key in ("window_tokens", "max_reply_tokens", "when_full", "fps", "unfamiliar")}
"""Keys whose change begins a new stream."""


class Watching:
    """Owned by the main thread; others may read `source`, `config`, `pipeline`, `frame_skip`, the figures, and what
    says so.

    config: in effect, with the window as the GPU has room for. pipeline: any thread may read it; None while there is
    none. open_stream: a fresh stream of the model. report: where the pipeline's threads post what happens. started: is
    called with a pipeline whose threads do not run yet. ended: is called, with the reason, once they have ended. check:
    called between attempts to start; raises what is to end the run.
    """

    def __init__(
        self,
        source: Source,
        config: Config,
        model: VideoLM,
        open_stream: Callable[[StreamSection], Stream],
        *,
        pacing: Pacing,
        parts: Parts,
        report: Report,
        started: Callable[[], None],
        ended: Callable[[str], None],
        check: Callable[[], None],
        stop: threading.Event,
    ):
        self.source, self.config = source, config
        self.pipeline: LivePipeline | None = None
        self.frame_skip = FrameSkip()
        self.num_restarts = 0
        self._model, self._open_stream, self._pacing, self._parts = model, open_stream, pacing, parts
        self._report, self._started, self._ended, self._check, self._stop = report, started, ended, check, stop
        self._restarts_s: deque[float] = deque(maxlen=MAX_RESTARTS)
        self._rests_until_s = 0.0
        self._reduced = ""  # what it does without, on a GPU that is too small
        self._num_dropped_before = 0
        self._is_ending = False  # a pipeline is, whose camera may still be open

    @property
    def num_dropped(self) -> int:
        """Frames that nobody looked at, so far. Any thread."""
        pipeline = self.pipeline
        return self._num_dropped_before + (pipeline.num_dropped if pipeline else 0)

    @property
    def busy_s(self) -> float:
        """For how long encoder and mind have worked, together; only differences mean anything. Any thread."""
        pipeline = self.pipeline
        return 2 * time.monotonic() - (pipeline.waited_s if pipeline else 0.0)

    @property
    def is_camera_closed(self) -> bool:
        """Whether it is closed, and stays so for as long as somebody wants it closed. Any thread."""
        pipeline = self.pipeline
        return not self._is_ending if pipeline is None else pipeline.keeper.is_closed

    def start(self) -> None:
        """Open a stream and start a pipeline over it; with half the window, or a quarter and so on, where the GPU has
        no room for all of it.

        Raises ProcessSpoilt if only a new process can use the GPU, DeviceMissing if it has no room for any window.
        """
        from assistant.mind.opening import no_room

        while True:
            try:
                stream = self._open_stream(self.config.stream)
                break
            except Exception as error:
                fault = fault_of(error)
                if fault == "gpu":
                    raise ProcessSpoilt(str(error)) from error
                if fault != "memory":
                    raise
                if not self._halve():
                    raise no_room(str(self._model.device)) from error
                self._parts.tell("mind", State.STARTING, self._reduced)
            self._free()
            self._check()
            if self._stop.is_set():
                return
        pipeline = LivePipeline(
            self.source, self.config, self._model, stream, self._report, self._pacing, self.frame_skip
        )
        for name in ("capture", "encoder", "mind"):
            self._parts[name] = Part(detail=self._reduced if name == "mind" else "")
        self.pipeline = pipeline
        self._started()
        pipeline.start()

    def end(self, why: str) -> list[str]:
        """End the pipeline, if there is one; gives the names of its threads that hang. why: for who waits for an
        answer.
        """
        self._is_ending = True
        pipeline, self.pipeline = self.pipeline, None
        if pipeline:
            self._num_dropped_before += pipeline.num_dropped
        stuck = pipeline.stop() if pipeline else []
        self._is_ending = bool(stuck)
        self._ended(why)
        return stuck

    def look_after(self) -> None:
        """Note who works, start again what failed or has rested enough. Raises ProcessSpoilt."""
        pipeline = self.pipeline
        if pipeline is None:
            if time.monotonic() > self._rests_until_s:
                self._start_again()
            return
        pipeline.note_progress(self._parts["mind"].worked_at_s)
        for name, at_s in pipeline.worked_at_s.items():
            self._parts[name].worked_at_s = at_s or None
        if pipeline.hangs(HANG_S):
            raise ProcessSpoilt(f"the mind hangs: frames wait, and none was looked at for {HANG_S:.0f} s")
        failure = pipeline.failure
        if failure is not None:
            log.error("%s", failure, exc_info=failure)
            text, fault = str(failure), fault_of(failure)
            del failure, pipeline  # its frames hold the stream, and its memory
            self._restart(text, fault)

    def reduced(self, config: Config, changed: Mapping[str, object]) -> Config:
        """A new configuration with the window that the GPU has room for, unless it is the window that was changed."""
        if not self._reduced or "stream.window_tokens" in changed:
            return config
        stream = config.stream.model_copy(update={"window_tokens": self.config.stream.window_tokens})
        return config.model_copy(update={"stream": stream})

    def take_over(self, source: Source, config: Config, changed: Mapping[str, object]) -> None:
        """Go on with a configuration that was found right. changed: its keys. Raises ProcessSpoilt."""
        self.source, self.config = source, config
        if "stream.window_tokens" in changed:
            self._reduced = ""
        self._pacing.update(config)
        if changed.keys() & NEW_STREAM:
            stuck = self.end("the configuration was changed")
            if stuck:
                raise ProcessSpoilt(f"after an edit of the configuration these threads hang: {', '.join(stuck)}")
            self._free()
            self._start_again()
        elif self.pipeline is not None and any(key.startswith(("capture.", "sources.")) for key in changed):
            self.pipeline.keeper.change(
                source,
                fps=config.stream.fps,
                timeout_s=config.capture.timeout_s,
                turn=turn_of(config.capture),
            )

    def _start_again(self) -> None:
        try:
            self.start()
        except DeviceMissing as error:  # a new process may wait until there is room
            raise ProcessSpoilt(str(error)) from error

    def _restart(self, failure: str, fault: Fault) -> None:
        if fault == "gpu":
            raise ProcessSpoilt(failure)
        now_s = time.monotonic()
        rests = len(self._restarts_s) == MAX_RESTARTS and now_s - self._restarts_s[0] < RESTART_WINDOW_S
        self._restarts_s.append(now_s)
        self.num_restarts += 1
        is_smaller = fault == "memory" and self._halve()
        how = self._reduced if is_smaller else "as it was"
        if rests:
            how += f", in {REST_S:.0f} s: {MAX_RESTARTS} times within {RESTART_WINDOW_S:.0f} s did not help"
        self._parts.tell("mind", State.FAILED, f"{failure}; it is started again {how}")
        stuck = self.end(failure)
        if stuck:
            raise ProcessSpoilt(f"{failure}, and these threads hang: {', '.join(stuck)}")
        self._free()
        if rests:
            self._restarts_s.clear()
            self._parts["capture"], self._parts["encoder"] = Part(State.CLOSED), Part(State.CLOSED)
        self._rests_until_s = now_s + (REST_S if rests else min(2.0, 0.25 * len(self._restarts_s)))

    def _halve(self) -> bool:
        """Go on with half the window; False if that is too small. An edit of the file brings the whole one back."""
        from assistant.mind.opening import check_stream

        stream = self.config.stream
        half = stream.model_copy(update={"window_tokens": stream.window_tokens // 2})
        try:
            check_stream(self._model, half)
        except ConfigError:
            return False
        self._reduced = f"with {half.window_tokens} tokens: the GPU has no room for {stream.window_tokens}"
        self.config = self.config.model_copy(update={"stream": half})
        return True

    def _free(self) -> None:
        """What the last stream held, on the GPU too."""
        import torch

        gc.collect()
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()
