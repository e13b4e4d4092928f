"""`onlooker run`: the daemon in the foreground. Main thread; parts and threads are the service's."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.commands.common import (
    PullBar,
    add_config_option,
    journal_path,
    modes_path,
    open_voice,
    overrides_of,
    program_version,
    settings_of,
    token_path,
)
from assistant.errors import OutputError, WorkerFailed
from assistant.faults import ProcessSpoilt
from model.errors import OnlookerError

if TYPE_CHECKING:
    from assistant.capture.source import Source
    from assistant.config import Config, VoiceSection
    from assistant.reload import ConfigFile
    from assistant.settings import Settings
    from assistant.speech.voice import Voice
    from assistant.supervisor import Link

OVERRIDES = {"model": "model.name", "device": "model.device", "fps": "stream.fps"}

SOURCE_VARIABLE = "ONLOOKER_CAPTURE__SOURCE"

LOG_BYTES, NUM_OLD_LOGS = 5 << 20, 3

log = logging.getLogger("onlooker.run")


def add_parser(commands) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "run",
        help="watch a camera without end, and answer `onlooker ask`",
        description="The daemon, in the foreground: watches one source until it is stopped, speaks up by itself, and "
        "answers. Other commands talk to it: status, ask, pause, resume, mute, unmute, stop.",
    )
    add_options(parser)
    parser.add_argument("--log", metavar="FILE", type=Path, help="write the log there, at most 20 MB, not to stderr")
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to watch and with what: for `run`, and for `start`, which hands them on."""
    parser.add_argument(
        "source", nargs="?", metavar="SOURCE", help="camera, address or file (capture.source); a file is repeated"
    )
    parser.add_argument("--model", metavar="NAME", help="checkpoint (model.name)")
    parser.add_argument("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N (model.device)")
    parser.add_argument("--fps", metavar="N", help="frames looked at a second (stream.fps)")
    parser.add_argument("--no-say", action="store_true", help="do not speak")
    add_config_option(parser)


def run(args: argparse.Namespace) -> int:
    """Watch until `onlooker stop`, Ctrl-C or SIGTERM. Raises what ends it otherwise."""
    from assistant.supervisor import Supervisor, find_link

    link = find_link()
    if link is not None:
        return _run_daemon(args, link)
    return Supervisor(*run_command(args, args.log), lambda text: _note(args.log, text)).run()


def run_command(args: argparse.Namespace, log_path: Path | None) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of a `run` with the same options in another process.

    The source is in the environment: an address may hold a password, and a command line is everybody's to read.
    """
    command = [sys.executable, "-m", "assistant.cli", "run", *([f"--log={log_path}"] if log_path else [])]
    command += [f"--{name}={value}" for name in (*OVERRIDES, "config") if (value := getattr(args, name)) is not None]
    command += ["--no-say"] if args.no_say else []
    return command, {**os.environ, **({SOURCE_VARIABLE: args.source} if args.source else {})}


def _note(log_path: Path | None, text: str) -> None:
    """A line for the log, from the supervisor; the daemon does not run."""
    line = f"{time.strftime('%Y-%m-%d %H:%M:%S')},000 supervisor onlooker.supervisor: {text}"
    if log_path is None:
        print(line, file=sys.stderr, flush=True)
        return
    with contextlib.suppress(OSError), log_path.open("a", encoding="utf-8") as file:
        print(line, file=file)


def _run_daemon(args: argparse.Namespace, link: Link) -> int:
    from assistant.capture.source import parse_source
    from assistant.control.instance import Instance
    from assistant.reload import ConfigFile
    from assistant.settings import user_config_path
    from assistant.supervisor import EXIT_ANEW

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent to act on
    settings = _read(args)
    config_file = ConfigFile(lambda: _read(args), settings, user_config_path())
    source = parse_source(settings.config.capture.source)
    instance = Instance.claim()
    try:
        _open_log(args.log)
        _show_stacks_on_demand(args.log)
        _serve(args, settings.config, source, instance, config_file, link)
    except ProcessSpoilt as error:
        log.error("%s; the daemon begins anew", error)
        instance.release()
        logging.shutdown()
        os._exit(EXIT_ANEW)  # with a lost GPU, to take leave of what lies there would abort the process
    except OnlookerError as error:
        log.error("%s", error)
        raise
    except Exception:
        log.exception("the daemon failed")
        raise
    finally:
        instance.release()
    return 0


def _open_log(path: Path | None) -> None:
    """Everything of ours to stderr, or to a file that is turned over before it grows large. Raises OutputError."""
    handler: logging.Handler = logging.StreamHandler()
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=NUM_OLD_LOGS, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"--log {path}: cannot be written: {error.strerror}") from None
    shape = "%(asctime)s %(threadName)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=shape, handlers=[handler])


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
    args: argparse.Namespace, config: Config, source: Source, instance, config_file: ConfigFile, link: Link
) -> None:
    from assistant.control.server import ControlServer
    from assistant.control.unix import UnixTransport
    from assistant.journal.thread import JournalThread
    from assistant.modes import ModesFile
    from assistant.opening import open_model, open_stream, settle, silence_threshold
    from assistant.pacing import PolicyPacing
    from assistant.pacing import settings_of as policy_settings_of
    from assistant.policy import Policy
    from assistant.requests import Requests
    from assistant.service import Service
    from assistant.supervisor import LinkNotifier

    section = config.model
    if section.device == "auto" and link.device_type == "cuda":  # a GPU that is lost is no CPU
        section = section.model_copy(update={"device": "cuda"})
    with PullBar() as bar:
        model = open_model(section, on_progress=bar.update)
    settle()
    policy = Policy(policy_settings_of(config.policy), silence_threshold(model, config.stream))

    def open_daemon_voice(section: VoiceSection, hush: threading.Event) -> Voice | None:
        return None if args.no_say else open_voice(section, None, hush, log.warning)

    signals: list[int] = []  # that came: a handler must take no lock

    def check() -> None:
        if server.failure is not None:
            raise server.failure
        if signals or link.is_orphaned:
            service.stop_soon()

    service = Service(
        source,
        config,
        model,
        lambda section: open_stream(model, section),
        publish=lambda kind, facts: server.publish(kind, facts),
        pacing=PolicyPacing(policy, checkpoint_threshold=model.silence_threshold),
        open_voice=open_daemon_voice,
        journal=JournalThread(journal_path()),
        modes=ModesFile(modes_path()),
        config_file=config_file,
        notifier=LinkNotifier(link, model.device.type),
        check=check,
    )
    metrics = None
    if config.metrics.enabled:
        from assistant.metrics import MetricsServer, read_token

        metrics = MetricsServer(config.metrics.port, read_token(token_path()), service.facts)
    server = ControlServer(Requests(service), UnixTransport.listen(instance), version=program_version())
    signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    server.start()
    if metrics is not None:
        metrics.start()
    sleep = None
    if sys.platform == "linux":
        from assistant.sleep import SleepWatch

        sleep = SleepWatch(service.before_sleep, service.after_sleep)
        sleep.start()
    gpu = None
    if model.device.type == "cuda" and config.model.yields:
        import torch

        from assistant.gpu_watch import GpuWatch

        uuid = str(torch.cuda.get_device_properties(model.device).uuid)
        gpu = GpuWatch(uuid, service.busy_s, service.share_gpu)
        gpu.start()
    log.info("watching %s with %s; control socket %s", source.shown, model.name, instance.socket_path)
    try:
        service.run()
    finally:
        if gpu is not None:
            gpu.close()
        if sleep is not None:
            sleep.close()
        if metrics is not None:
            metrics.close()
        try:
            server.close()
        except WorkerFailed as error:  # what ended the run matters more
            log.error("%s", error)


def _read(args: argparse.Namespace) -> Settings:
    """The configuration in effect for this command line. Raises ConfigError."""
    overrides = overrides_of(args, OVERRIDES)
    if args.source:
        overrides["capture.source"] = ("SOURCE", args.source)
    return settings_of(args, overrides)
