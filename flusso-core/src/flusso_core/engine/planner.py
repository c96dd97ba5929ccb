"""What an index needs: when a run starts, and when something happens to it. No I/O.

A record says all that a later run must know. Each function here takes one and returns what has to
be stored in its place before anything else is done; what the new one no longer names is dropped
after that. So a crash between any two steps leaves nothing that the next start cannot go on from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from flusso_core.errors import EngineError
from flusso_core.model import (
    Generation,
    GenerationRecord,
    IndexMapping,
    Position,
    StateRecord,
    StreamIdentity,
)
from flusso_core.settings import GapPolicy


@dataclass(frozen=True, slots=True)
class Source:
    """The change stream at the start of a run, as an index's record is compared with it.

    Attributes:
        identity: the stream as it is now.
        confirmed: what the source says is durable: changes up to there never come again.
        branched: where this timeline left the record's; `None`: it is the same, or another
            history altogether.
    """

    identity: StreamIdentity
    confirmed: Position
    branched: Position | None = None


@dataclass(frozen=True, slots=True)
class StartPlan:
    """How an index goes on.

    Attributes:
        record: what the destination has to remember before anything is written.
        reason: why its rows are read again although the destination remembers it; `None`: they
            are not.
        renewed: why a new generation is filled beside what serves; `None`: none is for that.
    """

    record: StateRecord
    reason: str | None = None
    renewed: str | None = None


def plan_start(
    mapping: IndexMapping,
    record: StateRecord | None,
    *,
    source: Source,
    existing: Collection[Generation],
    policy: GapPolicy,
    made_with: str | None = None,
) -> StartPlan:
    """Decide between going on, beginning, and putting right what a gap has left.

    Args:
        mapping: the index as its schema is now.
        record: what the destination remembers of it.
        source: the stream as it is now.
        existing: the generations of the index that exist at the destination.
        policy: what follows from a gap.
        made_with: what a generation is made with now (`Sink.made_with`).

    Raises:
        EngineError: there is a gap and the policy is to stop.
    """
    if record is None:
        return StartPlan(_unknown(mapping, source, existing, made_with))
    record = _with_schema(_there(record, existing), mapping)
    reason = _gap(record, source)
    current = _found(record.current, existing)
    renewed = None
    if record.current.schema_hash != mapping.schema_hash:
        renewed = "its schema has changed"
    elif _is_outdated(current, made_with):
        renewed = "the options of the sink ask for what only a new one can be given"
    if renewed is not None:
        before, record = record, reindexed(record, mapping, existing=existing)
        if current is None:  # what is gone serves nothing
            record = replace(record, serving=before.serving)
    else:
        if current is None and _begun(record.current):
            reason = f"its generation {record.current.number} no longer exists at the destination"
        if reason is not None:
            _stop_by(policy, mapping, reason)
        if current is None or (reason is not None and not record.current.seeded):
            # Also one that had no documents yet: what was sent to it may still arrive.
            record = replace(record, current=_next(mapping, record, existing))
        elif reason is not None:
            record = replace(record, current=asked(record.current))
    if reason is not None and record.serving is not None:
        record = replace(record, serving=asked(record.serving))
    position = record.position if reason is None else source.confirmed
    record = replace(record, identity=source.identity, position=position)
    return StartPlan(record, reason, renewed)


def asked(generation: GenerationRecord) -> GenerationRecord:
    """The generation with the intent to read all of its rows: a sweep, or its seed once more."""
    return replace(generation, sweep=generation.sweep + 1, ranges=())


def filled(generation: GenerationRecord) -> GenerationRecord:
    """The generation when the seed or sweep under way has ended: it has every document."""
    return replace(generation, seeded=True, swept=generation.sweep, ranges=())


def emptied(record: StateRecord, mapping: IndexMapping) -> StateRecord:
    """The index in a new, empty generation, because its root table was truncated.

    What serves goes on serving until the new one takes over, but is void and gets no changes.
    """
    renewed = reindexed(record, mapping)
    serving = renewed.serving and asked(renewed.serving)
    return replace(renewed, serving=serving, keep=record.keep)


def reindexed(
    record: StateRecord,
    mapping: IndexMapping,
    *,
    keep: bool = False,
    existing: Collection[Generation] = (),
) -> StateRecord:
    """The index in a new generation; the one that searches see serves until that is filled.

    Args:
        record: of the index.
        mapping: of the new generation.
        keep: keep what serves now when it is superseded.
        existing: generations that there are besides those that the record names.
    """
    return replace(
        record,
        current=_next(mapping, record, existing),
        serving=record.serving or (record.current if record.current.seeded else None),
        keep=keep,
    )


def rolled_back(
    record: StateRecord,
    mapping: IndexMapping,
    *,
    keep: bool,
    existing: Collection[Generation],
    made_with: str | None = None,
) -> StateRecord:
    """The index in the newest older generation that fits; searches are to see that at once.

    What still serves while a newer one is filled has got every change: the newer one is given up.
    A kept one has got none since it was superseded: it is swept in its place.

    Args:
        record: of the index.
        mapping: of the schema as it is now.
        keep: keep what searches see now.
        existing: the generations of the index that exist at the destination.
        made_with: what a generation is made with now (`Sink.made_with`).

    Raises:
        EngineError: there is none, or none by the schema and the options as they are now.
    """
    record = _there(record, existing)
    older = [*([record.serving] if record.serving else []), *reversed(record.kept)]
    if not older:
        message = (
            f"index {record.index} has no older generation to go back to; flusso reindex "
            "--keep-old keeps one"
        )
        raise EngineError(message)
    fitting = (
        one
        for one in older
        if one.schema_hash == mapping.schema_hash
        and not _is_outdated(_found(one, existing), made_with)
    )
    chosen = next(fitting, None)
    if chosen is None:
        # It would not last: the next start goes by the files, to a generation of those.
        numbers = ", ".join(str(one.number) for one in older)
        message = (
            f"every older generation of index {record.index} ({numbers}) was made by another "
            "schema, or with other options of the sink, than the deployment has now; put the "
            "older files back, start flusso with them, and roll back then"
        )
        raise EngineError(message)
    seen = record.serving or record.current
    kept = [one for one in record.kept if one != chosen]
    if keep and seen != chosen and seen.seeded:
        kept.append(seen)
    current = chosen if chosen == record.serving else asked(chosen)
    return replace(record, current=current, serving=None, keep=False, kept=tuple(kept))


def without(record: StateRecord, mapping: IndexMapping, number: int) -> StateRecord:
    """The index when one of its live generations is lost: the newest is filled afresh."""
    if record.current.number == number:
        return replace(record, current=_next(mapping, record, ()))
    return replace(record, serving=None, keep=False)


def frozen(record: StateRecord) -> StateRecord:
    """The index when what serves gets no more changes: should it be used again, it is swept."""
    serving = record.serving
    if serving is None or not serving.clean:
        return record
    return replace(record, serving=asked(serving))


def served(record: StateRecord) -> StateRecord:
    """The index when searches see its newest generation: what served before goes, or is kept."""
    kept = record.kept
    if record.keep and record.serving is not None:
        kept = (*kept, record.serving)
    return replace(record, serving=None, keep=False, kept=kept)


def unnamed(existing: Iterable[Generation], record: StateRecord) -> list[Generation]:
    """Generations that the record does not speak of and that serve nothing: they can go.

    Those of another program stay.
    """
    known = {one.number for one in named(record)}
    return [one for one in existing if one.number not in known and not (one.serves or one.foreign)]


def named(record: StateRecord) -> list[GenerationRecord]:
    """Every generation that the record speaks of, the newest first."""
    serving = [] if record.serving is None else [record.serving]
    return [record.current, *serving, *record.kept]


def _unknown(
    mapping: IndexMapping,
    source: Source,
    existing: Collection[Generation],
    made_with: str | None,
) -> StateRecord:
    """The record of an index that the destination remembers nothing of.

    Where its memory was deleted but not the documents, what serves is put right in its place.
    """
    current, serving = _next(mapping, None, existing), None
    for one in existing:
        fits = one.schema_hash == mapping.schema_hash and not _is_outdated(one, made_with)
        if one.serves and fits:
            known = GenerationRecord(one.number, one.schema_hash, mapping.schema, seeded=True)
            current = asked(known)
        elif one.serves:
            serving = GenerationRecord(one.number, one.schema_hash, seeded=True)
    return StateRecord(mapping.index, source.identity, source.confirmed, current, serving)


def _next(
    mapping: IndexMapping, record: StateRecord | None, existing: Iterable[Generation]
) -> GenerationRecord:
    """A generation above every other, so that no late request of an old one reaches it."""
    numbers = {one.number for one in existing}
    if record is not None:
        numbers |= {one.number for one in named(record)}
    return GenerationRecord(max(numbers, default=0) + 1, mapping.schema_hash, mapping.schema)


def _found(record: GenerationRecord, existing: Iterable[Generation]) -> Generation | None:
    """What there is of a generation at the destination. Another program may use its number."""
    wanted = (record.number, record.schema_hash)
    return next((one for one in existing if (one.number, one.schema_hash) == wanted), None)


def _is_outdated(generation: Generation | None, made_with: str | None) -> bool:
    """Whether the options ask for something that this generation cannot be given any more."""
    if generation is None or generation.made_with is None or made_with is None:
        return False
    return generation.made_with != made_with


def _there(record: StateRecord, existing: Collection[Generation]) -> StateRecord:
    """The record without older generations that were deleted at the destination."""
    serving = record.serving
    return replace(
        record,
        serving=serving if serving is not None and _found(serving, existing) else None,
        kept=tuple([one for one in record.kept if _found(one, existing)]),
    )


def _with_schema(record: StateRecord, mapping: IndexMapping) -> StateRecord:
    """The record, where the schema is again the one by which what serves was built."""
    serving = record.serving
    if serving is None or mapping.schema_hash != serving.schema_hash:
        return record
    if mapping.schema_hash == record.current.schema_hash:
        return record
    return replace(record, current=serving, serving=None)


def _begun(generation: GenerationRecord) -> bool:
    return generation.seeded or any(span.done or span.cursor for span in generation.ranges)


def _stop_by(policy: GapPolicy, mapping: IndexMapping, reason: str) -> None:
    if policy is GapPolicy.STOP:
        message = (
            f"index {mapping.index}: {reason}, so changes may be missing; set on_gap to "
            '"reseed" to have its rows read again'
        )
        raise EngineError(message)


def _gap(record: StateRecord, source: Source) -> str | None:
    now = source.identity
    if replace(record.identity, timeline=now.timeline) != now:
        return _other_stream(record.identity, now)
    if record.identity.timeline != now.timeline:
        if source.branched is None:
            return _other_stream(record.identity, now)
        if record.position > source.branched:
            return (
                f"it is right up to {record.position.token} of timeline "
                f"{record.identity.timeline}, but the server's history left that one at "
                f"{source.branched.token}"
            )
    if record.position < source.confirmed:
        return (
            f"it is right up to {record.position.token}, but the change stream now begins at "
            f"{source.confirmed.token}"
        )
    return None


def _other_stream(was: StreamIdentity, now: StreamIdentity) -> str:
    pairs = (
        ("system", was.system, now.system),
        ("database", was.database, now.database),
        ("stream", was.stream, now.stream),
        ("timeline", was.timeline, now.timeline),
    )
    found = ", ".join(f"{name} {old!r}, now {new!r}" for name, old, new in pairs if old != new)
    return f"it was kept right by another change stream ({found})"
