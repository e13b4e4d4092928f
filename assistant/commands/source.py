"""`onlooker source add|list|remove`: names of the user's own for cameras and addresses."""

from __future__ import annotations

import argparse
import sys

from assistant.errors import UsageError

MAX_ADDRESS = 4096


def add_parser(commands) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "source",
        help="names of your own for cameras and addresses",
        description="Keeps addresses under names, where only you can read them: `onlooker run NAME` is enough then.",
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="ask for an address, without showing it, and keep it under a name")
    add.add_argument("name", metavar="NAME")
    add.set_defaults(run=run_add)
    actions.add_parser("list", help="the names there are").set_defaults(run=run_list)
    remove = actions.add_parser("remove", help="forget a name, and its address")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=run_remove)


def run_add(args: argparse.Namespace) -> int:
    """From the terminal, or a line of standard input. Raises UsageError, ConfigError, OutputError."""
    import getpass

    from assistant.capture.source import parse_source
    from assistant.config.addresses import shown_name
    from assistant.config.keys import A_SOURCE_NAME, SOURCE_NAME
    from assistant.config.settings import only_one_writer, read_sources, sources_path, write_sources

    if not SOURCE_NAME.fullmatch(args.name):
        raise UsageError(f"{shown_name(args.name)}: a name has {A_SOURCE_NAME}; the address is asked for")
    if sys.stdin.isatty():
        address = getpass.getpass(f"Address of {args.name} (it is not shown): ").strip()
    else:
        address = sys.stdin.readline(MAX_ADDRESS).strip()
    if not address:
        raise UsageError(f"{args.name}: no address was given; nothing changed")
    parse_source(address)
    with only_one_writer():
        write_sources({**read_sources(sources_path()), args.name: address})
    print(f"{args.name}: kept in {sources_path()}; `onlooker run {args.name}` watches it")
    return 0


def run_list(args: argparse.Namespace) -> int:
    """Names, and what may be shown of what they stand for. Raises ConfigError."""
    from assistant.config.addresses import shown_name
    from assistant.config.settings import load_settings

    names = load_settings().config.sources
    for name, address in names.items():
        print(f"{name:<20} {shown_name(address)}")
    if not names:
        print("no names yet; `onlooker source add NAME` makes one")
    return 0


def run_remove(args: argparse.Namespace) -> int:
    """Raises UsageError for a name that is not there, ConfigError, OutputError."""
    from assistant.config.settings import only_one_writer, read_sources, sources_path, write_sources

    with only_one_writer():
        names = read_sources(sources_path())
        if args.name not in names:
            raise UsageError(f"{args.name}: is no name in {sources_path()}; `onlooker source list` shows all")
        write_sources({name: address for name, address in names.items() if name != args.name})
    print(f"{args.name}: forgotten")
    return 0
