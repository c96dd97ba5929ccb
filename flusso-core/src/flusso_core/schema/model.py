"""A search document's schema, as a builder reads it: parsed, checked, names resolved.

`flusso_core.schema.load_schema` makes these from a file; an embedding program may write them
itself. They say nothing about any destination. Column and table names are exact (already folded
or unquoted as Postgres does). A key that the file leaves out is `None` here: the builder takes
it from the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from flusso_core.model import FieldType, JsonValue, TableName

Scalar: TypeAlias = "bool | int | float | str | None"


class Transform(StrEnum):
    """A change to a text value, applied in the order given."""

    LOWERCASE = "lowercase"
    TRIM = "trim"


class Operator(StrEnum):
    """A filter's comparison."""

    IS_NULL = "is_null"
    IS_NOT_NULL = "is_not_null"
    EQ = "eq"
    NEQ = "neq"
    LT = "lt"
    LTE = "lte"
    GT = "gt"
    GTE = "gte"
    LIKE = "like"
    ILIKE = "ilike"
    IN = "in"
    NOT_IN = "not_in"
    BETWEEN = "between"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`column op values`: none for the null tests, two for `between`, one or a list otherwise."""

    column: str
    op: Operator
    values: tuple[Scalar, ...] = ()


@dataclass(frozen=True, slots=True)
class RawFilter:
    """A condition in the database's own SQL, over the table's columns, taken as it is."""

    sql: str


Filter: TypeAlias = Comparison | RawFilter


@dataclass(frozen=True, slots=True)
class OrderBy:
    """One ordering of a relation's rows."""

    column: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Through:
    """A junction table: `left_key` points at this side's row, `right_key` at the far one."""

    table: TableName
    left_key: str
    right_key: str


@dataclass(frozen=True, slots=True)
class ScalarField:
    """A column's value.

    Attributes:
        postgres_types: the column types that a `custom` field names.
        custom: the destination's type of a `custom` field.
    """

    name: str
    type: FieldType
    column: str
    required: bool = False
    options: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    transforms: tuple[Transform, ...] = ()
    default: Scalar = None
    variants: tuple[str, ...] = ()
    postgres_types: tuple[str, ...] = ()
    custom: str | None = None


@dataclass(frozen=True, slots=True)
class GeoField:
    """A point: from two columns (`lat` and `lon`) or from one (`column`)."""

    name: str
    lat: str | None = None
    lon: str | None = None
    column: str | None = None
    required: bool = False
    options: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])


@dataclass(frozen=True, slots=True)
class ObjectField:
    """Columns of the same row, grouped under one key."""

    name: str
    fields: tuple[Field, ...]
    options: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])


@dataclass(frozen=True, slots=True)
class MapField:
    """A json column with open keys, whose leaves are all of one type."""

    name: str
    column: str
    values: FieldType
    required: bool = False
    options: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])


@dataclass(frozen=True, slots=True)
class ConstantField:
    """A value that is the same in every document."""

    name: str
    value: Scalar


class JoinKind(StrEnum):
    """How a related row is reached."""

    BELONGS_TO = "belongs_to"
    HAS_ONE = "has_one"
    HAS_MANY = "has_many"
    MANY_TO_MANY = "many_to_many"

    @property
    def many(self) -> bool:
        """Whether it gives an array."""
        return self in (JoinKind.HAS_MANY, JoinKind.MANY_TO_MANY)


@dataclass(frozen=True, slots=True)
class JoinField:
    """Related rows, folded in.

    Attributes:
        primary_key: the related table's key column: what `column` points at (`belongs_to`),
            what `through.right_key` points at, and what the rows' own joins start from.
        column: of this table, pointing at the related row; `belongs_to` only.
        foreign_key: of the related table, pointing back; `has_one` and `has_many` only.
        through: the junction; `many_to_many` only.
        order_by: order of the elements, or which row a `has_one` picks; the primary key of the
            related table breaks ties and is the order where none is given.
        limit: most elements of a to-many join.
    """

    name: str
    kind: JoinKind
    table: TableName
    fields: tuple[Field, ...]
    primary_key: str | None = None
    column: str | None = None
    foreign_key: str | None = None
    through: Through | None = None
    required: bool = False
    filters: tuple[Filter, ...] = ()
    order_by: tuple[OrderBy, ...] = ()
    limit: int | None = None
    options: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])


class AggregateFunction(StrEnum):
    """What is computed over related rows."""

    COUNT = "count"
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"
    IDS = "ids"


@dataclass(frozen=True, slots=True)
class AggregateField:
    """A value computed over related rows, reached by `foreign_key` or `through`.

    Attributes:
        type: the type of the value: long for `count`, double for `avg`, `value_type` for `sum`,
            `min` and `max`, `element_type` for `ids`.
        column: what is aggregated; `None` for `count` and `ids`.
        primary_key: the related table's key column: what `ids` collects and what
            `through.right_key` points at.
    """

    name: str
    function: AggregateFunction
    type: FieldType
    table: TableName
    column: str | None = None
    primary_key: str | None = None
    foreign_key: str | None = None
    through: Through | None = None
    filters: tuple[Filter, ...] = ()
    options: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])


Field: TypeAlias = (
    ScalarField | GeoField | ObjectField | MapField | ConstantField | JoinField | AggregateField
)


@dataclass(frozen=True, slots=True)
class SoftDelete:
    """A row is deleted when `column` is true, or, not being a boolean, is not null; and where
    `when` is given, only if the row matches all of it.
    """

    column: str
    when: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexSchema:
    """The schema of one index's documents.

    Attributes:
        index: the logical name of the index.
        table: the root table: one document for each of its rows.
        primary_key: the columns that identify a document; `None`: as the catalogue says.
        filters: only rows that match all of them become documents.
        schema_hash: changes when, and only when, the documents would.
        origin: the file, for messages.
        stored: the same schema as text that `restore_schema` reads; `None`: it is from no file.
    """

    index: str
    table: TableName
    fields: tuple[Field, ...]
    schema_hash: str
    primary_key: tuple[str, ...] | None = None
    soft_delete: SoftDelete | None = None
    filters: tuple[Filter, ...] = ()
    origin: str | None = None
    stored: str | None = field(default=None, compare=False, repr=False)
