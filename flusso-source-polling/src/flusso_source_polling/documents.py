"""Documents of rows: each level of a schema is one statement for all rows of a chunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, TypeAlias

from sqlalchemy import Connection, FromClause, func, select

from flusso_core.errors import SourceFatal
from flusso_core.model import FieldType
from flusso_core.schema.model import (
    AggregateField,
    ConstantField,
    Field,
    GeoField,
    JoinField,
    MapField,
    ObjectField,
    ScalarField,
    Transform,
)
from flusso_source_polling import values
from flusso_source_polling.aggregates import aggregate
from flusso_source_polling.catalogue import Table, Tables
from flusso_source_polling.dialects import Dialect, Expression
from flusso_source_polling.relations import Link, first, link

AT_ONCE = 1000
"""Rows above whose related rows one statement reads."""

Row: TypeAlias = Sequence[Any]
Found: TypeAlias = Mapping[str, str]
"""The JSON text of a relation, by the text of the column that it starts from."""

Fetch: TypeAlias = Callable[[Connection, Sequence[str]], Found]
Piece: TypeAlias = Callable[[Row, Sequence[Found]], str]


class _Form(Enum):
    """What is read of a column."""

    VALUE = auto()
    LOWER = auto()
    KEY = auto()


class Level:
    """The rows of one table in a document, and how they become JSON.

    Args:
        fields: what is in the JSON object.
        table: where the rows come from.
        key: the column that relations of the rows start from; `None`: there is none.
        tables: the catalogue.
        dialect: the database's ways.

    Raises:
        SourceFatal: the fields do not fit the tables.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        table: Table,
        key: str | None,
        tables: Tables,
        dialect: Dialect,
    ) -> None:
        self._table = table
        self._key = key
        self._tables = tables
        self._dialect = dialect
        self._columns: dict[tuple[str, _Form], int] = {}
        self._fetches: list[tuple[int, Fetch]] = []
        self._object = self._compile(fields)

    def selected(self, rows: FromClause) -> list[Expression]:
        """The columns to select, in the order in which `render` wants them first in a row."""
        dialect = self._dialect
        found: list[Expression] = []
        for (name, form), place in self._columns.items():
            column, described = rows.columns[name], self._table.column(name)
            if form is _Form.KEY:
                expression = dialect.key(column, described)
            else:
                lower = form is _Form.LOWER
                expression = dialect.read(func.lower(column) if lower else column, described)
            found.append(expression.label(f"c{place}"))
        return found

    @property
    def width(self) -> int:
        """How many columns that is."""
        return len(self._columns)

    def render(self, connection: Connection, rows: Sequence[Row]) -> list[str]:
        """Each row's JSON object. Reads related rows of all of them at once."""
        if not rows:
            return []
        found: list[Found] = []
        for place, fetch in self._fetches:
            starts = (row[place] for row in rows if row[place] is not None)
            texts = list(dict.fromkeys(self._dialect.key_text(start) for start in starts))
            related: dict[str, str] = {}
            for at in range(0, len(texts), AT_ONCE):
                related.update(fetch(connection, texts[at : at + AT_ONCE]))
            found.append(related)
        return [self._object(row, found) for row in rows]

    def _compile(self, fields: Sequence[Field]) -> Piece:
        pieces = [(f"{values.json_text(one.name)}:", self._field(one)) for one in fields]

        def render(row: Row, found: Sequence[Found]) -> str:
            return "{" + ",".join([name + piece(row, found) for name, piece in pieces]) + "}"

        return render

    def _place(self, column: str, form: _Form = _Form.VALUE) -> int:
        self._table.column(column)
        return self._columns.setdefault((column, form), len(self._columns))

    def _field(self, one: Field) -> Piece:
        match one:
            case ConstantField():
                constant = values.json_text(one.value)
                return lambda _row, _found: constant
            case ObjectField():
                return self._compile(one.fields)
            case ScalarField():
                return self._scalar(one)
            case MapField():
                return self._map(one)
            case GeoField():
                return self._geo(one)
            case JoinField() | AggregateField():
                return self._relation(one)

    def _scalar(self, one: ScalarField) -> Piece:
        column, dialect = self._table.column(one.column), self._dialect
        transforms = one.transforms
        form = _Form.VALUE
        if Transform.LOWERCASE in transforms and dialect.lowers(column):
            form = _Form.LOWER
            transforms = tuple(each for each in transforms if each is not Transform.LOWERCASE)
        place = self._place(one.column, form)
        default = one.default
        if default is not None and one.type in values.TEXTUAL and not isinstance(default, str):
            default = values.json_text(default)
        otherwise = values.json_text(default)
        is_json = dialect.is_json(column)

        def render(row: Row, _found: Sequence[Found]) -> str:
            value = dialect.value(row[place], column, one.type)
            text = values.value_text(value, one.type, transforms, json=is_json)
            return otherwise if text is None else text

        return render

    def _map(self, one: MapField) -> Piece:
        column, dialect, place = (
            self._table.column(one.column),
            self._dialect,
            self._place(one.column),
        )

        def render(row: Row, _found: Sequence[Found]) -> str:
            return values.natural(dialect.value(row[place], column, FieldType.MAP)) or "null"

        return render

    def _geo(self, one: GeoField) -> Piece:
        dialect = self._dialect
        if one.column is not None:
            column, place = self._table.column(one.column), self._place(one.column)
            if not dialect.is_point_text(column):
                raise SourceFatal(
                    f"geo field {one.name!r}: column {one.column!r} of {self._table.name} is of a "
                    'type that is not supported; use lat and lon, json, or a text "lat,lon"'
                )
            return lambda row, _found: (
                values.point_of(dialect.value(row[place], column, FieldType.JSON)) or "null"
            )
        if one.lat is None or one.lon is None:
            raise SourceFatal(f"geo field {one.name!r} needs lat and lon, or column")
        lat, lon = self._table.column(one.lat), self._table.column(one.lon)
        places = self._place(one.lat), self._place(one.lon)
        return lambda row, _found: (
            values.point(
                dialect.value(row[places[0]], lat, None), dialect.value(row[places[1]], lon, None)
            )
            or "null"
        )

    def _relation(self, one: JoinField | AggregateField) -> Piece:
        relation = link(one, self._table, self._key, self._tables)
        start = self._place(relation.start, _Form.KEY)
        if isinstance(one, JoinField):
            level = Level(one.fields, relation.table, one.primary_key, self._tables, self._dialect)
            fetch, otherwise = _join(one, relation, level, self._dialect)
        else:
            fetch, otherwise = aggregate(one, relation, self._dialect)
        number = len(self._fetches)
        self._fetches.append((start, fetch))
        key_text = self._dialect.key_text

        def render(row: Row, found: Sequence[Found]) -> str:
            value = row[start]
            return otherwise if value is None else found[number].get(key_text(value), otherwise)

        return render


def _join(one: JoinField, relation: Link, level: Level, dialect: Dialect) -> tuple[Fetch, str]:
    most = one.limit if one.kind.many else 1

    def fetch(connection: Connection, texts: Sequence[str]) -> Found:
        rows, column, described = relation.rows(texts, dialect)
        key = dialect.key(column, described).label("flusso_key")
        order = relation.ordered(rows, one.order_by, dialect)
        statement = select(*level.selected(rows), key)
        if most is None:
            statement = statement.order_by(*order)
        else:
            statement = first(statement, column, order, most)
        found = connection.execute(statement).all()
        bodies = level.render(connection, found)
        keys = (dialect.key_text(row[level.width]) for row in found)
        groups = relation.grouped(zip(keys, bodies, strict=True), texts)
        if one.kind.many:
            return {text: f"[{','.join(group)}]" for text, group in groups.items()}
        return {text: group[0] for text, group in groups.items()}

    return fetch, "[]" if one.kind.many else "null"
