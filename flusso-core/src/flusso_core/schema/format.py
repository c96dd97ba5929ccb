"""The file format of schemas, as pydantic models: one for each kind of field.

What is `Any` here (fields, filters, `soft_delete`) is read one by one beside its holder, so that
each kind has a model of its own, errors never speak of unions, and none hides another. The
descriptions and the shapes that stand for `Any` make the JSON Schema (`flusso schema index`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from flusso_core.model import FieldType
from flusso_core.schema.model import Scalar, Transform
from flusso_core.schema.names import Identifier, KeyColumns, RootTable, Table


def _scalar(value: object) -> Scalar:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise PydanticCustomError("scalar", "expected a string, a number, true or false")


def _number(value: object) -> Scalar:
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    raise PydanticCustomError("float_type", "expected a number")


AnyScalar: TypeAlias = Annotated[
    Scalar,
    PlainValidator(_scalar),
    WithJsonSchema({"type": ["string", "number", "boolean", "null"]}),
]
Number: TypeAlias = Annotated[
    Scalar, PlainValidator(_number), WithJsonSchema({"type": ["number", "null"]})
]
Fields: TypeAlias = Annotated[
    Annotated[list[Any], Field(min_length=1)],
    WithJsonSchema({"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Field"}}),
]
Filters: TypeAlias = Annotated[
    Any,
    WithJsonSchema({"type": ["array", "null"], "items": {"$ref": "#/$defs/FilterModel"}}),
]
Limit: TypeAlias = Annotated[int, Field(ge=1)]

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
"""The types of a single plain value: what an aggregate gives."""

LeafType: TypeAlias = Literal[
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
"""What the leaves of a map are: format version 1 knows no map of booleans."""


class Model(BaseModel):
    """A table of a schema file: no other keys than its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_COLUMN = "The column that is read. Left out: the document key, folded to lower case."
_REQUIRED = "The value is never null: flusso check compares this with the database."
_TABLE = "The related table; schema.table where it is in another schema."
_RELATED_KEY = "The column that identifies a row of the related table. Left out: its primary key."
_FILTERS = "Only related rows that match all of these count."
_ORDER = "The order of the elements; ties, and no order, go by the related table's key."
_LIMIT = "Most elements."
_FOREIGN_KEY = "The column of the related table that points back at this row."
_THROUGH = "The junction table between this row and the related ones."


class OrderByModel(Model):
    """One ordering of a relation's rows."""

    model_config = ConfigDict(title="Order")

    column: Identifier = Field(description="A column of the related table.")
    direction: Literal["asc", "desc"] = Field(
        "asc", description="asc: nulls come last; desc: nulls come first."
    )


class ThroughModel(Model):
    """A junction table."""

    model_config = ConfigDict(title="Junction")

    table: Table = Field(description="The junction table.")
    left_key: Identifier = Field(description="Its column that points at this row.")
    right_key: Identifier = Field(description="Its column that points at the related row.")


class SoftDeleteModel(Model):
    """Which rows count as deleted: where it is true, or any other value that is not null."""

    model_config = ConfigDict(
        title="Soft delete",
        json_schema_extra={"oneOf": [{"required": ["column"]}, {"required": ["field"]}]},
    )

    column: Identifier | None = Field(None, description="A column of the root table.")
    field: str | None = Field(None, description="A field of this file, by its document key.")
    when: Filters = Field(None, description="Only rows that match all of these are deleted by it.")


class SchemaModel(Model):
    """What one search document looks like: a root table and the fields of a document."""

    model_config = ConfigDict(title="flusso index schema")

    version: Literal[1] = Field(description="Of the format.")
    table: RootTable = Field(
        description="The root table: one document for each of its rows.", examples=["users"]
    )
    schema_: Identifier = Field(
        "public", alias="schema", description="The root table's schema in the database."
    )
    primary_key: KeyColumns | None = Field(
        None,
        description="What identifies a document. Left out: the table's primary key.",
        examples=["id", ["tenant", "id"]],
    )
    soft_delete: Annotated[
        Any, WithJsonSchema({"anyOf": [{"$ref": "#/$defs/SoftDeleteModel"}, {"type": "null"}]})
    ] = Field(None, description="Which rows count as deleted, and have no document.")
    filters: Filters = Field(
        None, description="Only root rows that match all of these become documents."
    )
    fields: Fields = Field(description="The fields of a document.")


class FieldModel(Model):
    """What every field with a mapping of its own may have."""

    options: dict[str, JsonValue] = Field(
        {},
        description="Mapping properties that add to those of the field, and win.",
        examples=[{"analyzer": "english"}],
    )


class ColumnModel(FieldModel):
    """A column's value; what it may have for a default, each type says itself."""

    column: Identifier | None = Field(None, description=_COLUMN)
    required: bool = Field(default=False, description=_REQUIRED)
    transforms: list[Transform] = Field(
        [], description="Changes to the text of the value, in this order."
    )


class ScalarModel(ColumnModel):
    """A column's value, of whatever type."""

    default: AnyScalar = Field(None, description="Stands in for null, after the transforms.")


class EnumModel(ScalarModel):
    """One of a closed set of strings."""

    variants: list[str] = Field([], description="The values in the order that they are sorted by.")


class BooleanModel(ColumnModel):
    """A truth value."""

    default: bool | None = Field(None, description="Stands in for null.")


class ShortModel(ColumnModel):
    """An integer of 16 bits."""

    default: Annotated[int, Field(ge=-(2**15), lt=2**15)] | None = Field(
        None, description="Stands in for null."
    )


class IntegerModel(ColumnModel):
    """An integer of 32 bits."""

    default: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = Field(
        None, description="Stands in for null."
    )


class LongModel(ColumnModel):
    """An integer of 64 bits."""

    default: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = Field(
        None, description="Stands in for null."
    )


class NumberModel(ColumnModel):
    """A number, with every digit that is stored."""

    default: Number = Field(None, description="Stands in for null.")


class TemporalModel(ColumnModel):
    """A date, a time, or both."""

    default: str | None = Field(
        None, description="Stands in for null.", examples=["2024-05-01", "2024-05-01T10:00:00Z"]
    )


class BinaryModel(ColumnModel):
    """Bytes, as base64."""

    default: str | None = Field(None, description="Stands in for null; base64.")


class CustomModel(ScalarModel):
    """A column of types that the format has no name for."""

    postgres: Annotated[list[str], Field(min_length=1)] = Field(
        description="The types that the column may have.", examples=[["inet", "cidr"]]
    )
    opensearch: str = Field(description="The mapping type.", examples=["ip"])


AnyColumn: TypeAlias = (
    ScalarModel
    | BooleanModel
    | ShortModel
    | IntegerModel
    | LongModel
    | NumberModel
    | TemporalModel
    | BinaryModel
)
"""Whatever reads one column as it is."""


class GeoModel(FieldModel):
    """A point, from two columns or from one; null where a half is missing."""

    model_config = ConfigDict(
        json_schema_extra={
            "dependentRequired": {"lat": ["lon"], "lon": ["lat"]},
            "not": {"required": ["lat", "column"]},
        }
    )

    lat: Identifier | None = Field(None, description="The column of the latitude.")
    lon: Identifier | None = Field(None, description="The column of the longitude.")
    column: Identifier | None = Field(
        None,
        description='Or one column: json, or text "lat,lon". Left out: named as the document key.',
    )
    required: bool = Field(default=False, description=_REQUIRED)


class ObjectModel(FieldModel):
    """Columns of the same row under one key."""

    fields: Fields = Field(description="The fields of the object.")


class MapModel(FieldModel):
    """A json column with open keys."""

    values: LeafType = Field(description="The type of every leaf.")
    column: Identifier | None = Field(None, description=_COLUMN)
    required: bool = Field(default=False, description=_REQUIRED)


class ConstantModel(Model):
    """The same value in every document."""

    value: AnyScalar = Field(None, description="The value; left out: null.")


class JoinModel(FieldModel):
    """Related rows."""

    table: Table = Field(description=_TABLE, examples=["orders", "crm.orders"])
    primary_key: Identifier | None = Field(None, description=_RELATED_KEY)
    filters: Filters = Field(None, description=_FILTERS)
    fields: Fields = Field(description="The fields of a related row.")


class BelongsToModel(JoinModel):
    """The one row that this row's column points at: an object, or null."""

    column: Identifier | None = Field(
        None, description="This row's column that points there. Left out: the document key."
    )
    required: bool = Field(default=False, description="There always is such a row.")


class HasOneModel(JoinModel):
    """The one row whose foreign key points back at this row: an object, or null."""

    foreign_key: Identifier = Field(description=_FOREIGN_KEY)
    required: bool = Field(default=False, description="There always is such a row.")
    order_by: list[OrderByModel] = Field([], description="Which row it is, of several: the first.")


class HasManyModel(JoinModel):
    """The rows whose foreign key points back at this row: an array, never null."""

    foreign_key: Identifier = Field(description=_FOREIGN_KEY)
    order_by: list[OrderByModel] = Field([], description=_ORDER)
    limit: Limit | None = Field(None, description=_LIMIT)


class ManyToManyModel(JoinModel):
    """The rows on the far side of a junction table: an array, never null."""

    through: ThroughModel = Field(description=_THROUGH)
    order_by: list[OrderByModel] = Field([], description=_ORDER)
    limit: Limit | None = Field(None, description=_LIMIT)


class AggregateModel(FieldModel):
    """How many related rows there are."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["foreign_key"]}, {"required": ["through"]}]}
    )

    table: Table = Field(description=_TABLE, examples=["orders", "crm.orders"])
    primary_key: Identifier | None = Field(None, description=_RELATED_KEY)
    foreign_key: Identifier | None = Field(None, description=_FOREIGN_KEY)
    through: ThroughModel | None = Field(None, description=_THROUGH)
    filters: Filters = Field(None, description=_FILTERS)


class AvgModel(AggregateModel):
    """The mean of a column of the related rows."""

    column: Identifier = Field(description="The related table's column.")


class SumMinMaxModel(AvgModel):
    """The sum, or an extreme, of a column of the related rows."""

    value_type: ValueType = Field(description="The type of the result.")


class IdsModel(AggregateModel):
    """The keys of the related rows: an array, never null."""

    element_type: ValueType = Field(description="The type of a key.", examples=["long", "keyword"])
