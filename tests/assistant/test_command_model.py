"""`onlooker model` lists, finds, chooses and removes checkpoints and weights, and knows which fit this machine."""

import json
from pathlib import Path

import pytest

from assistant.config.settings import load_settings, user_config_path
from model.published import GIB, PUBLISHED
from tests.assistant.command_line import run

GOLDEN = Path(__file__).parents[1] / "golden"


def test_model_list_and_path(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ONLOOKER_DATA", str(tmp_path / "data"))
    facts = json.loads(run(capsys, "model", "list", "--json")[1])
    assert facts["checkpoint"]["name"] == "default"
    assert "smollm2-135m-instruct" in [weights["name"] for weights in facts["weights"]]
    assert not any(weights["present"] for weights in facts["weights"])
    assert run(capsys, "model", "path") == (0, f"{tmp_path}/data/weights\n", "")
    assert run(capsys, "model", "path", "whisper-tiny.en")[1] == f"{tmp_path}/data/weights/whisper-tiny.en\n"
    code, _, err = run(capsys, "model", "path", "nonsense")
    assert code == 2
    assert "nonsense" in err


@pytest.fixture
def pulled(monkeypatch, tmp_path) -> None:
    """All parts of one published checkpoint, as far as `is_present` looks."""
    monkeypatch.setenv("ONLOOKER_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "weights" / "hub").mkdir(parents=True)
    (tmp_path / "file").write_text("here")
    mark = json.dumps({"folder": str(tmp_path), "sizes": {"file": 4}})
    for part in PUBLISHED["proassist-i10"].parts:
        (tmp_path / "data" / "weights" / "hub" / f"{part.replace('/', '--')}.path").write_text(mark)


def with_gpu(monkeypatch, gibibytes: float) -> None:
    monkeypatch.setattr("assistant.machine.memory.gpu_bytes", lambda: int(gibibytes * GIB))


def test_model_list_says_what_fits(capsys, monkeypatch, pulled):
    with_gpu(monkeypatch, 8)
    facts = {one["name"]: one for one in json.loads(run(capsys, "model", "list", "--json")[1])["checkpoints"]}
    assert facts.keys() == PUBLISHED.keys()
    assert [name for name, one in facts.items() if one["present"]] == ["proassist-i10"]
    assert {one["fits_as"] for one in facts.values()} == {"int4"}
    assert [name for name, one in facts.items() if one["recommended"]] == ["videollm-online-8b-v1plus"]
    assert "* videollm-online-8b-v1plus  fits" in run(capsys, "model", "list")[1]
    with_gpu(monkeypatch, 0)
    out = run(capsys, "model", "list")[1]
    assert "videollm-online-8b-v1plus  needs GPU" in out
    assert "recommended" not in out


def test_model_use_of_a_published_one_sets_what_fits(capsys, monkeypatch, pulled):
    with_gpu(monkeypatch, 12)
    file = user_config_path()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("# mine\n[stream]\nfps = 1.0\n[voice]\nenabled = false\n")
    code, out, _ = run(capsys, "model", "use", "proassist-i10")
    assert code == 0
    assert f'{file}: model.weights = "int8"\n' in out
    text = file.read_text()
    assert text.startswith("# mine\n")
    settings = load_settings(file).config
    assert (settings.model.name, settings.model.weights) == ("proassist-i10", "int8")
    assert (settings.stream.fps, settings.stream.window_tokens, settings.voice.enabled) == (2.0, 4096, False)
    for name in ("proassist-i10", "594zyc/ProAssist-Model-L4096-I10", "google/siglip-so400m-patch14-384"):
        code, _, err = run(capsys, "model", "remove", name)
        assert code == 2
        assert "the configuration uses it" in err


def test_model_use_of_a_published_one_refuses_what_does_not_fit(capsys, monkeypatch, pulled):
    with_gpu(monkeypatch, 6)
    code, _, err = run(capsys, "model", "use", "proassist-i10")
    assert code == 2
    assert "needs a GPU with 5.7 GiB and some more to work in; this machine's has 6.0 GiB" in err
    code, _, err = run(capsys, "model", "use", "proassist-i5")
    assert "get it first with `onlooker model pull proassist-i5`" in err
    assert not user_config_path().exists()


def test_what_has_lost_a_file_is_not_present(capsys, monkeypatch, pulled, tmp_path):
    with_gpu(monkeypatch, 24)
    (tmp_path / "file").write_text("less")
    assert run(capsys, "model", "use", "proassist-i10")[0] == 0
    (tmp_path / "file").write_text("les")
    assert "get it first" in run(capsys, "model", "use", "proassist-i10")[2]
    for damaged in (b"\xff", b"[]", b"{}", b'{"folder": 1, "sizes": 2}'):
        mark = tmp_path / "data" / "weights" / "hub" / "google--siglip-so400m-patch14-384.path"
        mark.write_bytes(damaged)
        assert "get it first" in run(capsys, "model", "use", "proassist-i10")[2]


def test_another_checkpoint_does_not_inherit_the_last_ones_format(capsys, monkeypatch):
    file = user_config_path()
    file.parent.mkdir(parents=True)
    file.write_text('[model]\nname = "x/y"\nweights = "int8"\n[stream]\nfps = 1.0\nsilence_threshold = 0.9\n')
    monkeypatch.setenv("ONLOOKER_MODEL__WEIGHTS", "dtype")
    assert run(capsys, "model", "use", str(GOLDEN))[0] == 0
    config = load_settings(file, environ={}).config
    assert (config.model.weights, config.stream.silence_threshold, config.stream.fps) == ("dtype", "checkpoint", 1.0)


def test_names_of_any_length_are_names(capsys, pulled):
    for action in ("use", "path", "pull", "remove"):
        code, _, err = run(capsys, "model", action, "x" * 3000)
        assert code in (2, 3)
        assert err.count("\n") == 1


def test_model_path_and_remove(capsys, pulled, tmp_path):
    assert run(capsys, "model", "path", "proassist-i10") == (0, f"{tmp_path}\n", "")
    code, _, err = run(capsys, "model", "remove", "nonsense")
    assert code == 3
    assert "'nonsense' are not known" in err
    assert run(capsys, "model", "remove", "whisper-tiny.en")[1] == "whisper-tiny.en: was not here\n"


def test_model_pull_of_an_unknown_name(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ONLOOKER_DATA", str(tmp_path / "data"))
    code, _, err = run(capsys, "model", "pull", "nonsense")
    assert code == 3
    assert "nonsense" in err


def test_model_use_keeps_the_rest_of_the_file(capsys):
    file = user_config_path()
    file.parent.mkdir(parents=True)
    file.write_text("# my settings\n[stream]\nfps = 1  # slow\n")
    code, out, _ = run(capsys, "model", "use", str(GOLDEN))
    assert code == 0
    assert out == f'{file}: model.name = "{GOLDEN}"\n'
    assert "# my settings" in file.read_text()
    settings = load_settings()
    assert settings.config.model.name == str(GOLDEN)
    assert settings.config.stream.fps == 1


@pytest.mark.parametrize("name", ["nonsense", "org/never-fetched", "."])
def test_model_use_refuses_what_is_not_there(capsys, name):
    code, _, err = run(capsys, "model", "use", name)
    assert code == 2
    assert err.startswith("onlooker: ")
    assert not user_config_path().exists()
