"""What is in the destinations: the generations of each index, and what each is there for.

It is read from what the sinks remember and from what exists there. Nothing is stopped for it, and
no lease is taken: another process may be writing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from flusso_core.errors import SinkError
from flusso_core.model import Generation, GenerationRecord, GenerationSize, StateRecord

if TYPE_CHECKING:
    from flusso_core.interfaces import Sink
    from flusso_core.pipeline import Plan


class Role(StrEnum):
    """What a generation is there for."""

    CURRENT = "current"
    """The newest: it serves, or is filled to do so."""

    SERVING = "serving"
    """An older one, which serves until the newest is filled."""

    KEPT = "kept"
    """It served once, and was kept when it was superseded."""

    FOREIGN = "foreign"
    """Another program made it."""

    UNUSED = "unused"
    """No run needs it: one that was killed has left it behind."""

    UNKNOWN = "unknown"
    """Nothing is remembered of the index, so that only the next run can tell."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A generation of an index.

    Attributes:
        number: among the generations of the index.
        schema_hash: of the schema that its documents are built by.
        role: what it is there for.
        found: what there is of it; `None`: only the record speaks of it.
        record: what is remembered of it; `None`: nothing.
        size: as far as it is known.
    """

    number: int
    schema_hash: str
    role: Role
    found: Generation | None
    record: GenerationRecord | None
    size: GenerationSize = field(default_factory=GenerationSize)

    @property
    def serves(self) -> bool:
        """Whether searches see it."""
        return self.found is not None and self.found.serves

    @property
    def foreign(self) -> bool:
        """Whether another program made it."""
        return self.found is not None and self.found.foreign


@dataclass(frozen=True, slots=True)
class IndexState:
    """An index at one sink: what is remembered of it, and its generations, the newest first."""

    index: str
    record: StateRecord | None
    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class SinkState:
    """What is in one destination.

    Attributes:
        sink: its name in the configuration.
        records: whether it remembers anything.
        indexes: by their order in the configuration, then what it has besides.
        error: why it could not be looked at; `None`: it was.
    """

    sink: str
    records: bool
    indexes: Sequence[IndexState] = ()
    error: str | None = None


def size_cells(size: GenerationSize) -> tuple[str, str]:
    """Documents and bytes, for a table."""
    from rich.filesize import decimal

    return (
        "" if size.documents is None else f"{size.documents:,}",
        "" if size.bytes is None else decimal(size.bytes),
    )


async def look(planned: Plan, sinks: Iterable[str], index: str | None) -> list[SinkState]:
    """Look at what is in these sinks, of one index or of all, as far as they can be reached."""
    states: list[SinkState] = []
    configured = [one.name for one in planned.deployment.indexes]
    for name in sinks:
        sink = planned.make_sink(name)
        remembers = sink.capabilities.records
        try:
            async with sink:
                found = await _look_at(sink, configured, index) if remembers else ()
        except SinkError as error:
            states.append(SinkState(name, remembers, error=str(error)))
        else:
            states.append(SinkState(name, remembers, found))
    return states


async def read(
    sink: Sink, indexes: Collection[str]
) -> Mapping[str, tuple[StateRecord | None, Sequence[Entry]]]:
    """The generations of each index, as they are now; their sizes are not asked for."""
    # In this order: what exists was named by a record before it was made. What is in the list and
    # not in the records is needed no more, and nothing newer than the records is in the list.
    existing = {index: await sink.generations(index) for index in indexes}
    records = await sink.load_records()
    return {
        index: (records.get(index), entries(records.get(index), existing[index]))
        for index in indexes
    }


def entries(record: StateRecord | None, existing: Iterable[Generation]) -> list[Entry]:
    """The generations of one index, the newest first, and what each is there for."""
    there = {(one.number, one.schema_hash): one for one in existing}
    found: list[Entry] = []
    for role, one in _named(record):
        generation = there.pop((one.number, one.schema_hash), None)
        if generation is not None or role is not Role.KEPT:
            found.append(Entry(one.number, one.schema_hash, role, generation, one))
    unnamed = Role.UNKNOWN if record is None else Role.UNUSED
    for other in there.values():
        role = Role.FOREIGN if other.foreign else unnamed
        found.append(Entry(other.number, other.schema_hash, role, other, None))
    return sorted(found, key=lambda entry: entry.number, reverse=True)


def prunable(there: Sequence[Entry], *, kept: bool) -> list[Entry]:
    """Those of an index that can be removed: no run needs them and no search sees them.

    What another program made can be removed once searches see one of ours: before that, the other
    one may be at work.

    Args:
        there: all generations of the index.
        kept: also those that were kept on purpose. The record forgets them on the next start.
    """
    roles = {Role.UNUSED}
    if kept:
        roles.add(Role.KEPT)
    if any(one.serves and not one.foreign for one in there):
        roles.add(Role.FOREIGN)
    return [one for one in there if one.role in roles and one.found and not one.serves]


async def remove(sink: Sink, index: str, entry: Entry, *, kept: bool) -> bool:
    """Remove a generation unless it is needed by now; returns whether it is gone.

    Args:
        sink: where it is.
        index: the logical name.
        entry: as it was found.
        kept: as for `prunable`.

    Raises:
        SinkError: the sink cannot, or does not.
    """
    _, there = (await read(sink, [index]))[index]
    if entry.found is None or entry.found not in [one.found for one in there]:
        return True
    if entry.found not in [one.found for one in prunable(there, kept=kept)]:
        return False
    await sink.drop_generation(entry.found)
    return True


def _named(record: StateRecord | None) -> Iterable[tuple[Role, GenerationRecord]]:
    if record is not None:
        yield Role.CURRENT, record.current
        if record.serving is not None:
            yield Role.SERVING, record.serving
        for one in record.kept:
            yield Role.KEPT, one


async def _look_at(sink: Sink, configured: Sequence[str], index: str | None) -> list[IndexState]:
    known = dict.fromkeys([*configured, *await sink.load_records()])
    found = await read(sink, [one for one in known if index in (None, one)])
    return [
        IndexState(name, record, [await _measured(sink, entry) for entry in there])
        for name, (record, there) in found.items()
    ]


async def _measured(sink: Sink, entry: Entry) -> Entry:
    return entry if entry.found is None else replace(entry, size=await sink.size(entry.found))
