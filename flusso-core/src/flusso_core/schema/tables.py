"""Which tables and columns schemas read, and by which a changed row leads to its documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from flusso_core.errors import ConfigError
from flusso_core.model import TableName
from flusso_core.schema.model import (
    AggregateField,
    AggregateFunction,
    Comparison,
    Field,
    Filter,
    GeoField,
    IndexSchema,
    JoinField,
    JoinKind,
    MapField,
    ObjectField,
    ScalarField,
)

PrimaryKey = Callable[[TableName], tuple[str, ...]]
"""The catalogue: the primary key columns of a table; none, if it has no primary key."""

Columns = Iterator[tuple[TableName, str]]


def routing_columns(schemas: Iterable[IndexSchema]) -> dict[TableName, frozenset[str]]:
    """For every table that schemas read: the columns by which a changed row finds its documents.

    Of a root table, its key. Of a relation's table, what leads one step up, from where the next
    step is a query: the key that a `belongs_to` points at; the foreign key of a `has_one`, a
    `has_many` or an aggregate, and the key where deeper relations start from it; both keys of a
    junction, and the key that it points at on the far side.

    Raises:
        ConfigError: such a key is left to the catalogue; see `complete_keys`.
    """
    found: dict[TableName, set[str]] = {}
    for schema in schemas:
        for table, column in _routing(schema):
            found.setdefault(table, set()).add(column)
    return _frozen(found)


def referenced_columns(schemas: Iterable[IndexSchema]) -> dict[TableName, frozenset[str]]:
    """For every table that schemas read: every column that they name, raw conditions excepted.

    Keys that are left to the catalogue are not in here.
    """
    found: dict[TableName, set[str]] = {}
    for schema in schemas:
        found.setdefault(schema.table, set())
        for table, column in _referenced(schema):
            found.setdefault(table, set()).add(column)
    return _frozen(found)


def columns_of(table: TableName, field: Field) -> Columns:
    """The columns that a field of that table names, of the table itself and of related ones."""
    return _referenced_of(table, (field,))


def complete_keys(schema: IndexSchema, primary_key: PrimaryKey) -> IndexSchema:
    """The schema with every key that it leaves out filled in from the catalogue.

    Args:
        schema: as its file says.
        primary_key: the primary key columns of a table, none if it has no primary key.

    Raises:
        ConfigError: a table has no primary key, or one of several columns where a relation needs
            one; it names the table and the field.
    """
    keys = schema.primary_key or primary_key(schema.table)
    if not keys:
        raise ConfigError(
            f"{_where(schema)}: {schema.table} has no primary key; name the columns that identify "
            "a row: primary_key"
        )
    if len(keys) > 1:
        for field in _relations(schema.fields):
            if _needs_own_key(field):
                raise ConfigError(
                    f"{_where(schema)}: {field.name}: {schema.table} has a primary key of several "
                    f"columns ({', '.join(keys)}), and a relation can only start from one; name "
                    "it: primary_key"
                )
    fields = tuple(_complete(field, primary_key, schema, "") for field in schema.fields)
    return replace(schema, primary_key=keys, fields=fields)


def _complete(field: Field, primary_key: PrimaryKey, schema: IndexSchema, prefix: str) -> Field:
    path = prefix + field.name
    if isinstance(field, ObjectField):
        inner = (_complete(each, primary_key, schema, f"{path}.") for each in field.fields)
        return replace(field, fields=tuple(inner))
    if isinstance(field, JoinField):
        key = field.primary_key or _single(field, primary_key, schema, path)
        inner = (_complete(each, primary_key, schema, f"{path}.") for each in field.fields)
        return replace(field, primary_key=key, fields=tuple(inner))
    if isinstance(field, AggregateField) and field.primary_key is None and _needs_far_key(field):
        return replace(field, primary_key=_single(field, primary_key, schema, path))
    return field


def _single(
    field: JoinField | AggregateField, primary_key: PrimaryKey, schema: IndexSchema, path: str
) -> str:
    keys = primary_key(field.table)
    if len(keys) == 1:
        return keys[0]
    has = f"a primary key of several columns ({', '.join(keys)})" if keys else "no primary key"
    raise ConfigError(
        f"{_where(schema)}: {path}: {field.table} has {has}; name one column that identifies a "
        "row: primary_key"
    )


def _routing(schema: IndexSchema) -> Columns:
    if schema.primary_key is None:
        raise _incomplete(schema, "", schema.table)
    for column in schema.primary_key:
        yield schema.table, column
    yield from _routing_of(schema.fields, schema, "")


def _routing_of(fields: tuple[Field, ...], schema: IndexSchema, prefix: str) -> Columns:
    for field in fields:
        path = prefix + field.name
        if isinstance(field, ObjectField):
            yield from _routing_of(field.fields, schema, f"{path}.")
        if not isinstance(field, (JoinField, AggregateField)):
            continue
        if field.foreign_key is not None:
            yield field.table, field.foreign_key
        if field.through is not None:
            yield field.through.table, field.through.left_key
            yield field.through.table, field.through.right_key
        if _is_found_by_key(field):
            if field.primary_key is None:
                raise _incomplete(schema, path, field.table)
            yield field.table, field.primary_key
        if isinstance(field, JoinField):
            yield from _routing_of(field.fields, schema, f"{path}.")


def _is_found_by_key(field: JoinField | AggregateField) -> bool:
    """Whether something points at the related rows' key: this side, a junction, a deeper row."""
    if field.through is not None:
        return True
    if isinstance(field, AggregateField):
        return False
    return field.kind is JoinKind.BELONGS_TO or any(map(_needs_own_key, _relations(field.fields)))


def _needs_own_key(field: JoinField | AggregateField) -> bool:
    """Whether a relation starts from the key of the row that it belongs to."""
    return field.foreign_key is not None or field.through is not None


def _needs_far_key(field: AggregateField) -> bool:
    return field.through is not None or field.function is AggregateFunction.IDS


def _relations(fields: tuple[Field, ...]) -> Iterator[JoinField | AggregateField]:
    """The relations of one row; those inside its relations' rows not."""
    for field in fields:
        if isinstance(field, ObjectField):
            yield from _relations(field.fields)
        elif isinstance(field, (JoinField, AggregateField)):
            yield field


def _referenced(schema: IndexSchema) -> Columns:
    table = schema.table
    for column in schema.primary_key or ():
        yield table, column
    yield from _filtered(table, schema.filters)
    if schema.soft_delete is not None:
        yield table, schema.soft_delete.column
        yield from _filtered(table, schema.soft_delete.when)
    yield from _referenced_of(table, schema.fields)


def _referenced_of(table: TableName, fields: tuple[Field, ...]) -> Columns:
    for field in fields:
        match field:
            case ScalarField() | MapField():
                yield table, field.column
            case GeoField():
                columns = (field.lat, field.lon, field.column)
                yield from ((table, column) for column in columns if column is not None)
            case ObjectField():
                yield from _referenced_of(table, field.fields)
            case JoinField() | AggregateField():
                yield from _referenced_by(table, field)
            case _:
                pass


def _referenced_by(table: TableName, field: JoinField | AggregateField) -> Columns:
    there = [field.primary_key, field.foreign_key]
    if isinstance(field, JoinField):
        if field.column is not None:
            yield table, field.column
        there += [order.column for order in field.order_by]
        yield from _referenced_of(field.table, field.fields)
    else:
        there.append(field.column)
    yield from ((field.table, column) for column in there if column is not None)
    yield from _filtered(field.table, field.filters)
    if field.through is not None:
        yield field.through.table, field.through.left_key
        yield field.through.table, field.through.right_key


def _filtered(table: TableName, filters: tuple[Filter, ...]) -> Columns:
    yield from ((table, each.column) for each in filters if isinstance(each, Comparison))


def _incomplete(schema: IndexSchema, path: str, table: TableName) -> ConfigError:
    where = f"{_where(schema)}: {path}" if path else _where(schema)
    return ConfigError(
        f"{where}: the primary key of {table} is left to the catalogue and has not been looked up"
    )


def _where(schema: IndexSchema) -> str:
    return schema.origin or f"index {schema.index}"


def _frozen(found: dict[TableName, set[str]]) -> dict[TableName, frozenset[str]]:
    return {table: frozenset(columns) for table, columns in sorted(found.items())}
