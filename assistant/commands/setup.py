"""`onlooker setup`: looks at this machine, proposes a model, tries camera and sound, writes the configuration."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.commands.common import Values, add_config_option, changes, keys_of, settings_of, show_value
from assistant.errors import UsageError
from model.errors import OnlookerError

if TYPE_CHECKING:
    from assistant.config.settings import Settings
    from model.published import Fit

Kept = dict[str, str]
"""Addresses to be kept under names, once that is agreed to."""

OWN_SOURCE = "mine"
"""The name under which an address is kept that was given here."""

SENTENCE = "Hello. This is how I sound when I have something to say."


def add_parser(commands) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "setup",
        help="choose a model, a camera and a voice, step by step",
        description="Looks at this machine, proposes a model that fits it, tries the camera and the voice, and writes "
        "what you chose into your configuration. Nothing is written before the end; what is in the file stays.",
    )
    parser.add_argument("--yes", action="store_true", help="ask nothing: take what is proposed")
    add_config_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises UsageError where the answers end too early, and what reading and writing the configuration raises."""
    from assistant.config.settings import (
        find_config,
        load_settings,
        only_one_writer,
        read_sources,
        set_keys,
        sources_path,
        user_config_path,
        write_sources,
    )

    kept: Kept = {}
    person = Person(takes_all=args.yes)
    settings = settings_of(args)
    file = find_config(args.config, os.environ) or user_config_path()
    values: Values = {}
    for title, step in (("Machine", show_machine), ("Model", choose_model), ("Camera", choose_camera),
                        ("Voice", choose_voice)):  # fmt: skip
        print(f"\n{title}\n{'-' * len(title)}")
        values |= step(person, settings, kept)
    print("\nConfiguration\n-------------")
    values = changes(values, settings)
    for (section, key), value in values.items():
        print(f"  {section}.{key} = {show_value(value)}")
    for name in kept:
        print(f"  and the address of {name!r}, in {sources_path()}, where only you can read it")
    if not (values or kept):
        print("Nothing has to be changed.")
    elif person.agrees(f"Write this to {file}?"):
        if kept:
            with only_one_writer():
                write_sources({**read_sources(sources_path()), **kept})
        if values:
            set_keys(file, values)
            load_settings(file)
        print(f"{file}: written")
    else:
        print("Nothing was written.")
    print('\nNext: `onlooker run` watches and speaks, `onlooker ask "What do you see?"` asks it something,')
    print("`onlooker watch demo` shows what it does on a clip of its own, `onlooker doctor` checks everything again.")
    return 0


@dataclass(frozen=True)
class Person:
    """Who answers. takes_all: nobody is asked, and every proposal is taken."""

    takes_all: bool = False

    def agrees(self, question: str) -> bool:
        """Yes or no; an empty line means yes. Raises UsageError where nobody answers."""
        return self.answers(f"{question} [Y/n] ", "y").lower() in ("y", "yes")

    def answers(self, question: str, proposed: str, *, is_secret: bool = False) -> str:
        """A line; `proposed` for an empty one. is_secret: it is not to be seen while it is typed. Raises UsageError
        where nobody answers.
        """
        if self.takes_all:
            print(f"{question}{proposed}")
            return proposed
        try:
            ask = getpass.getpass if is_secret and sys.stdin.isatty() else input
            return ask(question).strip() or proposed
        except EOFError:
            print()
            raise UsageError("setup: the answers ended; nothing was written (--yes takes what is proposed)") from None
        except UnicodeDecodeError:
            raise UsageError("setup: an answer is not text in this terminal's encoding; nothing was written") from None

    def chooses(self, question: str, names: Sequence[str]) -> int:
        """The index of one of several; an empty line means the first."""
        while True:
            said = self.answers(f"{question} [1] ", "1")
            if said.isdecimal() and 1 <= int(said) <= len(names):
                return int(said) - 1
            print(f"{said}: a number from 1 to {len(names)} is meant")


def show_machine(person: Person, settings: Settings, kept: Kept) -> Values:
    """What is there, in a few lines."""
    import psutil

    from assistant.machine.devices import list_compute

    for device in list_compute():
        print(f"  {device.name}")
    print(f"  {psutil.virtual_memory().total / (1 << 30):.0f} GiB of memory")
    return {}


def choose_model(person: Person, settings: Settings, kept: Kept) -> Values:
    """The checkpoint, fetched if it is not here; the default one where no other can be had."""
    from assistant.machine.memory import gpu_bytes
    from model.published import GIB, PUBLISHED, fit

    in_use = settings.config.model.name
    if in_use != "default" and person.agrees(f"Your configuration names {in_use}. Keep it?"):
        return {}
    total_bytes = gpu_bytes()
    fits = {name: found for name, one in PUBLISHED.items() if (found := fit(one, total_bytes))}
    if not fits:
        why = f"this one has {total_bytes / GIB:.0f}" if total_bytes else "there is none here"
        print(
            f"The published 8B models want a GPU of 8 GiB or more; {why}. The default model runs anywhere; it was made"
        )
        print("in a simulated world, and in a real room it mostly says nothing, or names the wrong thing.")
        return _fetched("default")
    names = sorted(fits, key=lambda name: not PUBLISHED[name].is_recommended)
    for number, name in enumerate(names, start=1):
        one = PUBLISHED[name]
        print(f"  {number} {name}: {one.good_at}")
        print(f"    about {one.download_bytes / 1e9:.0f} GB; here as {fits[name].weights}; licence {one.licence}")
    print(f"  {len(names) + 1} default: small, made in a simulated world; for trying things out")
    options = [*names, "default"]
    chosen = options[person.chooses("Which one?", options)]
    return _fetched(chosen, fits.get(chosen))


def _fetched(name: str, found: Fit | None = None) -> Values:
    """The keys of a checkpoint, once its weights are here; those of the default one if they cannot be had."""
    from assistant.mind.opening import needed_weights
    from assistant.runtime.progress import PullBar
    from model.weights import ensure

    try:
        with PullBar() as bar:
            for part in needed_weights(name) if name == "default" else [name]:
                ensure(part, on_progress=bar.update)
    except OnlookerError as error:
        print(f"  {error}")
        if name == "default":
            print("  It is fetched at the first start with a network.")
            return keys_of(name, None)
        print(f"  The default model stays; later: `onlooker model pull {name}`, `onlooker model use {name}`.")
        return _fetched("default")
    print(f"  {name}: here")
    return keys_of(name, found)


def choose_camera(person: Person, settings: Settings, kept: Kept) -> Values:
    """The source, tried."""
    from assistant.machine.devices import list_cameras, list_screens

    cameras = [*list_cameras(), *list_screens()]
    for number, camera in enumerate(cameras, start=1):
        print(f"  {number} {camera.use}: {camera.name}")
    if not cameras:
        print("No camera is connected. A camera in the network has an address (rtsp://…, http://…); phones and glasses")
        print("can send to one of ours (rtmp-listen://0.0.0.0:1935/live/KEY); or name a video file, to watch that.")
    while True:
        said = person.answers(
            "Which one: a number, a file, or a for an address? [1] "
            if cameras
            else "A file, or a for an address; empty: none yet. ",
            "1" if cameras else "",
        )
        if said.lower() == "a":
            said = person.answers("Its address (it is not shown while you type): ", "", is_secret=True)
            if not said:
                continue
        if not said:
            print("  None yet: connect one, or run this again; camera:0 is what `onlooker run` will look for.")
            return {}
        text = cameras[int(said) - 1].use if said.isdecimal() and 1 <= int(said) <= len(cameras) else said
        values = _tried(person, settings, text, kept)
        if values is not None:
            return values


def _tried(person: Person, settings: Settings, text: str, kept: Kept) -> Values | None:
    """The keys of a source that works, or that is wanted all the same; None: another one."""
    from assistant.capture.source import parse_source
    from assistant.capture.trial import try_source

    try:
        text.encode()
        source = parse_source(text, settings.config.sources)
    except (OnlookerError, UnicodeEncodeError) as error:
        print(f"  {error}" if isinstance(error, OnlookerError) else "  its name is not UTF-8; rename it")
        return {} if person.takes_all else None
    try:
        print(f"  {source.shown}: {try_source(source, settings.config.capture.timeout_s)}")
    except OnlookerError as error:
        print(f"  {error}")
        if not person.takes_all and not person.agrees("Keep it all the same?"):
            return None
    if "://" not in text:
        return {("capture", "source"): source.written or text}
    known = settings.config.sources
    names = (OWN_SOURCE, *(f"{OWN_SOURCE}-{number}" for number in range(2, len(known) + 3)))
    name = next(name for name in names if known.get(name, text) == text)
    if name not in known:
        kept[name] = text  # not in the configuration, which others may read: it may hold a password
    return {("capture", "source"): name}


def choose_voice(person: Person, settings: Settings, kept: Kept) -> Values:
    """Whether remarks are spoken; a sentence is, to hear it."""
    from assistant.errors import SpeechError
    from assistant.sound.card_child import default_output

    try:
        name, _ = default_output()
    except SpeechError as error:
        print(
            f"No sound can be heard here ({error}). Remarks are shown by `onlooker watch`, and by `onlooker log` where"
        )
        print("a journal is kept; when a sound device is connected, they are spoken, too.")
        return {}
    print(f"  sound goes to {name}")
    while True:
        said = _say(settings)
        if said:
            print(f"  {said}")
            return {}
        if person.takes_all or person.agrees("Did you hear it?"):
            return {("voice", "enabled"): True}
        print("Turn it up, or choose another output in your system's sound settings, then try again.")
        if not person.agrees("Again?"):
            return {("voice", "enabled"): person.agrees("Shall it speak all the same?")}


def _say(settings: Settings) -> str:
    """Say a sentence; gives what went wrong, with what helps."""
    from assistant.voice.lines import Sentence
    from assistant.voice.opening import open_voice

    told: list[str] = []
    voice = open_voice(settings.config.voice, None, threading.Event(), told.append)
    if voice is None:
        return "The voice is switched off in your configuration (voice.enabled, voice.engine); so it stays."
    voice.say(Sentence(SENTENCE, 0.0))
    voice.close(0.0)
    if voice.num_spoken:
        return ""
    return f"The voice does not work: {told[-1] if told else voice.where}; Debian: apt install espeak-ng"
