"""The history of a server's timelines: where its WAL left each one that it comes from.

A promotion, or a recovery to a point in time, begins a new timeline. Up to the place where it
left the one before, the WAL of both is the same (the manual, "Timelines").
"""

from __future__ import annotations

from collections.abc import Mapping

from flusso_source_postgres.wire import ProtocolError, parse_lsn

FIRST = "1"
"""The timeline that a new cluster begins with: it comes from no other one."""


def parse_history(content: bytes) -> Mapping[str, int]:
    """Each timeline that a history file names, and the WAL location where it was left.

    A line has the timeline, the location and the reason, in this order; a line that begins with
    `#` is a comment. Only the reason, which is not read, may be other than ASCII.

    Raises:
        ProtocolError: it is no history file.
    """
    left: dict[str, int] = {}
    for line in content.splitlines():
        words = line.split(maxsplit=2)
        if not words or words[0].startswith(b"#"):
            continue
        try:
            timeline, location = words[:2]
            left[str(int(timeline))] = parse_lsn(location.decode("ascii"))
        except ValueError as error:
            raise ProtocolError("a timeline history that this client does not read") from error
    return left
