"""Prints requirements.lock: the exact versions, in this environment, of all that the project's extras lead to.

Run it with the Python of an environment into which the project is installed with every extra but `flash`
(`make lock` does). What torch itself pins to the digit (the CUDA libraries and triton) is left to torch.
"""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LEFT_OUT_EXTRAS = {"flash"}
LEFT_TO_TORCH = re.compile(r"^(nvidia-(?!ml-py).*|cuda-.*|triton)$")
PYTHONS = ("3.11", "3.12", "3.13")


def wanted(requirement: Requirement, extras: set[str]) -> bool:
    """Whether the requirement applies on Linux x86-64 under one of our Pythons at least."""
    if requirement.marker is None:
        return True
    base = {str(key): str(value) for key, value in default_environment().items()}
    base |= {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}
    return any(
        requirement.marker.evaluate(
            {**base, "python_version": python, "python_full_version": f"{python}.0", "extra": extra}
        )
        for python in PYTHONS
        for extra in (extras or {""})
    )


def closure(roots: list[Requirement]) -> dict[str, str]:
    """Name → version of everything installed that the roots need, directly or not."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    todo = list(roots)
    while todo:
        requirement = todo.pop()
        name, extras = canonicalize_name(requirement.name), set(requirement.extras)
        if (name, ",".join(sorted(extras))) in seen:
            continue
        seen.add((name, ",".join(sorted(extras))))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            # A marker that only another Python fulfils; nothing of it is here to pin.
            print(f"not installed, not pinned: {requirement}", file=sys.stderr)
            continue
        versions[name] = distribution.version.split("+")[0]
        needs = [Requirement(text) for text in distribution.requires or []]
        todo += [need for need in needs if wanted(need, extras)]
    return versions


def main() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    texts = list(project["dependencies"])
    for extra, needs in project["optional-dependencies"].items():
        if extra not in LEFT_OUT_EXTRAS:
            texts += needs
    versions = closure([Requirement(text) for text in texts])
    print("# Exact versions of everything but the extra `flash`, for Python 3.11 to 3.13 on Linux x86-64.")
    print("# Made by `make lock`; used as constraints by packaging/setup.sh.")
    for name in sorted(versions):
        if not LEFT_TO_TORCH.match(name):
            print(f"{name}=={versions[name]}")


if __name__ == "__main__":
    main()
