"""What there is to compare: the generation that searches see, and how far it is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flusso_core.errors import EngineError
from flusso_core.interfaces import DocumentBuilder, SinkCapabilities
from flusso_core.model import (
    Generation,
    GenerationRecord,
    IndexMapping,
    StateRecord,
    StreamIdentity,
)


class NotComparable(EngineError):
    """There is nothing that could be compared, or nothing that could be made of it."""


@dataclass(frozen=True, slots=True)
class Served:
    """A generation that searches see.

    Attributes:
        number: of the generation.
        mapping: of the schema that its documents are built by.
        builder: builds by that schema; not yet open where it is not the one that was given.
    """

    number: int
    mapping: IndexMapping
    builder: DocumentBuilder


def require_capable(sink: str, capabilities: SinkCapabilities) -> None:
    """See to it that a sink can be compared at all.

    Raises:
        NotComparable: it remembers nothing, or gives nothing back.
    """
    if not (capabilities.records and capabilities.read_back):
        raise NotComparable(
            f"the sink {sink} cannot be verified: it "
            + ("gives no documents back" if capabilities.records else "remembers nothing")
        )


def record_of(records: Mapping[str, StateRecord], index: str, sink: str) -> StateRecord:
    """What the sink remembers of an index.

    Raises:
        NotComparable: nothing.
    """
    if index not in records:
        raise NotComparable(f"{sink} has no index {index}: no run has filled it")
    return records[index]


def serving(record: StateRecord, sink: str) -> GenerationRecord:
    """The generation that searches of an index see.

    Raises:
        NotComparable: there is none yet.
    """
    found = record.serving or record.current
    if not found.seeded:
        raise NotComparable(
            f"{sink} is still filling index {record.index}: what it lacks is on its way; verify "
            "it when it is filled"
        )
    return found


def require_stream(record: StateRecord, identity: StreamIdentity, sink: str) -> None:
    """See to it that the index's position can be compared with the source's.

    Raises:
        NotComparable: the index has been kept right by another stream.
    """
    theirs, ours = record.identity, identity
    if (theirs.system, theirs.database, theirs.stream) != (ours.system, ours.database, ours.stream):
        raise NotComparable(
            f"{sink} has index {record.index} from the stream {theirs.stream} of database "
            f"{theirs.database} at server {theirs.system}, and the source is {ours.stream} of "
            f"{ours.database} at {ours.system}: a run has to bring it over first"
        )


def require_seen(
    generation: GenerationRecord, existing: Sequence[Generation], index: str, sink: str
) -> None:
    """See to it that searches see the generation that they should see.

    Raises:
        NotComparable: they see another one, or none.
    """
    if not any(one.serves and one.number == generation.number for one in existing):
        raise NotComparable(
            f"searches of index {index} at {sink} do not see generation {generation.number}, which "
            "they should: flusso indexes shows what there is"
        )


def built_by(generation: GenerationRecord, builder: DocumentBuilder, index: str) -> Served:
    """What builds the generation's documents.

    Raises:
        NotComparable: nothing builds by its schema any more.
    """
    mapping = builder.mappings()[index]
    if generation.schema_hash == mapping.schema_hash:
        return Served(generation.number, mapping, builder)
    older = None if generation.schema is None else builder.older(generation.schema)
    found = None if older is None else older.mappings().get(index)
    if older is None or found is None or found.schema_hash != generation.schema_hash:
        raise NotComparable(
            f"index {index} serves by an older schema, by which nothing can be built any more; "
            "verify it when it is filled by the new one"
        )
    return Served(generation.number, found, older)
