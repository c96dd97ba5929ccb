"""Fields: from their type-first form to the dataclasses of `flusso_core.schema.model`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from flusso_core.files import Path, Problems, check, unknown
from flusso_core.model import FieldType, JsonValue, TableName
from flusso_core.schema.defaults import wrong_default
from flusso_core.schema.filters import read_filters
from flusso_core.schema.format import (
    AggregateModel,
    AnyColumn,
    AvgModel,
    BelongsToModel,
    BinaryModel,
    BooleanModel,
    ConstantModel,
    CustomModel,
    EnumModel,
    GeoModel,
    HasManyModel,
    HasOneModel,
    IdsModel,
    IntegerModel,
    JoinModel,
    LongModel,
    ManyToManyModel,
    MapModel,
    NumberModel,
    ObjectModel,
    OrderByModel,
    ScalarModel,
    ShortModel,
    SumMinMaxModel,
    TemporalModel,
    ThroughModel,
)
from flusso_core.schema.model import (
    AggregateField,
    AggregateFunction,
    ConstantField,
    Field,
    Filter,
    GeoField,
    JoinField,
    JoinKind,
    MapField,
    ObjectField,
    OrderBy,
    ScalarField,
    Through,
)
from flusso_core.schema.names import TableReference, document_key, identifier

MODELS: dict[str, type[BaseModel]] = {
    "text": ScalarModel,
    "identifier": ScalarModel,
    "keyword": ScalarModel,
    "enum": EnumModel,
    "uuid": ScalarModel,
    "boolean": BooleanModel,
    "short": ShortModel,
    "integer": IntegerModel,
    "long": LongModel,
    "float": NumberModel,
    "double": NumberModel,
    "decimal": NumberModel,
    "date": TemporalModel,
    "timestamp": TemporalModel,
    "binary": BinaryModel,
    "json": ScalarModel,
    "custom": CustomModel,
    "geo": GeoModel,
    "map": MapModel,
    "object": ObjectModel,
    "constant": ConstantModel,
    "belongs_to": BelongsToModel,
    "has_one": HasOneModel,
    "has_many": HasManyModel,
    "many_to_many": ManyToManyModel,
    "count": AggregateModel,
    "sum": SumMinMaxModel,
    "avg": AvgModel,
    "min": SumMinMaxModel,
    "max": SumMinMaxModel,
    "ids": IdsModel,
}
"""What each type key may have beside it."""

_AGGREGATES = frozenset(AggregateFunction)

_SIBLINGS = frozenset(key for model in MODELS.values() for key in model.model_fields)

_JOIN_KEYS = {
    "belongs_to": "column",
    "has_one": "foreign_key",
    "has_many": "foreign_key",
    "many_to_many": "through",
}
"""The key by which each join's verb finds its rows."""


_MEANT = {
    **dict.fromkeys(("string", "str", "char", "citext"), "keyword"),
    **dict.fromkeys(("varchar", "fulltext", "match_only_text"), "text"),
    **dict.fromkeys(("int2", "smallint"), "short"),
    **dict.fromkeys(("int", "int4", "serial"), "integer"),
    **dict.fromkeys(("int8", "bigint", "bigserial"), "long"),
    **dict.fromkeys(("real", "float4"), "float"),
    **dict.fromkeys(("float8", "double precision"), "double"),
    **dict.fromkeys(("numeric", "money", "number"), "decimal"),
    **dict.fromkeys(("datetime", "timestamptz", "time"), "timestamp"),
    **dict.fromkeys(("bytea", "bytes", "blob"), "binary"),
    **dict.fromkeys(("bool",), "boolean"),
    **dict.fromkeys(("jsonb",), "json"),
    **dict.fromkeys(("geo_point", "point", "location"), "geo"),
    **dict.fromkeys(("nested", "one_to_many"), "has_many"),
    **dict.fromkeys(("many_to_one",), "belongs_to"),
    **dict.fromkeys(("one_to_one",), "has_one"),
}
"""What databases and search engines call the types."""


class FieldReader:
    """Reads lists of fields; what is wrong goes to the problems of the file.

    Attributes:
        keyed: the relations that start from the root row's key: type key and place.
    """

    def __init__(self, problems: Problems, schema: str) -> None:
        self._problems = problems
        self._schema = schema
        self.keyed: list[tuple[str, Path]] = []

    def read(self, values: JsonValue, path: Path, *, root: bool = True) -> tuple[Field, ...]:
        """The fields of a list in the file. `root`: they belong to the root table's row."""
        if not isinstance(values, list):
            return ()  # the model of what holds the list has said so
        fields: list[Field] = []
        seen: dict[str, Path] = {}
        for number, value in enumerate(values):
            place = (*path, number)
            name, field = self._field(value, place, root=root)
            if name in seen:
                self._problems.twice(place, f"the document key {name}", seen[name])
            elif name is not None:
                seen[name] = place
            if field is not None:
                fields.append(field)
        return tuple(fields)

    def _field(
        self, value: JsonValue, path: Path, *, root: bool
    ) -> tuple[str | None, Field | None]:
        if not isinstance(value, Mapping):
            self._problems.add(path, "expected a field, such as `keyword: name`")
            return None, None
        kinds = [key for key in value if key in MODELS]
        if len(kinds) != 1:
            self._no_type(value, kinds, path)
            return None, None
        (kind,) = kinds
        name = self._name(value[kind], (*path, kind))
        rest = {key: inner for key, inner in value.items() if key != kind}
        self._reject_foreign(kind, rest, path)
        model = check(MODELS[kind], rest, self._problems, path)
        filters = read_filters(rest.get("filters"), self._problems, (*path, "filters"))
        related = kind in _JOIN_KEYS
        inner = self.read(rest.get("fields"), (*path, "fields"), root=root and not related)
        if root and (kind in _AGGREGATES or kind in _JOIN_KEYS.keys() - {"belongs_to"}):
            self.keyed.append((kind, path))
        if name is None or model is None:
            return name, None
        return name, self._lower(kind, name, model, inner, filters, path)

    def _no_type(self, value: Mapping[str, JsonValue], kinds: list[str], path: Path) -> None:
        if kinds:
            message = f"a field has one type key, but {' and '.join(kinds)} are here"
            self._problems.add(path, message)
            return
        strange = [key for key in value if key not in _SIBLINGS]
        kind = value.get("type")
        if "name" in value and isinstance(kind, str) and kind in MODELS:
            self._problems.add(path, f"a field is written type first, as in `{kind}: name`")
            return
        if not strange:
            message = "a field needs a type key, as in `keyword: name`"
            self._problems.add(path, message)
        for key in strange:
            self._problems.add((*path, key), unknown("type of field", key, list(MODELS), _MEANT))

    def _name(self, value: JsonValue, path: Path) -> str | None:
        if not isinstance(value, str):
            self._problems.add(path, "expected the key in the document, a string")
            return None
        try:
            return document_key(value)
        except PydanticCustomError as error:
            self._problems.add(path, error.message())
            return None

    def _reject_foreign(self, kind: str, rest: dict[str, JsonValue], path: Path) -> None:
        """Take out the siblings that exist, but not for this type."""
        allowed = MODELS[kind].model_fields
        for key in [key for key in rest if key in _SIBLINGS and key not in allowed]:
            del rest[key]
            message = f"{kind} takes no {key}"
            if kind in _JOIN_KEYS and key in _JOIN_KEYS.values():
                message += f"; it finds its rows by {_JOIN_KEYS[kind]}"
            self._problems.add((*path, key), message)

    def _lower(
        self,
        kind: str,
        name: str,
        model: BaseModel,
        inner: tuple[Field, ...],
        filters: tuple[Filter, ...],
        path: Path,
    ) -> Field | None:
        match model:
            case _ if isinstance(model, AnyColumn):
                return self._scalar(kind, name, model, path)
            case GeoModel():
                return self._geo(name, model, path)
            case MapModel():
                column = _column(model.column, name)
                return MapField(name, column, model.values, model.required, model.options)
            case ObjectModel():
                return ObjectField(name, inner, model.options)
            case JoinModel():
                return self._join(JoinKind(kind), name, model, inner, filters)
            case AggregateModel():
                return self._aggregate(AggregateFunction(kind), name, model, filters, path)
            case ConstantModel():
                return ConstantField(name, model.value)
            case _:
                raise AssertionError(kind)  # pragma: no cover

    def _scalar(self, kind: str, name: str, model: AnyColumn, path: Path) -> Field:
        variants = tuple(model.variants) if isinstance(model, EnumModel) else ()
        if len(set(variants)) < len(variants):
            self._problems.add((*path, "variants"), "a variant comes twice")
        wrong = wrong_default(model)
        if wrong is not None:
            self._problems.add((*path, "default"), wrong)
        custom = model if isinstance(model, CustomModel) else None
        return ScalarField(
            name=name,
            type=FieldType(kind),
            column=_column(model.column, name),
            required=model.required,
            options=model.options,
            transforms=tuple(model.transforms),
            default=model.default,
            variants=variants,
            postgres_types=tuple(custom.postgres) if custom else (),
            custom=custom.opensearch if custom else None,
        )

    def _geo(self, name: str, model: GeoModel, path: Path) -> Field | None:
        halves = (model.lat, model.lon)
        if any(halves) and (model.column is not None or not all(halves)):
            self._problems.add(path, "geo takes lat and lon, or one column")
            return None
        column = None if any(halves) else _column(model.column, name)
        return GeoField(name, model.lat, model.lon, column, model.required, model.options)

    def _join(
        self,
        kind: JoinKind,
        name: str,
        model: JoinModel,
        inner: tuple[Field, ...],
        filters: tuple[Filter, ...],
    ) -> Field:
        belongs_to = model if isinstance(model, BelongsToModel) else None
        pointed = model if isinstance(model, (HasOneModel, HasManyModel)) else None
        many = model if isinstance(model, (HasManyModel, ManyToManyModel)) else None
        ordered = model if isinstance(model, HasOneModel) else many
        return JoinField(
            name=name,
            kind=kind,
            table=self._table(model.table),
            fields=inner,
            primary_key=model.primary_key,
            column=_column(belongs_to.column, name) if belongs_to else None,
            foreign_key=pointed.foreign_key if pointed else None,
            through=self._through(model.through) if isinstance(model, ManyToManyModel) else None,
            required=isinstance(model, (BelongsToModel, HasOneModel)) and model.required,
            filters=filters,
            order_by=_order(ordered.order_by) if ordered else (),
            limit=many.limit if many else None,
            options=model.options,
        )

    def _aggregate(
        self,
        function: AggregateFunction,
        name: str,
        model: AggregateModel,
        filters: tuple[Filter, ...],
        path: Path,
    ) -> Field | None:
        if (model.foreign_key is None) == (model.through is None):
            self._problems.add(path, f"{function} takes either foreign_key or through")
            return None
        kinds = {AggregateFunction.COUNT: FieldType.LONG, AggregateFunction.AVG: FieldType.DOUBLE}
        kind = kinds.get(function)
        if isinstance(model, SumMinMaxModel):
            kind = model.value_type
        elif isinstance(model, IdsModel):
            kind = model.element_type
        assert kind is not None  # noqa: S101 - each function is in one of the three
        return AggregateField(
            name=name,
            function=function,
            type=kind,
            table=self._table(model.table),
            column=model.column if isinstance(model, AvgModel) else None,
            primary_key=model.primary_key,
            foreign_key=model.foreign_key,
            through=self._through(model.through) if model.through else None,
            filters=filters,
            options=model.options,
        )

    def _table(self, given: TableReference) -> TableName:
        return TableName(self._schema if given.schema is None else given.schema, given.name)

    def _through(self, model: ThroughModel) -> Through:
        return Through(self._table(model.table), model.left_key, model.right_key)


def _order(models: Sequence[OrderByModel]) -> tuple[OrderBy, ...]:
    return tuple(OrderBy(each.column, each.direction == "desc") for each in models)


def _column(given: str | None, name: str) -> str:
    """The column that a field reads: the document key, folded as any other name, by default."""
    return identifier(name) if given is None else given
