"""Why a server refuses a connection, whatever language it speaks.

libpq tells a program nothing but the server's words, and these follow the server's `lc_messages`.
The error's code is in the protocol, which libpq writes down where it is asked to (the manual,
`PQtrace`).
"""

from __future__ import annotations

import re
import select
import tempfile
import time

import psycopg
from psycopg import pq

_PATIENCE = 3.0
"""Seconds for one more attempt."""

_CODE = re.compile(rb'\bErrorResponse\b.* C "([0-9A-Z]{5})"')


def sqlstate_of_refusal(conninfo: str) -> str | None:
    """Try once more, and return the SQLSTATE with which the server refuses.

    Blocks for some seconds at most.

    Args:
        conninfo: libpq's connection string.

    Returns:
        The code, or `None`: the server does not answer, or does not refuse any more.
    """
    try:
        # Without a name, and gone with its last reader: what is written down may be secret.
        with tempfile.TemporaryFile() as trace:
            _connect(conninfo, trace.fileno())
            trace.seek(0)
            found = _CODE.search(trace.read())
    except (psycopg.Error, OSError):
        return None
    return found.group(1).decode() if found else None


def _connect(conninfo: str, trace: int) -> None:
    connection = pq.PGconn.connect_start(conninfo.encode())
    try:
        connection.trace(trace)
        deadline = time.monotonic() + _PATIENCE
        while (left := deadline - time.monotonic()) > 0:
            match connection.connect_poll():
                case pq.PollingStatus.READING:
                    select.select([connection.socket], [], [], left)
                case pq.PollingStatus.WRITING:
                    select.select([], [connection.socket], [], left)
                case _:
                    break
        connection.untrace()
    finally:
        connection.finish()
