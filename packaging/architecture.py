"""Writes the generated parts of docs/ARCHITECTURE.md anew: which room imports which, and every file by room.

`python packaging/architecture.py` rewrites them from the files that git knows (`git add` a new one first); with
`--check` it only says whether they are as they should be, and `--figures` prints the figures alone.
"""

import argparse
import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "ARCHITECTURE.md"
PACKAGES = ("assistant", "model", "train")
PARTS = ("imports", "files")


@cache
def sources(folder: str) -> tuple[Path, ...]:
    """The Python files of a folder that git knows, in order."""
    listed = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(
        path for path in map(ROOT.joinpath, listed.stdout.splitlines()) if path.suffix == ".py" and path.exists()
    )


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(path: Path) -> str:
    """ "assistant/mind" for assistant/mind/loop.py; the package itself for a file at its top."""
    return "/".join(path.relative_to(ROOT).parts[:2][: len(path.relative_to(ROOT).parts) - 1])


def imports() -> dict[str, set[str]]:
    """Room → the rooms that its files import, of all packages."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for p in PACKAGES for path in sources(p)}
    found: dict[str, set[str]] = defaultdict(set)
    for path in modules.values():
        for node in ast.walk(tree_of(path)):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            rooms = {room_of(modules[name]) for name in names if name in modules}
            found[room_of(path)] |= rooms - {room_of(path)}
    return found


def draw_imports() -> str:
    """The assistant's rooms as a Mermaid graph; what every room may import (errors, runtime, model) is left out."""
    prefix = "assistant/"
    lines = []
    for room, others in sorted(imports().items()):
        if room.startswith(prefix) and room != f"{prefix}runtime":
            names = sorted(other.removeprefix(prefix) for other in others if other.startswith(prefix))
            lines += [f"    {room.removeprefix(prefix)} --> {name}" for name in names if name != "runtime"]
    return "```mermaid\ngraph TD\n" + "\n".join(lines) + "\n```"


def first_sentence(docstring: str) -> str:
    """The first sentence of a docstring, on one line, without its full stop."""
    paragraph = " ".join(docstring.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[^.])\. |\.$", paragraph, maxsplit=1)[0]


def list_files() -> str:
    """Every file with its first sentence, folded by room."""
    rooms: dict[str, list[str]] = defaultdict(list)
    about = {}
    for package in PACKAGES:
        for path in sources(package):
            docstring = ast.get_docstring(tree_of(path)) or ""
            if path.name == "__init__.py":
                about[room_of(path)] = first_sentence(docstring)
            if len(tree_of(path).body) > bool(docstring):
                name = path.relative_to(ROOT).as_posix()
                rooms[room_of(path)].append(f"- `{name}` {first_sentence(docstring)}")
    parts = []
    for room in sorted(rooms, key=lambda room: (PACKAGES.index(room.split("/")[0]), room)):
        title = f"{room}/" + (f": {about[room]}" if about.get(room) else "")
        parts.append(f"<details><summary>{title}</summary>\n\n" + "\n".join(rooms[room]) + "\n\n</details>")
    return "\n\n".join(parts)


def figures() -> list[tuple[str, str]]:
    """What can be counted of how well the code shows its shape."""
    paths = [path for package in PACKAGES for path in sources(package)]
    classes = [(node, path) for path in paths for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)]
    longest, where = max(classes, key=lambda found: _num_lines(found[0]))
    twice = sorted(name for name, count in Counter(node.name for node, _ in classes).items() if count > 1)
    threads = [path for path in sources("assistant") if "threading.Thread(" in path.read_text(encoding="utf-8")]
    ignored = sum(path.read_text(encoding="utf-8").count("type: ignore[arg-type]") for path in sources("tests"))
    flat = [path for path in sources("assistant") if room_of(path) == "assistant" and path.name != "__init__.py"]
    return [
        ("files of the assistant outside rooms", f"{len(flat)}"),
        ("longest class", f"{longest.name} in {where.relative_to(ROOT).as_posix()}, {_num_lines(longest)} lines"),
        ("class names used twice", f"{len(twice)}" + (f": {', '.join(twice)}" if twice else "")),
        ("files that make threads", f"{len(threads)}"),
        ("public functions without a docstring of their own or of what they override", f"{_num_untold(paths)}"),
        ("`type: ignore[arg-type]` in tests", f"{ignored}"),
    ]


def _num_lines(node: ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _num_untold(paths: list[Path]) -> int:
    """Public functions, and methods of public classes, of which neither they nor a base class's say what they do."""
    trees = [tree_of(path) for path in paths]
    classes = {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}

    def is_told(name: str, owner: ast.ClassDef) -> bool:
        methods = {node.name: node for node in owner.body if isinstance(node, ast.FunctionDef)}
        bases = [classes[base.id] for base in owner.bases if isinstance(base, ast.Name) and base.id in classes]
        return bool(name in methods and ast.get_docstring(methods[name])) or any(is_told(name, base) for base in bases)

    def public(body: list[ast.stmt]) -> list[ast.FunctionDef]:
        return [node for node in body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"]

    functions = sum(not ast.get_docstring(node) for tree in trees for node in public(tree.body))
    owners = [owner for owner in classes.values() if owner.name[0] != "_"]
    return functions + sum(not is_told(node.name, owner) for owner in owners for node in public(owner.body))


def with_parts(document: str) -> str:
    """The document with everything between the marks of each part replaced."""
    for part, text in zip(PARTS, (draw_imports(), list_files()), strict=True):
        begin, end = f"<!-- {part} -->", f"<!-- end of {part} -->"
        before, rest = document.split(begin, 1)
        document = f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end, 1)[1]}"
    return document


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the document is out of date")
    what.add_argument("--figures", action="store_true", help="write nothing; print the figures")
    arguments = parser.parse_args()
    if arguments.figures:
        for name, value in figures():
            print(f"{name}: {value}")
        return 0
    old = DOCUMENT.read_text(encoding="utf-8")
    new = with_parts(old)
    if arguments.check:
        if new != old:
            print(f"{DOCUMENT}: is out of date; run: python packaging/architecture.py", file=sys.stderr)
        return int(new != old)
    DOCUMENT.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
