"""`onlooker setup` as a newcomer answers it, on a machine without camera, GPU and sound; and where there is a GPU."""

import io
import os
import pty
import select
import stat
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from assistant import cli
from assistant.capture.source import demo_path, parse_source
from assistant.capture.trial import try_source
from assistant.config.settings import (
    load_settings,
    read_sources,
    sources_path,
    user_config_path,
    write_sources,
)
from assistant.errors import SpeechError
from assistant.machine import devices
from model.errors import WeightsError
from model.published import GIB
from tests.assistant.camera import Camera

GOLDEN = Path(__file__).parents[1] / "golden"
NOTHING = "\n"
ON_A_BARE_MACHINE = """
import sys
from assistant import cli
from assistant.errors import SpeechError
from assistant.machine import devices, memory
from assistant.sound import card_child
from model import weights

def no_output():
    raise SpeechError("no sound device")

weights.ensure = lambda name, *, on_progress=None: None
devices.list_cameras = devices.list_screens = list
memory.gpu_bytes = lambda: 0
card_child.default_output = no_output
sys.exit(cli.main(["setup"]))
"""
"""What `bare` is to this process, for one that a terminal is given to."""


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """No camera, no GPU, no sound, whatever this machine has; all weights there."""

    def no_output():
        raise SpeechError("no sound device")

    monkeypatch.setattr("model.weights.ensure", lambda name, *, on_progress=None: None)
    monkeypatch.setattr(devices, "list_cameras", list)
    monkeypatch.setattr(devices, "list_screens", list)
    monkeypatch.setattr("assistant.machine.memory.gpu_bytes", lambda: 0)
    monkeypatch.setattr("assistant.sound.card_child.default_output", no_output)


def answer(monkeypatch, capsys, answers: str, *more: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "stdin", io.StringIO(answers))
    capsys.readouterr()
    code = cli.main(["setup", *more])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_a_newcomer_without_camera_gpu_and_sound_is_told_what_there_is_and_what_helps(monkeypatch, capsys):
    code, out, err = answer(monkeypatch, capsys, NOTHING)
    assert (code, err) == (0, "")
    assert "there is none here. The default model runs anywhere" in out
    assert "No camera is connected. A camera in the network has an address" in out
    assert "No sound can be heard here (no sound device)" in out
    assert "Nothing has to be changed." in out
    assert "`onlooker run` watches and speaks" in out
    assert not user_config_path().exists()


def test_answers_that_end_too_early_write_nothing(monkeypatch, capsys):
    code, _, err = answer(monkeypatch, capsys, "")
    assert code == 2
    assert "the answers ended; nothing was written" in err
    code, _, err = answer(monkeypatch, capsys, "demo\n")
    assert code == 2
    assert not user_config_path().exists()


def test_a_source_is_tried_until_it_is_one(monkeypatch, capsys, tmp_path):
    empty = tmp_path / "empty.mp4"
    empty.touch()
    code, out, _ = answer(monkeypatch, capsys, f"camera:x\n{empty}\n99\n{demo_path()}\ny\n")
    assert code == 0
    assert "a camera is camera:N" in out
    assert "the file is empty" in out
    assert "99: no such file" in out
    assert "480 × 480 pixels" in out
    assert load_settings().config.capture.source == str(demo_path())


def test_no_is_taken_for_no(monkeypatch, capsys):
    code, out, _ = answer(monkeypatch, capsys, "demo\nn\n")
    assert code == 0
    assert "Nothing was written." in out
    assert not user_config_path().exists()


def test_an_address_is_kept_where_only_its_owner_reads_it(monkeypatch, capsys):
    camera = Camera()
    camera.plug()
    try:
        code, out, _ = answer(monkeypatch, capsys, f"{camera.address}?token=secret\ny\n")
    finally:
        camera.unplug()
    assert code == 0
    assert "64 × 48 pixels" in out
    assert "secret" not in out + user_config_path().read_text()
    settings = load_settings().config
    assert (settings.capture.source, settings.sources["mine"]) == ("mine", f"{camera.address}?token=secret")
    assert stat.S_IMODE(sources_path().stat().st_mode) == 0o600


def test_an_address_is_not_seen_while_it_is_typed():
    camera = Camera()
    camera.plug()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", ON_A_BARE_MACHINE]
    setup = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True)
    shown = ""

    def answer_after(question: str, said: str) -> None:
        nonlocal shown
        before = len(shown)
        while question not in shown[before:]:
            ready, _, _ = select.select([ours, setup.stdout], [], [], 60)
            assert ready, shown
            shown += "".join(os.read(file if isinstance(file, int) else file.fileno(), 4096).decode() for file in ready)
        os.write(ours, f"{said}\n".encode())

    try:
        answer_after("a for an address", "a")
        answer_after("not shown while you type", f"{camera.address}?token=secret")
        answer_after("Write this to", "y")
        rest, _ = setup.communicate(timeout=60)
    finally:
        setup.kill()
        camera.unplug()
        os.close(theirs)
    while select.select([ours], [], [], 0.2)[0]:
        try:
            shown += os.read(ours, 4096).decode()
        except OSError:
            break
    os.close(ours)
    assert setup.returncode == 0
    assert "secret" not in shown + rest.decode()
    assert read_sources(sources_path()) == {"mine": f"{camera.address}?token=secret"}


def test_an_address_that_was_kept_before_is_not_lost(monkeypatch, capsys):
    old = "rtsp://me:OLD@10.0.0.9/door"
    write_sources({"mine": old})
    new = f"{Camera().address}?token=new"
    for answers, code in ((f"{new}\ny\nn\n", 0), (f"{new}\ny\n", 2)):
        assert answer(monkeypatch, capsys, answers)[0] == code
        assert read_sources(sources_path()) == {"mine": old}
    assert answer(monkeypatch, capsys, f"{new}\ny\ny\n")[0] == 0
    assert read_sources(sources_path()) == {"mine": old, "mine-2": new}
    assert load_settings().config.capture.source == "mine-2"


def test_what_a_user_has_set_is_kept(monkeypatch, capsys, tmp_path):
    file = user_config_path()
    file.parent.mkdir(parents=True)
    mine = f'[model]\nname = "{GOLDEN}"\n[stream]\nfps = 4.0  # I need four\nsilence_threshold = 0.9\n'
    file.write_text(mine)
    code, out, _ = answer(monkeypatch, capsys, "", "--yes")
    assert code == 0
    assert "Nothing has to be changed." in out
    assert file.read_text() == mine
    assert answer(monkeypatch, capsys, "n\n\ny\n")[0] == 0
    config = load_settings().config
    assert (config.model.name, config.stream.fps, config.stream.silence_threshold) == ("default", 2.0, "checkpoint")


def test_an_answer_that_is_not_text_is_told(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="utf-8"))
    assert cli.main(["setup"]) == 2
    assert "is not text in this terminal's encoding" in capsys.readouterr().err


def test_a_camera_that_is_not_there_now_may_be_kept_all_the_same(monkeypatch, capsys):
    code, out, _ = answer(monkeypatch, capsys, f"{Camera().address}\ny\ny\n")
    assert code == 0
    assert "Keep it all the same?" in out
    assert load_settings().config.capture.source == "mine"


def test_yes_takes_what_is_proposed(monkeypatch, capsys):
    code, out, _ = answer(monkeypatch, capsys, "", "--yes")
    assert code == 0
    assert "Nothing has to be changed." in out


def test_a_model_that_cannot_be_had_leaves_the_default_one(monkeypatch, capsys):
    def ensure(name: str, *, on_progress=None) -> None:
        if name == "videollm-online-8b-v1plus":
            raise WeightsError("meta-llama/x: its owners want its licence to be accepted first")

    monkeypatch.setattr("assistant.machine.memory.gpu_bytes", lambda: 24 * GIB)
    monkeypatch.setattr("model.weights.ensure", ensure)
    code, out, _ = answer(monkeypatch, capsys, "7\n1\n\n")
    assert code == 0
    assert "1 videollm-online-8b-v1plus: narrates" in out
    assert "7: a number from 1 to 5 is meant" in out
    assert "its owners want its licence to be accepted first" in out
    assert "later: `onlooker model pull videollm-online-8b-v1plus`" in out
    assert "Nothing has to be changed." in out


def test_a_model_that_is_had_is_configured_as_it_fits(monkeypatch, capsys):
    monkeypatch.setattr("assistant.machine.memory.gpu_bytes", lambda: 8 * GIB)
    code, out, _ = answer(monkeypatch, capsys, "1\n\ny\n")
    assert code == 0
    config = load_settings().config
    assert (config.model.name, config.model.weights) == ("videollm-online-8b-v1plus", "int4")
    assert config.stream.window_tokens == 4096
    code, out, _ = answer(monkeypatch, capsys, "n\n5\n\ny\n")
    assert 'model.weights = "dtype"' in out
    config = load_settings().config
    assert (config.model.name, config.model.weights, config.stream.window_tokens) == ("default", "dtype", 2048)


def test_a_dark_picture_is_told_of(tmp_path):
    path = tmp_path / "dark.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(30):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
        file.mux(stream.encode())
    assert try_source(parse_source(str(path)), 2.0) == "64 × 48 pixels, almost black: is the lens covered?"
