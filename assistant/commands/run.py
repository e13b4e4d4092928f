"""`onlooker run`: the daemon in the foreground. Main thread; parts and threads are the service's."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.commands.common import (
    PullBar,
    add_config_option,
    journal_path,
    open_voice,
    overrides_of,
    program_version,
    settings_of,
)
from assistant.errors import OutputError
from model.errors import OnlookerError

if TYPE_CHECKING:
    from assistant.capture.source import Source
    from assistant.config import Config

OVERRIDES = {"model": "model.name", "device": "model.device", "fps": "stream.fps"}

NUM_LINES_QUEUED = 256
JOURNAL_STOP_S = 5.0

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
    from assistant.capture.source import parse_source
    from assistant.control.instance import Instance

    config = settings_of(args, overrides_of(args, OVERRIDES)).config
    source = parse_source(args.source or config.capture.source)
    instance = Instance.claim()
    try:
        _open_log(args.log)
        _serve(args, config, source, instance)
    except OnlookerError as error:
        log.error("%s", error)
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


def _serve(args: argparse.Namespace, config: Config, source: Source, instance) -> None:
    from assistant.control.server import ControlServer
    from assistant.control.unix import UnixTransport
    from assistant.journal.thread import Forget, run_journal
    from assistant.journal.writer import Journal, Line
    from assistant.mailbox import Mailbox
    from assistant.opening import open_model, open_stream, settle, silence_threshold
    from assistant.pacing import PolicyPacing, settings_of
    from assistant.policy import Policy
    from assistant.service import Service
    from assistant.systemd import Notifier

    with PullBar() as bar:
        model = open_model(config.model, on_progress=bar.update)
    settle()
    voice = None if args.no_say else open_voice(config.voice, Path("out") / "run.wav", threading.Event(), log.warning)
    stop_journal, inbox = threading.Event(), Mailbox[Line | Forget](NUM_LINES_QUEUED, name="journal")
    journal_thread = None
    if config.privacy.journal:
        journal = Journal.open(journal_path(), config.privacy.retention_days)
        journal_thread = threading.Thread(
            target=lambda: run_journal(inbox, journal, stop_journal), name="onlooker-journal", daemon=True
        )
        journal_thread.start()
    service = Service(
        source,
        config,
        model,
        lambda: open_stream(model, config.stream),
        publish=lambda kind, facts: server.publish(kind, facts),
        pacing=PolicyPacing(Policy(settings_of(config.policy), silence_threshold(model, config.stream))),
        voice=voice,
        keep=inbox.put if journal_thread else None,
        notifier=Notifier(),
    )
    server = ControlServer(service, UnixTransport.listen(instance), version=program_version())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: service.stop_soon())
    server.start()
    log.info("watching %s with %s; control socket %s", source.shown, model.name, instance.socket_path)
    try:
        service.run()
    finally:
        server.close()
        stop_journal.set()
        if journal_thread is not None:
            journal_thread.join(JOURNAL_STOP_S)
        if voice is not None:
            voice.close(0.0)
