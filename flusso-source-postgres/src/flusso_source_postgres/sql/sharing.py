"""Which neighbours among a row's fields are read from the same related rows, and so at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from flusso_core.schema.model import (
    AggregateField,
    AggregateFunction,
    Field,
    Filter,
    JoinField,
)
from flusso_source_postgres.sql.relations import AnyRelation, key_of
from flusso_source_postgres.sql.rows import Tables

_COMPARED = frozenset(
    {
        *("smallint", "integer", "bigint", "real", "double precision", "numeric", "money"),
        *("text", "character varying", "date", "interval"),
        *("timestamp without time zone", "timestamp with time zone"),
        *("time without time zone", "time with time zone"),
    }
)
"""Types that have `min` and `max` on every supported server."""

_EXTREMES = (AggregateFunction.MIN, AggregateFunction.MAX)

Run: TypeAlias = tuple[Field, ...]


def runs(fields: Sequence[Field], tables: Tables) -> Iterator[Run]:
    """The fields in their order, in runs that one sub-select serves."""
    run: list[Field] = []
    for one in fields:
        if run and not _together(run, one, tables):
            yield from _worthwhile(run)
            run = []
        run.append(one)
    yield from _worthwhile(run)


def _worthwhile(run: Sequence[Field]) -> Iterator[Run]:
    """Extremes alone are found by an index, each; only what reads every row anyway takes them."""
    if all(isinstance(one, AggregateField) and one.function in _EXTREMES for one in run):
        yield from ((one,) for one in run)
    else:
        yield tuple(run)


def relations(run: Run) -> list[AnyRelation]:
    """The fields of a run of several: relations, all of them."""
    return [one for one in run if isinstance(one, JoinField | AggregateField)]


def _together(run: Sequence[Field], other: Field, tables: Tables) -> bool:
    rows = _rows(other, tables)
    if rows is None or rows != _rows(run[0], tables):
        return False
    # An aggregate passes over rows that the others want at no cost; a join would build them.
    joins = any(isinstance(one, JoinField) for one in (*run, other))
    return not joins or len({_filters(one) for one in (*run, other)}) == 1


def _rows(one: Field, tables: Tables) -> tuple[object, ...] | None:
    """What the field is made of, where that is all of its related rows."""
    match one:
        case JoinField(kind=kind, limit=limit) if not kind.many or limit is not None:
            return None
        case AggregateField() if one.function in _EXTREMES:
            column = tables[one.table].column(one.column or "")
            if column is None or column.base_type not in _COMPARED:
                return None
        case JoinField() | AggregateField():
            pass
        case _:
            return None
    far = None if one.through is None else key_of(one, tables[one.table])
    return (one.table, one.foreign_key, one.through, far)


def _filters(one: Field) -> tuple[Filter, ...]:
    return one.filters if isinstance(one, JoinField | AggregateField) else ()
