"""Where a schema's file names a column, for messages that come long after the file was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path as FilePath

from flusso_core.errors import ConfigError
from flusso_core.files import Path, parse_yaml, read_text
from flusso_core.model import TableName
from flusso_core.schema.model import AggregateField, Field, IndexSchema, JoinField, ObjectField
from flusso_core.schema.parsing import lower_schema
from flusso_core.schema.tables import columns_of, referenced_columns


def locate(schema: IndexSchema, table: TableName, column: str | None = None) -> str:
    """Where the schema names a table, or a column of it: `users.schema.yml:12`.

    Without the line where the file is not there any more or says something else by now, and with
    the index's name where the schema comes from no file.

    Args:
        schema: as it is used.
        table: that it names.
        column: of that table; `None`: the table itself.
    """
    if schema.origin is None:
        return f"index {schema.index}"
    line = _line(schema, schema.origin, table, column)
    return schema.origin if line is None else f"{schema.origin}:{line}"


def _line(schema: IndexSchema, origin: str, table: TableName, column: str | None) -> int | None:
    try:
        changed = FilePath(origin).stat().st_mtime_ns
    except OSError:
        return None
    return _lines(origin, changed, schema.index, schema.schema_hash).get((table, column))


@lru_cache(maxsize=100)
def _lines(
    origin: str, changed: int, index: str, schema_hash: str
) -> Mapping[tuple[TableName, str | None], int | None]:
    """The first line of what the file names; nothing where it holds another schema.

    Kept, because parsing takes long and a running capture asks again and again; `changed`, the
    time of the file's last change, makes it read anew.
    """
    del changed
    try:
        file = parse_yaml(read_text(FilePath(origin)), origin)
        now = lower_schema(file, index)
    except ConfigError:
        return {}
    lines: dict[tuple[TableName, str | None], int | None] = {}
    if now.schema_hash == schema_hash:
        for path, named in _places(now):
            mark = file.mark(path)
            for one in named:
                lines.setdefault(one, None if mark is None else mark.line)
    return lines


def _places(schema: IndexSchema) -> Iterator[tuple[Path, set[tuple[TableName, str | None]]]]:
    """Each part of the file, and what it names; the innermost parts first."""
    root = schema.table
    yield ("table",), {(root, None)}
    yield ("primary_key",), {(root, column) for column in schema.primary_key or ()}
    yield from _below(root, schema.fields, ("fields",))
    bare = replace(schema, fields=())
    for part, alone in (
        ("filters", replace(bare, primary_key=None, soft_delete=None)),
        ("soft_delete", replace(bare, primary_key=None, filters=())),
    ):
        yield (part,), {(root, column) for column in referenced_columns((alone,))[root]}


def _below(
    table: TableName, fields: tuple[Field, ...], path: Path
) -> Iterator[tuple[Path, set[tuple[TableName, str | None]]]]:
    for place, field in enumerate(fields):
        here = (*path, place)
        own: Field = field
        named: set[tuple[TableName, str | None]] = set()
        if isinstance(field, ObjectField):
            yield from _below(table, field.fields, (*here, "fields"))
            own = replace(field, fields=())
        elif isinstance(field, JoinField):
            yield from _below(field.table, field.fields, (*here, "fields"))
            own = replace(field, fields=())
        if isinstance(field, (JoinField, AggregateField)):
            named.add((field.table, None))
            if field.through is not None:
                named.add((field.through.table, None))
        yield here, named.union(columns_of(table, own))
