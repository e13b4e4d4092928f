"""`onlooker`, and `python -m assistant`: the command line."""

import sys
from collections.abc import Callable

from model.entry import run


def _load() -> Callable[[], int]:
    from assistant import cli

    return cli.main


def main() -> int:
    """Run one command; gives its exit code."""
    return run(_load)


if __name__ == "__main__":
    sys.exit(main())
