"""`onlooker watch-for`, against a daemon that watches, as a user types it."""

import json
import subprocess
import sys

import pytest

from assistant import cli
from assistant.control.client import Client
from assistant.control.instance import RUNTIME_VARIABLE
from tests.assistant.camera import wait_for
from tests.assistant.running_daemon import REAL_DATA, daemon


def test_a_request_is_told_once_in_do_not_disturb_and_nothing_else_is(tmp_path, monkeypatch, capsys):
    (tmp_path / "weights").mkdir()
    for folder in (REAL_DATA / "weights").iterdir():
        (tmp_path / "weights" / folder.name).symlink_to(folder)
    environ = {"ONLOOKER_POLICY__DO_NOT_DISTURB": "true", "ONLOOKER_DATA": str(tmp_path)}
    with daemon("demo", environ=environ, model="default", fps=2) as running:
        monkeypatch.setenv(RUNTIME_VARIABLE, str(running.directory))
        wait_for(lambda: running.facts()["frames"] > 4, 60)
        assert cli.main(["watch-for", "when", "I", "open", "the", "fridge"]) == 0
        assert cli.main(["watch-for", "I pick up a bottle", "--each-time", "--for", "2h", "--json"]) == 0
        listed = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert [(item["text"], item["repeats"]) for item in listed] == [
            ("I open the fridge", False),
            ("I pick up a bottle", True),
        ]
        assert running.facts()["watched_for"] == ["I open the fridge", "I pick up a bottle"]
        told = []
        with Client.connect(running.directory) as client:
            for notice in client.events(["remark"]):
                told.append((notice.facts["text"], notice.facts.get("reminds")))
                if any(reminds == "I open the fridge" for _, reminds in told):
                    break
        assert all(reminds for _, reminds in told), "nothing is said but what was asked for"
        assert "fridge" in told[-1][0]
        assert running.facts()["watched_for"] == ["I pick up a bottle"]
        assert cli.main(["watch-for", "--cancel", "all"]) == 0
        assert "nothing is watched for" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cancel", "x"], 'must be a number of the list, or "all"'),
        (["a cup", "--cancel", "1"], "not both"),
        (["a cup", "--for", "long"], "must be a number and s, m, h or d"),
    ],
)
def test_what_cannot_be_asked_for_is_said(arguments: list[str], words: str):
    command = [sys.executable, "-m", "assistant", "watch-for", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert words in done.stderr
