"""Which documents a changed row touches: the way up from each place where a schema reads a table.

A schema is a tree: the root, relations of the root, relations of those. A change of a row
somewhere in it touches the documents whose roots lie above it. Its images carry the values that
lead one step up, old and new; from there one statement climbs to the root. Rows in the middle
that move are covered by their own changes. Filters, orders and limits are not looked at: a row
may be what has just left them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flusso_core.model import TableName
from flusso_core.schema.model import AggregateField, Field, IndexSchema, JoinField, ObjectField
from flusso_source_postgres.catalogue import Column, Table
from flusso_source_postgres.sql.keys import any_of, key_text, operator, same_text
from flusso_source_postgres.sql.pages import root_key
from flusso_source_postgres.sql.relations import AnyRelation, key_of, own_key, parent_key
from flusso_source_postgres.sql.rows import Tables, describe
from flusso_source_postgres.sql.text import identifier, table_name


@dataclass(frozen=True, slots=True)
class Trigger:
    """Changes of a table that touch documents of an index.

    Attributes:
        table: the table.
        columns: the columns of its row images that lead up.
        statement: gives the documents' keys, a column a key column; its one parameter is an array
            of the texts of the one column in `columns`. `None`: the columns are the key itself.
    """

    table: TableName
    columns: tuple[str, ...]
    statement: str | None


@dataclass(frozen=True, slots=True)
class _Step:
    """One relation on the way down from the root."""

    one: AnyRelation
    above: Table
    key: str | None

    def parent_column(self) -> str:
        """The column of the row above that the relation starts from."""
        if isinstance(self.one, JoinField) and self.one.column is not None:
            return self.one.column
        return parent_key(self.one, self.above, self.key)


@dataclass(frozen=True, slots=True)
class _Known:
    """Rows of which a column is known: `column` equals one of a set.

    Attributes:
        column: the column's name.
        of: the column that the set is of: of this row, or of one that points at it.
        select: the statement that selects the set; `None`: it is the parameter.
    """

    column: str
    of: Column
    select: str | None = None

    def condition(self, table: Table) -> str:
        """That a row of the table is one of these."""
        column = describe(table, self.column)
        values = f"ANY ({self.select})" if self.select is not None else any_of(1, self.of)
        return f"{identifier(self.column)} {operator('=', column, self.of)} {values}"


def triggers(schema: IndexSchema, tables: Tables) -> tuple[Trigger, ...]:
    """Every way in which a change touches documents of the index, each once."""
    key = root_key(schema)
    found = [Trigger(schema.table, key, None)]
    start = key[0] if len(key) == 1 else None
    for steps in _paths(schema.fields, tables[schema.table], start, (), tables):
        found += _leading_up(steps, schema, tables)
    return tuple(dict.fromkeys(found))


def _paths(
    fields: Sequence[Field], above: Table, key: str | None, steps: tuple[_Step, ...], tables: Tables
) -> Iterator[tuple[_Step, ...]]:
    for one in fields:
        match one:
            case ObjectField():
                yield from _paths(one.fields, above, key, steps, tables)
            case JoinField() | AggregateField():
                path = (*steps, _Step(one, above, key))
                yield path
                if isinstance(one, JoinField):
                    table = tables[one.table]
                    yield from _paths(one.fields, table, own_key(one, table), path, tables)
            case _:
                pass


def _leading_up(steps: tuple[_Step, ...], schema: IndexSchema, tables: Tables) -> Iterator[Trigger]:
    *above, last = steps
    one = last.one
    table = tables[one.table]
    column = _upward(one, table)
    given = describe(table, column)
    known = _step_up(last, _Known(given.name, given), tables)
    yield _trigger(table, given, known, above, schema, tables)
    if one.through is not None:
        junction = tables[one.through.table]
        left = describe(junction, one.through.left_key)
        known = _Known(last.parent_column(), left)
        yield _trigger(junction, left, known, above, schema, tables)


def _upward(one: AnyRelation, table: Table) -> str:
    """The column of the related row whose value leads to the row above."""
    return one.foreign_key if one.foreign_key is not None else key_of(one, table)


def _step_up(step: _Step, known: _Known, tables: Tables) -> _Known:
    """What is known of the row above, when the upward column of the related row is known."""
    one = step.one
    if one.through is None:
        return _Known(step.parent_column(), known.of, known.select)
    junction = tables[one.through.table]
    pairs = _Known(one.through.right_key, known.of, known.select)
    left = describe(junction, one.through.left_key)
    return _Known(step.parent_column(), left, _select(left, junction, pairs))


def _select(column: Column, table: Table, known: _Known) -> str:
    condition = known.condition(table)
    return f"SELECT {identifier(column.name)} FROM {table_name(table.name)} WHERE {condition}"


def _trigger(
    table: Table,
    given: Column,
    known: _Known,
    above: Sequence[_Step],
    schema: IndexSchema,
    tables: Tables,
) -> Trigger:
    for step in reversed(above):
        middle = tables[step.one.table]
        upward = describe(middle, _upward(step.one, middle))
        if known.column != upward.name:
            known = _Known(upward.name, upward, _select(upward, middle, known))
        known = _step_up(step, known, tables)
    return Trigger(table.name, (given.name,), _statement(known, schema, tables[schema.table]))


def _statement(known: _Known, schema: IndexSchema, root: Table) -> str | None:
    key = root_key(schema)
    if key == (known.column,):
        column = describe(root, key[0])
        if same_text(known.of, column):
            if known.select is None:
                return None
            found = f"s.{identifier(known.of.name)}"
            return (
                f"SELECT DISTINCT {key_text(found, known.of)} FROM ({known.select}) AS s "
                f"WHERE {found} IS NOT NULL"
            )
    texts = ", ".join(key_text(identifier(name), describe(root, name)) for name in key)
    return f"SELECT {texts} FROM {table_name(root.name)} WHERE {known.condition(root)}"


def lookups(schema: IndexSchema, tables: Tables) -> frozenset[tuple[TableName, str]]:
    """Columns that rows are found by, from above (in documents) and from below (in resolves)."""
    key = root_key(schema)
    start = key[0] if len(key) == 1 else None
    found: set[tuple[TableName, str]] = set()
    for steps in _paths(schema.fields, tables[schema.table], start, (), tables):
        step = steps[-1]
        one = step.one
        found.add((step.above.name, step.parent_column()))
        found.add((one.table, _upward(one, tables[one.table])))
        if one.through is not None:
            found.add((one.through.table, one.through.left_key))
            found.add((one.through.table, one.through.right_key))
    return frozenset(found)
