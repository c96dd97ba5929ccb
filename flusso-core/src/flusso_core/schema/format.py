"""The file format of schemas, as pydantic models: one for each kind of field.

What is `Any` here (fields, filters, `soft_delete`) is read one by one beside its holder, so that
each kind has a model of its own, errors never speak of unions, and none hides another.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainValidator
from pydantic_core import PydanticCustomError

from flusso_core.model import FieldType
from flusso_core.schema.model import Operator, Scalar, Transform
from flusso_core.schema.names import Identifier, KeyColumns, Table


def _scalar(value: object) -> Scalar:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise PydanticCustomError("scalar", "expected a string, a number, true or false")


AnyScalar: TypeAlias = Annotated[Scalar, PlainValidator(_scalar)]

ValueType: TypeAlias = Literal[
    FieldType.TEXT,
    FieldType.IDENTIFIER,
    FieldType.KEYWORD,
    FieldType.ENUM,
    FieldType.UUID,
    FieldType.BOOLEAN,
    FieldType.SHORT,
    FieldType.INTEGER,
    FieldType.LONG,
    FieldType.FLOAT,
    FieldType.DOUBLE,
    FieldType.DECIMAL,
    FieldType.DATE,
    FieldType.TIMESTAMP,
]
"""The types of a single plain value: what an aggregate gives, what a map's leaves are."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FilterModel(_Model):
    """A filter in any of its forms; `flusso_core.schema.filters` tells them apart."""

    raw: str | None = None
    column: Identifier | None = None
    op: Operator | None = None
    value: JsonValue = None


class OrderByModel(_Model):
    """One ordering of a relation's rows."""

    column: Identifier
    direction: Literal["asc", "desc"] = "asc"


class ThroughModel(_Model):
    """A junction table."""

    table: Table
    left_key: Identifier
    right_key: Identifier


class SoftDeleteModel(_Model):
    """`soft_delete`."""

    column: Identifier | None = None
    field: str | None = None
    when: Any = None


class SchemaModel(_Model):
    """The top level of a schema file."""

    version: Literal[1]
    table: Identifier
    schema_: Identifier = Field("public", alias="schema")
    primary_key: KeyColumns | None = None
    soft_delete: Any = None
    filters: Any = None
    fields: Annotated[list[Any], Field(min_length=1)]


class FieldModel(_Model):
    """What every field with a mapping of its own may have."""

    options: dict[str, JsonValue] = {}


class ScalarModel(FieldModel):
    """A column's value."""

    column: Identifier | None = None
    required: bool = False
    transforms: list[Transform] = []
    default: AnyScalar = None


class EnumModel(ScalarModel):
    """One of a closed set of strings."""

    variants: list[str] = []


class CustomModel(ScalarModel):
    """A column of types that the format has no name for."""

    postgres: Annotated[list[str], Field(min_length=1)]
    opensearch: str


class GeoModel(FieldModel):
    """A point."""

    lat: Identifier | None = None
    lon: Identifier | None = None
    column: Identifier | None = None
    required: bool = False


class ObjectModel(FieldModel):
    """Columns of the same row under one key."""

    fields: Annotated[list[Any], Field(min_length=1)]


class MapModel(FieldModel):
    """A json column with open keys."""

    values: Literal[
        FieldType.TEXT,
        FieldType.IDENTIFIER,
        FieldType.KEYWORD,
        FieldType.ENUM,
        FieldType.UUID,
        FieldType.SHORT,
        FieldType.INTEGER,
        FieldType.LONG,
        FieldType.FLOAT,
        FieldType.DOUBLE,
        FieldType.DECIMAL,
        FieldType.DATE,
        FieldType.TIMESTAMP,
    ]
    column: Identifier | None = None
    required: bool = False


class ConstantModel(_Model):
    """The same value in every document."""

    value: AnyScalar = None


class JoinModel(FieldModel):
    """Related rows."""

    table: Table
    primary_key: Identifier | None = None
    filters: Any = None
    fields: Annotated[list[Any], Field(min_length=1)]


class BelongsToModel(JoinModel):
    """This table's `column` points at the related row."""

    column: Identifier | None = None
    required: bool = False


class HasOneModel(JoinModel):
    """The related table's `foreign_key` points back at this row."""

    foreign_key: Identifier
    required: bool = False
    order_by: list[OrderByModel] = []


class HasManyModel(JoinModel):
    """The same, many rows."""

    foreign_key: Identifier
    order_by: list[OrderByModel] = []
    limit: Annotated[int, Field(ge=1)] | None = None


class ManyToManyModel(JoinModel):
    """Rows on the far side of a junction table."""

    through: ThroughModel
    order_by: list[OrderByModel] = []
    limit: Annotated[int, Field(ge=1)] | None = None


class AggregateModel(FieldModel):
    """A value over related rows: `count` as it is."""

    table: Table
    primary_key: Identifier | None = None
    foreign_key: Identifier | None = None
    through: ThroughModel | None = None
    filters: Any = None


class AvgModel(AggregateModel):
    """The mean of a column."""

    column: Identifier


class SumMinMaxModel(AvgModel):
    """The sum or an extreme of a column."""

    value_type: ValueType


class IdsModel(AggregateModel):
    """The related rows' keys."""

    element_type: ValueType
