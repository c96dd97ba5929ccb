"""Writes a manifest for `downloads`: `python -m flusso_sandbox.manifest GROUP:ARTIFACT:VERSION`.

It resolves the artifact and everything that it needs at run time, downloads all of it, and prints
one line a file. For those who add a server version to this package.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def manifest_lines(coordinate: str) -> Iterator[str]:
    """The lines of the manifest of one artifact, sorted.

    Args:
        coordinate: `group:artifact:version`.
    """
    from jgo.maven import Dependency, MavenContext

    group, artifact, version = coordinate.split(":")
    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder), timeout=30)
        root = Dependency(context.project(group, artifact).at_version(version).artifact())
        roots, further = context.resolver.resolve([root])
        found = {dependency.artifact.key: dependency.artifact for dependency in (*roots, *further)}
        for _, item in sorted(found.items()):
            content = item.resolve().read_bytes()
            name = f"{item.groupId}:{item.artifactId}:{item.packaging}:{item.classifier}"
            digest = hashlib.sha256(content).hexdigest()
            yield f"{name}:{item.version} {len(content)} {digest}"


if __name__ == "__main__":
    for line in manifest_lines(sys.argv[1]):
        sys.stdout.write(f"{line}\n")
