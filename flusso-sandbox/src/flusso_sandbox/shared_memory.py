"""Removes the System V shared memory segment that a killed Postgres leaves behind."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_IPC_RMID = 0
_SHMEM_LINE = 6


def remove_shared_memory(postmaster_pid: Path) -> None:
    """Removes the segment that the lock file of a dead postmaster names.

    A clean stop removes both the file and the segment (some 50 bytes that guard the data folder
    against a second postmaster), so there is usually nothing to do.

    Args:
        postmaster_pid: `postmaster.pid` of a data folder whose server does not run. Its seventh
            line holds the segment's key and id (Postgres source, `miscadmin.h`,
            `LOCK_FILE_LINE_SHMEM_KEY`).
    """
    if sys.platform != "linux":
        return
    try:
        line = postmaster_pid.read_text(encoding="utf-8").splitlines()[_SHMEM_LINE]
        segment = int(line.split()[1])
    except (OSError, IndexError, ValueError):
        return
    # It fails where the segment is gone already, and then there is nothing to remove.
    ctypes.CDLL(None).shmctl(segment, _IPC_RMID, None)
