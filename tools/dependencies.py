"""Fail if CONTRIBUTING.md leaves out a dependency: each is there with its reason."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def requirements(metadata: dict[str, Any]) -> Iterator[str]:
    """Every requirement that one pyproject.toml states: build, run time, extras and groups."""
    yield from metadata.get("build-system", {}).get("requires", ())
    project = metadata.get("project", {})
    yield from project.get("dependencies", ())
    for extra in project.get("optional-dependencies", {}).values():
        yield from extra
    for group in metadata.get("dependency-groups", {}).values():
        yield from (each for each in group if isinstance(each, str))


def main() -> int:
    """Print what is missing; the exit code says whether something is."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    missing: list[str] = []
    for path in sorted([ROOT / "pyproject.toml", *ROOT.glob("*/pyproject.toml")]):
        for text in requirements(tomllib.loads(path.read_text(encoding="utf-8"))):
            requirement = Requirement(text)
            extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
            own = canonicalize_name(requirement.name).startswith("flusso-")
            if not own and f"`{requirement.name}{extras}`" not in page:
                missing.append(f"{path.relative_to(ROOT)}: {requirement.name}{extras}")
    for line in missing:
        print(f"CONTRIBUTING.md does not give a reason for {line}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
