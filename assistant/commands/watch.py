"""`onlooker watch`: narrate one source in the terminal. Main thread; the work is done by the app's threads."""

from __future__ import annotations

import argparse
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from assistant.commands.common import add_config_option, inputs_of, overrides_of, settings_of
from assistant.errors import UsageError
from assistant.runtime.folders import absolute
from assistant.runtime.progress import PullBar
from assistant.runtime.signals import heard_at_the_end
from assistant.runtime.states import State
from assistant.voice.opening import open_voice

if TYPE_CHECKING:
    from assistant.capture.source import Source
    from assistant.config.settings import Settings
    from assistant.runtime.messages import Event, Query
    from assistant.voice.speaker import Voice
    from assistant.watch.app import App, WatchPlan
    from assistant.watch.output import Output, Subtitles
    from assistant.watch.tally import Tally

INTERRUPTED = 130
OVERRIDES = {
    "fps": "stream.fps",
    "threshold": "stream.silence_threshold",
    "model": "model.name",
    "device": "model.device",
    "wav": "voice.output",
}


def add_parser(commands) -> None:
    """Add this command to the command line. commands: of `add_subparsers`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "watch",
        help="narrate a video, a camera or a stream",
        description="Narrates one source: remarks when something happens, answers to questions, silence otherwise.",
    )
    parser.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help='a video file, "demo" (the bundled clip), camera:N, or an address (rtsp://…, http://…); '
        "default: capture.source of the configuration",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--frames", action="store_true", help="a line for every frame, too")
    parser.add_argument("--srt", metavar="FILE", type=absolute, help="write the replies as subtitles")
    say = parser.add_mutually_exclusive_group()
    say.add_argument("--say", dest="say", action="store_true", default=None, help="speak aloud (voice.enabled)")
    say.add_argument("--no-say", dest="say", action="store_false", help="do not speak")
    parser.add_argument("--wav", metavar="FILE.wav", help="speak into a file, each reply at its time (voice.output)")
    parser.add_argument(
        "--max-speed", action="store_true", help="as fast as it goes instead of in real time; files only"
    )
    parser.add_argument(
        "--ask",
        metavar="TIME:QUESTION",
        action="append",
        default=[],
        help='ask at a time of the video, e.g. "12.5:What am I holding?" or "01:05:What next?"; repeatable',
    )
    parser.add_argument("--fps", metavar="N", help="frames looked at a second (stream.fps)")
    parser.add_argument(
        "--threshold", metavar="P", help="keep silent from this probability on (stream.silence_threshold)"
    )
    parser.add_argument("--model", metavar="NAME", help="checkpoint (model.name)")
    parser.add_argument("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N (model.device)")
    add_config_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Watch until the source ends, Ctrl-C or SIGTERM. Raises what any part found wrong; returns 0 or 130."""
    from assistant.capture.leftovers import sweep
    from assistant.capture.source import source_of
    from assistant.mind.opening import open_model, settle
    from assistant.watch.app import App, WatchPlan
    from assistant.watch.output import Subtitles, make_output

    overrides = overrides_of(args, OVERRIDES)
    if args.say is not None or args.wav is not None:
        overrides["voice.enabled"] = ("--say", args.say if args.say is not None else True)
    settings = settings_of(args, overrides)
    config = settings.config
    source = source_of(config.capture, config.sources, args.source)
    if args.max_speed and not source.is_recording:
        raise UsageError(f"--max-speed: {source.shown} is live; only a file can be watched faster than real time")
    questions = tuple(parse_question(text, number) for number, text in enumerate(args.ask))
    output = make_output(is_json=args.json, is_paced=not args.max_speed)
    _check_outputs(args, settings, source)
    subtitles = Subtitles(args.srt) if args.srt else None
    plan = WatchPlan(source, config, questions, lossless=args.max_speed)
    sweep()
    with PullBar() as bar:
        model = open_model(config.model, on_progress=bar.update)
    settle()
    app = App(plan, model)
    is_over = False
    with _interrupted_once() as came:
        try:
            app.start(_open_voice(plan, app, output, args.srt))
            code = _follow(app, output, subtitles, with_frames=args.frames)
            is_over = True
        finally:
            came.set()  # from here on nothing breaks off what is to be written
            app.stop()
            if subtitles is not None:
                subtitles.close(is_whole=is_over and app.failure is None)
    if app.failure is not None:
        raise app.failure
    return code


def _check_outputs(args: argparse.Namespace, settings: Settings, source: Source) -> None:
    """Raises OutputError for a file that cannot be written, or must not be; before the model is opened."""
    from model.outputs import check_all

    others = inputs_of(settings) | source.inputs
    outputs = [("--srt", args.srt)] if args.srt else []
    voice = settings.config.voice
    if voice.enabled and voice.output != "auto":
        outputs.append(("--wav" if args.wav else "voice.output =", absolute(voice.output)))
    check_all(outputs, others)


@contextmanager
def _interrupted_once() -> Iterator[threading.Event]:
    """Take Ctrl-C, SIGTERM and a closed terminal as KeyboardInterrupt, once: the end that follows is bounded in time.

    Also where a shell had Ctrl-C ignored, as it does for jobs in the background; a terminal that is closed does not end
    what was started by nohup. Gives what is set when it has come.
    """
    came = threading.Event()

    def hear(number: int, frame: FrameType | None) -> None:
        if not came.is_set():
            came.set()
            raise KeyboardInterrupt

    before = {number: signal.signal(number, hear) for number in heard_at_the_end()}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def parse_question(text: str, number: int) -> Query:
    """ "12.5:What?" or "01:05:What?" → a query at that second. Raises UsageError."""
    from assistant.runtime.messages import Query

    match = re.fullmatch(r"(?:(\d+):)?(?:(\d+):)?(\d+(?:\.\d+)?)\s*:\s*(.*\S)\s*", text, re.DOTALL)
    if not match:
        raise UsageError(f'--ask "{text}": must be TIME:QUESTION, e.g. "12.5:What am I holding?" or "01:05:What next?"')
    first, second, seconds, question = match.groups()
    hours, minutes = (first, second) if second else (None, first)
    return Query(question, int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds), number)


def _open_voice(plan: WatchPlan, app: App, output: Output, srt: Path | None) -> Voice | None:
    automatic = absolute(Path("out") / f"{plan.source.stem}.wav")
    taken = [path.resolve() for path in (srt, *plan.source.inputs.values()) if path is not None]
    while automatic.resolve() in taken:
        automatic = automatic.with_name(f"{automatic.stem}-speech.wav")
    return open_voice(
        plan.config.voice,
        automatic,
        app.stop_event,
        output.warn,
        is_file=plan.source.is_recording,
        lossless=plan.lossless,
    )


def _follow(app: App, output: Output, subtitles: Subtitles | None, *, with_frames: bool) -> int:
    """Show the events until the run has ended; on Ctrl-C stop it and show the end all the same."""
    from assistant.watch.tally import Tally

    tally = Tally()
    narrator = _Narrator(app, output, subtitles, tally, with_frames=with_frames)
    code = 0
    try:
        for event in app.events():
            narrator.show(event)
        speech = app.finish_speaking()
    except KeyboardInterrupt:
        code = INTERRUPTED
        app.stop_event.set()
        for event in app.events():
            narrator.show(event)
        speech = app.finish_speaking()
    app.stop()
    output.end(tally, app.num_dropped, speech)
    return code


class _Narrator:
    """Puts each event where the user wants it."""

    def __init__(self, app: App, output: Output, subtitles: Subtitles | None, tally: Tally, *, with_frames: bool):
        self._app, self._output, self._subtitles, self._tally = app, output, subtitles, tally
        self._with_frames = with_frames
        self._pieces: list[str] = []

    def show(self, event: Event) -> None:
        from assistant.runtime.messages import Asked, Opened, Seen, Status, Words

        text = ""
        match event:
            case Opened():
                self._output.opened(event.duration_s)
            case Seen():
                self._output.seen(event)
                if self._with_frames:
                    self._output.frame(event)
            case Asked():
                self._output.query(event)
                if event.late:
                    self._output.warn(f'"{event.query.text}" was asked at the end: the video is shorter than its time')
            case Words():
                self._app.hear(event)
                self._pieces.append(event.text)
                if event.final:
                    text = "".join(self._pieces).strip()
                    self._pieces.clear()
                    if text:
                        self._reply(event, text)
            case Status(state=State.WARNING):
                self._output.warn(event.detail)
            case _:
                pass
        self._tally.note(event, text)

    def _reply(self, words, text: str) -> None:
        self._output.reply(
            words.time_s,
            text,
            is_answer=words.query_id is not None,
            silence_prob=words.silence_prob,
            latency_s=words.latency_s,
        )
        if self._subtitles is not None:
            self._subtitles.add(words.time_s, text)
