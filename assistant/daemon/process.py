"""The daemon's process: builds the parts of a run without end around the service, and ends them. Main thread."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.config.addresses import without_secrets
from assistant.config.paths import journal_path, modes_path, own_files, standing_path, token_path
from assistant.daemon.supervisor import EXIT_ANEW, Link, LinkNotifier
from assistant.errors import OutputError, WorkerFailed
from assistant.runtime.console import ConsoleHandler
from assistant.runtime.faults import ProcessSpoilt
from assistant.runtime.progress import PullBar
from assistant.runtime.signals import ENDING
from assistant.runtime.states import State
from assistant.runtime.version import program_version
from assistant.voice.opening import open_voice
from model.errors import OnlookerError
from model.outputs import check

if TYPE_CHECKING:
    from assistant.capture.source import Source
    from assistant.config.keys import Config, VoiceSection
    from assistant.config.reload import ConfigFile
    from assistant.config.settings import Settings
    from assistant.control.instance import Instance
    from assistant.daemon.service import Service
    from assistant.sound.card import Card
    from assistant.voice.speaker import Voice
    from model.videolm import VideoLM

LOG_BYTES, NUM_OLD_LOGS = 5 << 20, 3

log = logging.getLogger("onlooker.daemon")


def run_daemon(read: Callable[[], Settings], link: Link, *, log_path: Path | None, is_silent: bool) -> None:
    """Watch until a stop, with the configuration that `read` gives. Raises what ends it otherwise.

    Where only a new process can go on, this one ends with EXIT_ANEW.
    """
    from assistant.capture.source import source_of
    from assistant.config.reload import ConfigFile
    from assistant.config.settings import user_config_path
    from assistant.control.instance import Instance

    for number in ENDING:  # a terminal's Ctrl-C, and its end, are for the parent to act on; SIGTERM comes further down
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    settings = read()
    config_file = ConfigFile(read, settings, user_config_path())
    source = source_of(settings.config.capture, settings.config.sources)  # its mistakes come before the model is opened
    instance = Instance.claim()
    try:
        _open_log(log_path, own_files(settings) | source.inputs)
        _show_stacks_on_demand(log_path)
        _serve(settings.config, source, instance, config_file, link, is_silent=is_silent)
    except ProcessSpoilt as error:
        log.error("%s; the daemon begins anew", error)
        instance.release()
        logging.shutdown()
        os._exit(EXIT_ANEW)  # with a lost GPU, to take leave of what lies there would abort the process
    except OnlookerError as error:
        if logging.getLogger().handlers:  # else the log itself cannot be had
            log.error("%s", error)
        raise
    except Exception:
        log.exception("the daemon failed")
        raise
    finally:
        instance.release()


def _open_log(path: Path | None, others: Mapping[str, Path]) -> None:
    """Everything of ours to stderr, or to a file that is turned over before it grows large.

    others: what may not be written to, by what it is. Raises OutputError.
    """
    logging.raiseExceptions = False  # a full disk costs lines of the log, and no tracebacks on stderr
    handler: logging.Handler = ConsoleHandler(sys.stderr)
    if path is not None:
        check(path, "--log", others)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if path.exists() and not _is_log_of_ours(path):
                raise OutputError(f"--log {path}: is there, and is no log of ours; name another file")
            handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=NUM_OLD_LOGS, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"--log {path}: cannot be written: {error.strerror}") from None
    shape = "%(asctime)s %(threadName)s %(name)s: %(message)s"
    handler.setFormatter(_Formatter(shape))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class _Formatter(logging.Formatter):
    """Of messages that may quote an address."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


def _is_log_of_ours(path: Path) -> bool:
    """Raises OSError."""
    if not path.is_file():  # a pipe without a reader would be waited for
        return path == Path(os.devnull)
    with path.open("rb") as file:
        first = file.read(40)
    return not first or re.match(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ", first) is not None


def _show_stacks_on_demand(log_path: Path | None) -> None:
    """At SIGUSR1, and at a crash: where every thread is just now, on stderr or in a file beside the log."""
    import faulthandler

    file = sys.stderr
    if log_path is not None:
        path = log_path.with_suffix(".stacks")
        try:
            is_large = path.exists() and path.stat().st_size > LOG_BYTES
            file = path.open("w" if is_large else "a", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
    faulthandler.enable(file)  # which keeps it open
    if sys.platform != "win32":
        faulthandler.register(signal.SIGUSR1, file)


def _serve(
    config: Config, source: Source, instance: Instance, config_file: ConfigFile, link: Link, *, is_silent: bool
) -> None:
    from assistant.control.server import ControlServer
    from assistant.control.unix import UnixTransport
    from assistant.daemon.modes import ModesFile
    from assistant.daemon.requests import Requests
    from assistant.daemon.service import Service
    from assistant.journal.thread import JournalThread
    from assistant.mind.opening import open_model, open_stream, settle
    from assistant.mind.pacing import PolicyPacing
    from assistant.mind.pacing import settings_of as policy_settings_of
    from assistant.mind.policy import Policy
    from assistant.mind.standing import Watchlist

    section = config.model
    if section.device == "auto" and link.device_type == "cuda":  # a GPU that is lost is no CPU
        section = section.model_copy(update={"device": "cuda"})
    with PullBar() as bar:
        model = open_model(section, on_progress=bar.update)
    settle()
    policy = Policy(policy_settings_of(config.policy), config.stream.threshold(model.silence_threshold))
    modes = ModesFile(modes_path())
    watchlist = Watchlist(standing_path(), keeps=lambda: not modes.now.private)
    if watchlist.trouble:
        log.warning("%s", watchlist.trouble)
    signals: list[int] = []  # that came: a handler must take no lock

    def open_daemon_voice(section: VoiceSection, hush: threading.Event, card: Card | None) -> Voice | None:
        return None if is_silent else open_voice(section, None, hush, log.warning, card=card)

    def check() -> None:
        if server.failure is not None:
            raise server.failure
        if not transport.is_in_place:  # at a log-out the system removes it; nobody could stop us any more
            raise ProcessSpoilt(f"{instance.socket_path}: the control socket was removed")
        if signals or link.is_orphaned:
            service.stop_soon()

    service = Service(
        source,
        config,
        model,
        lambda section: open_stream(model, section),
        publish=lambda kind, facts: server.publish(kind, facts),
        pacing=PolicyPacing(policy, checkpoint_threshold=model.silence_threshold, watchlist=watchlist),
        watchlist=watchlist,
        open_voice=open_daemon_voice,
        journal=JournalThread(journal_path()),
        modes=modes,
        config_file=config_file,
        notifier=LinkNotifier(link, model.device.type),
        check=check,
    )
    transport = UnixTransport.listen(instance)
    server = ControlServer(Requests(service), transport, version=program_version())
    signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    server.start()
    log.info("watching %s with %s; control socket %s", source.shown, model.name, instance.socket_path)
    try:
        with _helpers(service, model, config):
            service.run()
    finally:
        try:
            server.close()
        except WorkerFailed as error:  # what ended the run matters more
            log.error("%s", error)


@contextlib.contextmanager
def _helpers(service: Service, model: VideoLM, config: Config) -> Iterator[None]:
    """The threads beside the service: figures for Prometheus, the computer's sleep, other programs on the GPU."""
    with contextlib.ExitStack() as helpers:
        if config.metrics.enabled:
            from assistant.web.metrics import MetricsKeeper

            def tell(state: State, detail: str) -> None:
                service.tell("metrics", state, detail)

            metrics = MetricsKeeper(config.metrics.port, token_path(), service.facts, tell)
            helpers.callback(metrics.close)
            metrics.start()
        if sys.platform == "linux":
            from assistant.machine.sleep import SleepWatch

            sleep = SleepWatch(service.camera.before_sleep, service.camera.after_sleep)
            helpers.callback(sleep.close)
            sleep.start()
        if model.device.type == "cuda" and config.model.yields:
            import torch

            from assistant.machine.gpu_watch import GpuWatch

            uuid = str(torch.cuda.get_device_properties(model.device).uuid)
            gpu = GpuWatch(uuid, service.busy_s, service.share_gpu, lambda why: service.tell("gpu", State.FAILED, why))
            helpers.callback(gpu.close)
            gpu.start()
        yield
