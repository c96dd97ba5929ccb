"""The outer messages of streaming replication: WAL data, keepalives, and the reply to them.

See the manual, "Streaming Replication Protocol". WAL locations are integers here, and `X/Y`
where a person or the server's SQL reads them.
"""

from __future__ import annotations

import time
from struct import Struct
from typing import NamedTuple

from flusso_core.errors import SourceFatal

XLOG_DATA, KEEPALIVE = b"wk"

DATA_HEADER = 25
"""Bytes before the payload of an XLogData message: kind, start, end, clock."""

# Postgres counts microseconds from 2000-01-01 00:00 UTC.
_EPOCH = 946_684_800

_KEEPALIVE = Struct(">xQqB")
_STATUS = Struct(">cQQQqB")


class ProtocolError(SourceFatal):
    """The server sent what this client does not understand."""


class Keepalive(NamedTuple):
    """A sign of life.

    Attributes:
        end: everything up to here has been sent.
        reply: the server wants an answer at once.
    """

    end: int
    reply: bool


def parse_keepalive(frame: bytes) -> Keepalive:
    """Read a keepalive message.

    Raises:
        ProtocolError: it is none.
    """
    if len(frame) != _KEEPALIVE.size or frame[0] != KEEPALIVE:
        raise ProtocolError("a keepalive message of a wrong length")
    end, _clock, reply = _KEEPALIVE.unpack(frame)
    return Keepalive(end, bool(reply))


def standby_status(confirmed: int) -> bytes:
    """The reply that tells the server that all up to `confirmed` is written, flushed, applied."""
    clock = int((time.time() - _EPOCH) * 1_000_000)
    return _STATUS.pack(b"r", confirmed, confirmed, confirmed, clock, 0)


def timestamp(microseconds: int) -> float:
    """Seconds since 1970 of Postgres' microseconds since 2000."""
    return microseconds / 1_000_000 + _EPOCH


def parse_lsn(text: str) -> int:
    """The integer of a WAL location `X/Y`.

    Raises:
        ValueError: it is none.
    """
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def format_lsn(lsn: int) -> str:
    """A WAL location as the server spells it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
