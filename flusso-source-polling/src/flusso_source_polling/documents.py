"""Documents of rows: each level of a schema is one statement for all rows of a chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any, TypeAlias

from sqlalchemy import Connection, FromClause, Text, func, literal, select

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
from flusso_source_polling.dialects import Column, Dialect, Expression
from flusso_source_polling.dialects.base import TEXTUAL, Spelling
from flusso_source_polling.relations import Fetch, Found, Link, first, link

AT_ONCE = 1000
"""Rows above whose related rows one statement reads."""

Row: TypeAlias = Sequence[Any]
Piece: TypeAlias = Callable[[Row, Sequence[Found]], str]

SPELLED_AT_ONCE = 16
"""Columns of which the database makes one text: an expression of all of them would be deep."""


class _Form(Enum):
    """What is read of a column."""

    VALUE = auto()
    LOWER = auto()
    KEY = auto()


@dataclass(frozen=True, slots=True)
class _Spelled:
    """A column's JSON text, made by the database.

    Attributes:
        column: its name.
        form: what is read of it.
        spelling: how the database does it.
        otherwise: the text where the column is NULL.
    """

    column: str
    form: _Form
    spelling: Spelling
    otherwise: str

    def text(self, rows: FromClause) -> Expression:
        """The text; never NULL."""
        column: Expression = rows.columns[self.column]
        lower = self.form is _Form.LOWER
        spelled = self.spelling(func.lower(column) if lower else column)
        return func.coalesce(spelled, literal(self.otherwise, Text), type_=Text)


Part: TypeAlias = str | _Spelled | Piece
"""What stands in a JSON object one behind the other: a text that is always the same, or one of the
database, or one that Python makes.
"""


class Level:
    """The rows of one table in a document, and how they become JSON.

    Columns that stand side by side come from the database as one text, where it spells them to the
    last character as Python would. Everything else is spelled here.

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
        self._selected: list[Callable[[FromClause], Expression]] = []
        self._places: dict[tuple[str, _Form], int] = {}
        self._fetches: list[tuple[int, Fetch]] = []
        self._pieces = self._joined(self._object(fields))

    def selected(self, rows: FromClause) -> list[Expression]:
        """The columns to select, in the order in which `render` wants them first in a row."""
        return [make(rows).label(f"c{place}") for place, make in enumerate(self._selected)]

    @property
    def width(self) -> int:
        """How many columns that is."""
        return len(self._selected)

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
        pieces = self._pieces
        return ["".join([piece(row, found) for piece in pieces]) for row in rows]

    def _object(self, fields: Sequence[Field]) -> Iterator[Part]:
        yield "{"
        for place, one in enumerate(fields):
            yield f"{',' if place else ''}{values.json_text(one.name)}:"
            yield from self._field(one)
        yield "}"

    def _joined(self, parts: Iterable[Part]) -> list[Piece]:
        """The parts as pieces, of which the database makes as few as it can."""
        pieces: list[Piece] = []
        run: list[str | _Spelled] = []
        for part in parts:
            if not isinstance(part, str | _Spelled):
                pieces += self._run(run)
                pieces.append(part)
                run = []
            elif isinstance(part, str) and run and isinstance(last := run[-1], str):
                run[-1] = last + part
            else:
                run.append(part)
        return [*pieces, *self._run(run)]

    def _run(self, run: Sequence[str | _Spelled]) -> Iterator[Piece]:
        # A text comes before each column, so that is twice the columns.
        for at in range(0, len(run), 2 * SPELLED_AT_ONCE):
            some = run[at : at + 2 * SPELLED_AT_ONCE]
            if any(isinstance(part, _Spelled) for part in some):
                yield self._from(self._add(partial(self._text, some)))
            else:
                yield _always("".join(part for part in some if isinstance(part, str)))

    def _from(self, place: int) -> Piece:
        def render(row: Row, _found: Sequence[Found]) -> str:
            text = row[place]
            if text is None:
                raise SourceFatal(
                    f"a row of {self._table.name} is longer than what the database puts into one "
                    "value; raise its max_allowed_packet"
                )
            return str(text)

        return render

    def _text(self, run: Sequence[str | _Spelled], rows: FromClause) -> Expression:
        return self._dialect.joined(
            [literal(part, Text) if isinstance(part, str) else part.text(rows) for part in run]
        )

    def _add(self, make: Callable[[FromClause], Expression]) -> int:
        self._selected.append(make)
        return len(self._selected) - 1

    def _place(self, column: str, form: _Form = _Form.VALUE) -> int:
        described = self._table.column(column)
        place = self._places.get((column, form))
        if place is None:
            place = self._places[column, form] = self._add(partial(self._read, described, form))
        return place

    def _read(self, column: Column, form: _Form, rows: FromClause) -> Expression:
        expression = rows.columns[column.name]
        match form:
            case _Form.KEY:
                return self._dialect.key(expression, column)
            case _Form.LOWER:
                return self._dialect.read(func.lower(expression), column)
            case _Form.VALUE:
                return self._dialect.read(expression, column)

    def _field(self, one: Field) -> Iterator[Part]:
        match one:
            case ConstantField():
                yield values.json_text(one.value)
            case ObjectField():
                yield from self._object(one.fields)
            case ScalarField():
                yield self._scalar(one)
            case MapField():
                yield self._map(one)
            case GeoField():
                yield self._geo(one)
            case JoinField() | AggregateField():
                yield self._relation(one)

    def _scalar(self, one: ScalarField) -> Part:
        column, dialect = self._table.column(one.column), self._dialect
        transforms = one.transforms
        form = _Form.VALUE
        if Transform.LOWERCASE in transforms and dialect.lowers(column):
            form = _Form.LOWER
            transforms = tuple(each for each in transforms if each is not Transform.LOWERCASE)
        default = one.default
        if default is not None and one.type in TEXTUAL and not isinstance(default, str):
            default = values.json_text(default)
        otherwise = values.json_text(default)
        spelling = None if transforms else dialect.spelling(column, one.type)
        if spelling is not None:
            return _Spelled(column.name, form, spelling, otherwise)
        place = self._place(one.column, form)
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


def _always(text: str) -> Piece:
    return lambda _row, _found: text


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
        return relation.related(zip(keys, bodies, strict=True), texts, many=one.kind.many)

    return fetch, "[]" if one.kind.many else "null"
