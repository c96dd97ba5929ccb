"""The typed mapping that a schema implies, for any destination."""

from __future__ import annotations

from flusso_core.model import FieldType, IndexMapping, MappedField
from flusso_core.schema.model import (
    AggregateField,
    ConstantField,
    Field,
    GeoField,
    IndexSchema,
    JoinField,
    MapField,
    ObjectField,
    Scalar,
    ScalarField,
)

_LONG = range(-(2**63), 2**63)


def project_mapping(schema: IndexSchema) -> IndexMapping:
    """The mapping of an index, derived from its schema alone; no database is needed.

    To-one joins are objects, to-many joins are nested; an aggregate has the type of its value and
    a constant that of the value it has.
    """
    fields = _fields(schema.fields, "")
    return IndexMapping(schema.index, schema.schema_hash, fields, schema.stored)


def _fields(fields: tuple[Field, ...], prefix: str) -> tuple[MappedField, ...]:
    return tuple(_mapped(field, prefix + field.name) for field in fields)


def _mapped(field: Field, path: str) -> MappedField:
    match field:
        case ScalarField():
            return MappedField(
                field.name,
                field.type,
                path,
                field.options,
                variants=field.variants,
                custom=field.custom,
            )
        case GeoField():
            return MappedField(field.name, FieldType.GEO, path, field.options)
        case MapField():
            return MappedField(field.name, FieldType.MAP, path, field.options, values=field.values)
        case ConstantField():
            return MappedField(field.name, _type_of(field.value), path)
        case AggregateField():
            return MappedField(field.name, field.type, path, field.options)
        case ObjectField() | JoinField():
            many = isinstance(field, JoinField) and field.kind.many
            kind = FieldType.NESTED if many else FieldType.OBJECT
            inner = _fields(field.fields, f"{path}.")
            return MappedField(field.name, kind, path, field.options, inner)


def _type_of(value: Scalar) -> FieldType:
    match value:
        case bool():
            return FieldType.BOOLEAN
        case int():
            return FieldType.LONG if value in _LONG else FieldType.DOUBLE
        case float():
            return FieldType.DOUBLE
        case _:
            return FieldType.KEYWORD
