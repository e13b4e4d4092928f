"""`python -m train`: the command line of training."""

import sys
from collections.abc import Callable

from model.entry import run


def _load() -> Callable[[], int]:
    from train import cli

    return cli.main


if __name__ == "__main__":
    sys.exit(run(_load))
