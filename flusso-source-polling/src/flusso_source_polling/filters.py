"""A schema's filters as conditions over the one table in their scope."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sqlalchemy import and_, false, literal_column, not_, or_, true

from flusso_core.model import TableName
from flusso_core.schema.model import (
    AggregateField,
    Comparison,
    Field,
    Filter,
    IndexSchema,
    JoinField,
    ObjectField,
    Operator,
    RawFilter,
    SoftDelete,
)
from flusso_source_polling.catalogue import Table
from flusso_source_polling.dialects import Dialect, Expression


def condition(filters: Sequence[Filter], table: Table, dialect: Dialect) -> Expression:
    """Whether a row passes all of them. A comparison with NULL never does."""
    return and_(true(), *(_one(one, table, dialect) for one in filters))


def qualifies(schema: IndexSchema, table: Table, dialect: Dialect) -> Expression:
    """Whether a root row has a document."""
    passed = condition(schema.filters, table, dialect)
    if schema.soft_delete is None:
        return passed
    return and_(passed, _alive(schema.soft_delete, table, dialect))


def raw_tables(schema: IndexSchema) -> frozenset[TableName]:
    """Tables over which the schema has conditions whose columns nobody but the database knows."""
    return frozenset(_raw(schema))


def _raw(schema: IndexSchema) -> Iterator[TableName]:
    when = schema.soft_delete.when if schema.soft_delete is not None else ()
    if any(isinstance(one, RawFilter) for one in (*schema.filters, *when)):
        yield schema.table
    yield from _raw_below(schema.fields)


def _raw_below(fields: Sequence[Field]) -> Iterator[TableName]:
    for field in fields:
        if isinstance(field, JoinField | AggregateField) and any(
            isinstance(one, RawFilter) for one in field.filters
        ):
            yield field.table
        if isinstance(field, JoinField | ObjectField):
            yield from _raw_below(field.fields)


def _alive(soft_delete: SoftDelete, table: Table, dialect: Dialect) -> Expression:
    column = table.column(soft_delete.column)
    expression = table.sql.columns[soft_delete.column]
    boolean = dialect.is_boolean(column)
    deleted: Expression = expression == true() if boolean else expression.is_not(None)
    deleted = and_(deleted, *(_one(one, table, dialect) for one in soft_delete.when))
    # NULL counts as not deleted.
    return or_(not_(deleted), deleted.is_(None))


def _one(one: Filter, table: Table, dialect: Dialect) -> Expression:
    if isinstance(one, RawFilter):
        # On a line of its own: a comment at the end of it must not swallow the parenthesis.
        return literal_column(f"({one.sql}\n)")
    return _comparison(one, table, dialect)


def _comparison(one: Comparison, table: Table, dialect: Dialect) -> Expression:
    described = table.column(one.column)
    column = table.untyped(one.column)
    exact = dialect.exact(column, described)
    values = [dialect.operand(value, described) for value in one.values]
    match one.op:
        case Operator.IS_NULL:
            return column.is_(None)
        case Operator.IS_NOT_NULL:
            return column.is_not(None)
        case Operator.IN:
            return _both(column, exact, lambda each: each.in_(values)) if values else false()
        case Operator.NOT_IN:
            return exact.not_in(values) if values else true()
        case Operator.BETWEEN:
            return and_(column >= values[0], column <= values[1])
        case Operator.LIKE | Operator.ILIKE:
            return dialect.like(column, values[0], fold=one.op is Operator.ILIKE)
        case Operator.EQ:
            return _both(column, exact, lambda each: each == values[0])
        case Operator.NEQ:
            return exact != values[0]
        case Operator.LT:
            return column < values[0]
        case Operator.LTE:
            return column <= values[0]
        case Operator.GT:
            return column > values[0]
        case Operator.GTE:
            return column >= values[0]


def _both(
    column: Expression, exact: Expression, test: Callable[[Expression], Expression]
) -> Expression:
    """The test of what the column holds exactly, and that of the column, which an index serves."""
    return test(column) if exact is column else and_(test(column), test(exact))
