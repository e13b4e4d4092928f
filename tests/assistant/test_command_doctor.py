"""`onlooker doctor` and `onlooker devices` say what this machine has, what is missing, and what runs on its GPU."""

import json
from pathlib import Path

import pytest
import torch

from assistant.commands.checks import examine
from assistant.config.keys import Config
from assistant.machine import devices
from assistant.mind.opening import resolve_device, resolve_dtype
from model.engine import check_engine, has_graphs
from model.errors import OnlookerError
from tests.assistant.command_line import run

GOLDEN = Path(__file__).parents[1] / "golden"


def test_doctor_tells_what_is_missing_and_what_to_do(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ONLOOKER_MODEL__NAME", str(GOLDEN))
    code, out, _ = run(capsys, "doctor", "--json")
    report = json.loads(out)
    checks = {check["name"]: check for check in report["checks"]}
    assert code == 0, report
    assert report["ok"] is True
    for name in ("python", "torch", "device", "checkpoint", "weights", "video files", "voice", "disk space"):
        assert checks[name]["ok"], checks[name]
    for check in checks.values():
        assert check["ok"] or check["remedy"], check

    monkeypatch.setenv("ONLOOKER_MODEL__NAME", str(tmp_path / "none"))
    monkeypatch.setenv("ONLOOKER_MODEL__DEVICE", "cuda:9")
    code, out, _ = run(capsys, "doctor")
    assert code == 3
    assert "missing: device, checkpoint" in out
    assert "Traceback" not in out


def test_doctor_tells_what_the_plain_engine_attends_with(capsys, monkeypatch):
    checks = {check["name"]: check for check in json.loads(run(capsys, "doctor", "--json")[1])["checks"]}
    assert checks["attention"]["detail"] == "SDPA, for the plain engine"
    monkeypatch.setenv("ONLOOKER_MODEL__ATTENTION", "flash_attention_2")
    monkeypatch.setenv("ONLOOKER_MODEL__DEVICE", "cpu")
    code, out, _ = run(capsys, "doctor", "--json")
    attention = next(check for check in json.loads(out)["checks"] if check["name"] == "attention")
    assert code == 3
    assert "pip install flash-attn --no-build-isolation" in attention["detail"]
    assert attention["remedy"] == 'set model.attention to "auto"'


def test_doctor_reports_a_wrong_configuration(capsys, monkeypatch):
    monkeypatch.setenv("ONLOOKER_STREAM__FPS", "0")
    code, out, _ = run(capsys, "doctor", "--json")
    assert code == 3
    assert json.loads(out)["checks"][0]["ok"] is False


def test_devices(capsys):
    code, out, _ = run(capsys, "devices", "--json")
    assert code == 0
    assert "cpu" in [device["use"] for device in json.loads(out)]
    assert "compute" in run(capsys, "devices")[1]


def test_cameras_are_listed_by_their_picture_node(tmp_path):
    for node, index, name in (("video0", 0, "Front"), ("video1", 1, "Front"), ("video10", 0, "Glasses")):
        (tmp_path / node).mkdir()
        (tmp_path / node / "index").write_text(f"{index}\n")
        (tmp_path / node / "name").write_text(f"{name}\n")
    found = devices.linux_cameras(tmp_path)
    assert [(camera.use, camera.name) for camera in found] == [("camera:0", "Front"), ("camera:10", "Glasses")]


def test_an_apple_gpu_is_taken_where_there_is_no_other(monkeypatch):
    """As far as can be tried without one: what is chosen, and what is said."""
    assert resolve_device("auto") == "cpu"
    with pytest.raises(OnlookerError, match="no Apple GPU here"):
        resolve_device("mps")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert resolve_device("auto") == resolve_device("mps") == "mps"
    assert (resolve_dtype("auto", "mps"), resolve_dtype("auto", "cuda:1")) == ("float32", "bfloat16")
    (device,) = [check for check in examine(Config()) if check.name == "device"]
    assert device.ok
    assert device.remedy.startswith("it runs the plain engine")


def test_an_amd_gpu_runs_the_plain_engine(monkeypatch):
    """torch calls it "cuda"; no such GPU is here, so that only the choice is tried."""
    gpu = torch.device("cuda")
    assert has_graphs(gpu)
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert not has_graphs(gpu)
    check_engine(gpu, kind="auto", weights="dtype")
    with pytest.raises(OnlookerError, match="weights = 'int8': needs an NVIDIA GPU, and the device is an AMD GPU"):
        check_engine(gpu, kind="auto", weights="int8")
