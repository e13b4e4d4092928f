"""Writes the README's list of source files anew: one line a file, the first sentence of its docstring.

`python packaging/list_files.py` rewrites the list from the files that git knows (`git add` a new one first);
with `--check` it only says whether the list is as it should be.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("assistant", "model", "train")
BEGIN, END = "<!-- files -->", "<!-- end of files -->"


def first_sentence(docstring: str) -> str:
    """The first sentence of a docstring, on one line, without its full stop."""
    paragraph = " ".join(docstring.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[^.])\. |\.$", paragraph, maxsplit=1)[0]


def source_files(package: str) -> list[tuple[str, str]]:
    """(path, first sentence) of every file of a package that git knows and that holds more than a docstring."""
    found = []
    listed = subprocess.run(["git", "ls-files", package], cwd=ROOT, capture_output=True, text=True, check=True)
    for path in [ROOT / name for name in listed.stdout.splitlines() if name.endswith(".py")]:
        if not path.exists():
            continue  # removed, but not yet from the index
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstring = ast.get_docstring(tree)
        if len(tree.body) > (docstring is not None):
            found.append((path.relative_to(ROOT).as_posix(), first_sentence(docstring or "")))
    return sorted(found, key=lambda entry: (entry[0].count("/"), entry[0]))


def file_list() -> str:
    """The list as Markdown, one heading a package."""
    parts = []
    for package in PACKAGES:
        lines = [f"- `{path}` {sentence}" for path, sentence in source_files(package)]
        parts.append(f"**{package}/**\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def with_list(readme: str) -> str:
    """The README with the part between the two marks replaced."""
    before, rest = readme.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{BEGIN}\n\n{file_list()}\n\n{END}{after}"


def main() -> int:
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    new = with_list(old)
    if "--check" in sys.argv[1:]:
        if new != old:
            print("README.md: the list of files is out of date; run: python packaging/list_files.py", file=sys.stderr)
        return int(new != old)
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
