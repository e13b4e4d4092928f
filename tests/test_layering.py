"""The one-way rule between the packages, and between the rooms of the assistant, read from the imports themselves, and
no work at import.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("assistant", "model", "train")
MAY_IMPORT = {"assistant": {"assistant", "model"}, "train": {"train", "model"}, "model": {"model"}}
ROOMS = {
    "runtime": set(),
    "config": {"runtime"},
    "control": {"runtime"},
    "sound": {"runtime"},
    "web": {"runtime"},
    "capture": {"config", "runtime"},
    "journal": {"config", "runtime"},
    "machine": {"sound", "runtime"},
    "voice": {"sound", "config", "runtime"},
    "ear": {"sound", "config", "runtime"},
    "mind": {"capture", "config", "runtime"},
    "watch": {"mind", "capture", "voice", "config", "runtime"},
    "daemon": {"mind", "capture", "voice", "ear", "sound", "journal", "control", "machine", "web", "config", "runtime"},
    "commands": {
        "watch",
        "daemon",
        "mind",
        "capture",
        "voice",
        "ear",
        "sound",
        "journal",
        "control",
        "machine",
        "config",
        "runtime",
    },
}
"""Which rooms of the assistant each of them may import."""

MAX_CLASS_LINES = 250
NOT_IN_MODEL = {"threading", "_thread", "concurrent", "asyncio", "multiprocessing", "argparse", "tomllib", "tomlkit"}
HEAVY = {"torch", "transformers", "cv2", "av", "timm", "numpy", "pydantic", "sounddevice"}


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imports_of(text: str, package: tuple[str, ...]) -> set[str]:
    """Full dotted names of everything a file of `package` imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


def roots_imported_by(path: Path) -> set[str]:
    package = path.relative_to(ROOT).parent.parts
    return {name.split(".")[0] for name in imports_of(path.read_text(encoding="utf-8"), package)}


def test_every_form_of_import_is_seen() -> None:
    text = "import train.fit as f\ndef g():\n    from assistant.cli import main\n    from . import stream\n"
    assert imports_of(text, ("model",)) == {"train.fit", "assistant.cli", "assistant.cli.main", "model", "model.stream"}
    text = "from assistant import daemon\nfrom .. import control\n"
    assert {"assistant.daemon", "assistant.control"} <= imports_of(text, ("assistant", "runtime"))


def test_the_packages_are_there() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in sources()} == set(PACKAGES)


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    assert roots_imported_by(path) & {*PACKAGES, "tests"} <= MAY_IMPORT[package]


def rooms_imported_by(path: Path) -> set[str]:
    package = path.relative_to(ROOT).parent.parts
    names = [name.split(".") for name in imports_of(path.read_text(encoding="utf-8"), package)]
    return {parts[1] for parts in names if parts[0] == "assistant" and len(parts) > 1} & ROOMS.keys()


def test_every_file_of_the_assistant_is_in_a_room() -> None:
    folder = ROOT / "assistant"
    assert {path.name for path in folder.glob("*.py")} == {"__init__.py", "__main__.py", "cli.py", "errors.py"}
    assert {path.parent.name for path in folder.glob("*/__init__.py")} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_stands_below_it(room: str) -> None:
    for path in (ROOT / "assistant" / room).rglob("*.py"):
        assert rooms_imported_by(path) - {room} <= ROOMS[room], path


def test_no_room_stands_below_itself() -> None:
    for room, below in ROOMS.items():
        assert all(room not in ROOMS[other] for other in below), room


def test_classes_are_of_a_size_that_can_be_read() -> None:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                assert (node.end_lineno or 0) - node.lineno < MAX_CLASS_LINES, f"{path}: {node.name}"


def test_threads_are_made_in_one_place() -> None:
    made = [
        path for path in (ROOT / "assistant").rglob("*.py") if "threading.Thread(" in path.read_text(encoding="utf-8")
    ]
    assert made == [ROOT / "assistant" / "runtime" / "threads.py"]


def test_the_model_has_no_threads_no_arguments_no_configuration() -> None:
    for path in (ROOT / "model").rglob("*.py"):
        assert not roots_imported_by(path) & NOT_IN_MODEL, path


def module_names() -> list[str]:
    names = []
    for path in sources():
        parts = path.relative_to(ROOT).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in names if not name.endswith("__main__")]


IMPORT_WATCH = """
import importlib, os, sys, threading

ROOT, *names = sys.argv[1:]


def called_by_us():
    frame, files = sys._getframe(2), []
    while frame:
        files.append(frame.f_code.co_filename)
        frame = frame.f_back
    return any(file.startswith(ROOT) for file in files) and not any("site-packages" in file for file in files)


def watch(event, args):
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if (writes or event in ("os.mkdir", "subprocess.Popen", "socket.connect")) and called_by_us():
        os.write(2, f"{event} {args} at import".encode())
        os._exit(9)


sys.path.insert(0, ROOT)
sys.addaudithook(watch)
for name in names:
    before = threading.active_count()
    importlib.import_module(name)
    assert threading.active_count() == before, f"{name} starts a thread at import"
"""


def import_watched(root: Path, names: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    """Import modules in a fresh process that refuses files written, processes and connections at import."""
    environment = {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", IMPORT_WATCH, str(root), *names]
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=240)


def test_only_the_capture_asks_a_source_for_its_kind() -> None:
    asking = re.compile(r"source\.kind\b")
    rooms = [path for path in (ROOT / "assistant").rglob("*.py") if path.parent.name != "capture"]
    assert not [path for path in rooms if asking.search(path.read_text(encoding="utf-8"))]


def test_importing_does_no_work(tmp_path: Path) -> None:
    done = import_watched(ROOT, module_names(), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "work",
    [
        "open('notes.txt', 'w')",
        "import subprocess; subprocess.run(['true'])",
        "import threading, time; threading.Thread(target=time.sleep, args=(1,), daemon=True).start()",
    ],
)
def test_work_at_import_would_be_caught(tmp_path: Path, work: str) -> None:
    (tmp_path / "busy.py").write_text(work)
    assert import_watched(tmp_path, ["busy"], tmp_path).returncode != 0


def test_the_command_line_starts_light() -> None:
    """`onlooker --help` must answer at once: nothing heavy is imported before a command needs it."""
    script = "import sys, assistant.cli; print(' '.join(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert not HEAVY & set(done.stdout.split())
