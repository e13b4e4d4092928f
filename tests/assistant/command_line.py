"""A command as a user types it, run in this process."""

import pytest

from assistant import cli


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main(list(args))
    shown = capsys.readouterr()
    return code, shown.out, shown.err
