"""What a reader is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from flusso_core.model import Change
from flusso_source_polling.memory import Memory


@dataclass(frozen=True, slots=True)
class Poll:
    """One poll.

    Attributes:
        position: what it finds is at this place of the stream.
        thorough: everything that is committed now is to be found, whatever that costs.
    """

    position: int
    thorough: bool = False


class Reader(Protocol):
    """Finds what has changed in one or several tables since it was last asked.

    Each poll is one transaction of the state file: what `poll` writes to the memory and the
    changes that it gives are kept together, or not at all; after one that failed, readers are made
    anew. A change too many is harmless; one too few is lost.
    """

    @property
    def name(self) -> str:
        """Unique among the readers of a stream, and the same in every run."""
        ...

    @property
    def unfinished(self) -> bool:
        """Whether it has more to look at than one poll should take, and wants another one soon."""
        ...

    @property
    def tidies(self) -> bool:
        """Whether `confirmed` does anything."""
        ...

    def begin(self, connection: Connection, memory: Memory) -> None:
        """Remember how things are: from now on, everything is a change.

        Called in place of the first `poll`, also where a later run asks for more tables.

        Args:
            connection: to the database; it only reads.
            memory: nothing is in it.
        """

    def poll(self, connection: Connection, memory: Memory, poll: Poll) -> Iterator[Change]:
        """Give what has changed, with old and new keys, in bounded memory; the rest as it comes.

        Args:
            connection: to the database; it only reads.
            memory: what it remembers.
            poll: which one this is.
        """
        ...

    def confirmed(self, connection: Connection, memory: Memory, position: int) -> None:
        """Everything that polls up to `position` have found is durable at the destinations.

        Called before a poll, with the newest position only, and again after a crash.

        Args:
            connection: to the database, in a transaction of its own, which is committed after it.
            memory: what it remembers.
            position: the last poll of which everything is durable.
        """
