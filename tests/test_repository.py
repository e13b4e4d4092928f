"""Rules that the repository as a whole keeps: what may stand in a file, what must be named where."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
MAX_TREE_BYTES = 40_000_000
PACKAGES = ("assistant", "model", "train")
# Written in pieces, so that this file keeps its own rule.
HOSTS = ["py" + "pi.org", "python" + "hosted.org", "hugging" + "face.co", "npm" + "js.org", "npm" + "js.com"]
DEVELOPER_PATHS = re.compile(r"(?<![\w./~$}-])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me/\w+)/")
UNFINISHED = re.compile(
    r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|NotImplemented" + r"Error)\b|pytest\.(sk" + r"ip|xf" + r"ail)"
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> dict[str, str]:
    """Path → contents of every tracked text file but the licence, which is not ours to word."""
    found = {}
    for path in tracked_files():
        data = path.read_bytes()
        if b"\0" not in data[:4096] and path.name != "LICENSE":
            found[path.relative_to(ROOT).as_posix()] = data.decode("utf-8")
    return found


def lines_matching(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_registry_is_named_by_its_address() -> None:
    assert lines_matching(re.compile("|".join(map(re.escape, HOSTS)))) == []


def test_no_path_of_a_developer_s_machine() -> None:
    assert lines_matching(DEVELOPER_PATHS) == []
    assert DEVELOPER_PATHS.search("in /" + "home/ann/project")


def test_nothing_is_left_unfinished() -> None:
    assert lines_matching(UNFINISHED) == []


def test_the_tree_is_small() -> None:
    assert sum(path.stat().st_size for path in tracked_files()) < MAX_TREE_BYTES


def test_the_changelog_knows_the_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert PROJECT["version"] in headings


def test_the_architecture_document_is_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "packaging" / "architecture.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_file_that_the_documents_name_is_there() -> None:
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "ARCHITECTURE.md"):
        named = re.findall(r"`((?:assistant|model|train|tests|packaging)/[\w./-]+\.\w+)`", document.read_text("utf-8"))
        assert [name for name in named if not (ROOT / name).exists()] == [], document
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_continuous_integration_runs_the_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = [
        line for line in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines() if line.startswith("exec ")
    ]
    assert [command.removeprefix("exec ") in readme for command in commands] == [True]


def requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"]
    return [
        Requirement(text) for text in [*PROJECT["dependencies"], *(need for needs in extras.values() for need in needs)]
    ]


def test_the_lock_pins_every_requirement_and_holds_no_address() -> None:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*", line)] == []
    pinned = dict(line.split("==") for line in lines)
    extras = PROJECT["optional-dependencies"]
    unlocked = {Requirement(text).name for text in (*extras["flash"], *extras["hands"])}  # for a step that few take
    for requirement in requirements():
        if requirement.name not in unlocked | {"triton"}:  # torch itself pins triton to the digit
            version = pinned[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{requirement} is locked to {version}"


RUN_BY_DEBIAN = ("tests/assistant/rtsp_camera.py",)
"""With its own Python and bindings, which packaging/setup.sh installs."""


def test_every_import_is_a_declared_requirement() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in requirements()}
    providers = metadata.packages_distributions()
    undeclared = set()
    for path in tracked_files():
        if path.suffix != ".py" or path.relative_to(ROOT).as_posix() in RUN_BY_DEBIAN:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                roots = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                roots = {node.module.split(".")[0]}
            else:
                continue
            for root in roots - set(sys.stdlib_module_names) - {*PACKAGES, "tests"}:
                names = {canonicalize_name(name) for name in providers.get(root, [root])}
                if not names & declared:
                    undeclared.add(f"{path.relative_to(ROOT).as_posix()}: {root}")
    assert sorted(undeclared) == []


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE", "CONTRIBUTING.md", "packaging/README.md", "config.toml"])
def test_the_papers_are_there(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8").strip()
