"""The statements that read an index: documents by key, pages in key order, and keys."""

from __future__ import annotations

from collections.abc import Sequence

from flusso_core.errors import SourceFatal
from flusso_core.model import MAX_ID_BYTES
from flusso_core.schema.model import IndexSchema
from flusso_source_postgres.catalogue import Column, Table
from flusso_source_postgres.sql.document import document
from flusso_source_postgres.sql.filters import qualifies
from flusso_source_postgres.sql.keys import is_canonical, key_text, key_type, operator
from flusso_source_postgres.sql.rows import Rows, Tables, describe, unused
from flusso_source_postgres.sql.text import identifier, table_name


def root_key(schema: IndexSchema) -> tuple[str, ...]:
    """The root's key columns.

    Raises:
        SourceFatal: neither the schema nor the catalogue names any.
    """
    if not schema.primary_key:
        raise SourceFatal(
            f"index {schema.index!r}: table {schema.table} has no primary key; "
            f"add one, or name its columns in primary_key ({schema.origin or 'the schema'})"
        )
    return schema.primary_key


def build_statement(schema: IndexSchema, tables: Tables) -> str:
    """Documents by key: `(ordinality, document)` for each key whose row qualifies.

    The parameters are one array of text a key column; the ordinality counts them from 1.
    """
    table = tables[schema.table]
    rows = Rows(table)
    key = root_key(schema)
    source = _qualifying(schema, table)
    given = [f"k{place}" for place in range(1, len(key) + 1)]
    matches: list[str] = []
    for column, text in zip(key, given, strict=True):
        described = describe(table, column)
        equals = operator("=", described)
        matches.append(f"{rows.column(column)} {equals} k.{text}::{key_type(described)}")
        if not is_canonical(described):
            # 1.0 = 1.00, and the row is the document of one of them only.
            matches.append(f"{key_text(rows.column(column), described)} = k.{text}")
    arrays = ", ".join(f"${place}::text[]" for place in range(1, len(key) + 1))
    return (
        f"SELECT k.n, {_document(schema, rows, tables)} "
        f"FROM unnest({arrays}) WITH ORDINALITY AS k ({', '.join(given)}, n) "
        f"JOIN {source} AS {rows.alias} ON {' AND '.join(matches)}"
    )


def page_statement(
    schema: IndexSchema, tables: Tables, *, lower: bool, upper: bool, limit: int
) -> str:
    """The next rows in key order: `(key texts …, document)`, no document where a row has none.

    The parameters are the texts of the key to go on after (if `lower`), then those of the last
    key of the range (if `upper`). The limit is a part of the text, so that the planner knows it.
    """
    table = tables[schema.table]
    rows = Rows(table)
    key = root_key(schema)
    passed = qualifies(schema, table)
    flag = unused("qualifies", table)
    extra = f", ({' AND '.join(passed)}) AS {identifier(flag)}" if passed else ""
    where = _between(key, table, lower=lower, upper=upper)
    inner = (
        f"SELECT *{extra} FROM {table_name(table.name)}{where} "
        f"ORDER BY {', '.join(identifier(one) for one in key)} LIMIT {limit}"
    )
    body = _document(schema, rows, tables)
    if passed:
        body = f"CASE WHEN {rows.column(flag)} THEN {body} END"
    return (
        f"SELECT {', '.join(_key_texts(key, rows))}, {body} FROM ({inner}) AS {rows.alias} "
        f"ORDER BY {', '.join(rows.column(one) for one in key)}"
    )


def keys_statement(schema: IndexSchema, tables: Tables, *, lower: bool, limit: int) -> str:
    """The next keys in key order, of all rows; parameters as for a page."""
    table = tables[schema.table]
    rows = Rows(table)
    key = root_key(schema)
    inner = (
        f"SELECT {', '.join(identifier(one) for one in key)} FROM {table_name(table.name)}"
        f"{_between(key, table, lower=lower, upper=False)} "
        f"ORDER BY {', '.join(identifier(one) for one in key)} LIMIT {limit}"
    )
    return (
        f"SELECT {', '.join(_key_texts(key, rows))} FROM ({inner}) AS {rows.alias} "
        f"ORDER BY {', '.join(rows.column(one) for one in key)}"
    )


def missing_statement(schema: IndexSchema, tables: Tables) -> str:
    """Of some keys, `(ordinality, spelled)` for each that no qualifying row has, as texts.

    The parameters are those of `build_statement`. `spelled` is `t` where the text is how the value
    that it stands for is spelled: `07` is an integer, but no row has that key.
    """
    table = tables[schema.table]
    rows = Rows(table)
    key = root_key(schema)
    given = [f"k{place}" for place in range(1, len(key) + 1)]
    matches: list[str] = []
    spelled: list[str] = []
    for column, text in zip(key, given, strict=True):
        described = describe(table, column)
        value = f"k.{text}::{key_type(described)}"
        matches.append(f"{rows.column(column)} {operator('=', described)} {value}")
        matches.append(f"{key_text(rows.column(column), described)} = k.{text}")
        spelled.append(f"{key_text(f'({value})', described)} = k.{text}")
    arrays = ", ".join(f"${place}::text[]" for place in range(1, len(key) + 1))
    return (
        f"SELECT k.n::text, concat({' AND '.join(spelled)}) "
        f"FROM unnest({arrays}) WITH ORDINALITY AS k ({', '.join(given)}, n) "
        f"WHERE NOT EXISTS (SELECT FROM {_qualifying(schema, table)} AS {rows.alias} "
        f"WHERE {' AND '.join(matches)})"
    )


def digests_statement(schema: IndexSchema, tables: Tables) -> str:
    """Those of some digests that a qualifying row's id has; `document_id_text`, in SQL.

    The parameter is an array of hexadecimal text. All rows are read, but only long keys hashed.
    """
    table = tables[schema.table]
    rows = Rows(table)
    texts = _key_texts(root_key(schema), rows)
    if len(texts) == 1:
        spelled = f"CASE WHEN {texts[0]} LIKE '~%' THEN '~' ELSE '' END || {texts[0]}"
    else:
        quoted = " || ',' || ".join(f"to_json({one})::text" for one in texts)
        spelled = f"'[' || {quoted} || ']'"
    return (
        f"SELECT d.digest FROM (SELECT encode(sha256(i.id), 'hex') AS digest "
        f"FROM (SELECT convert_to({spelled}, 'UTF8') AS id "
        f"FROM {_qualifying(schema, table)} AS {rows.alias}) AS i "
        f"WHERE octet_length(i.id) > {MAX_ID_BYTES}) AS d WHERE d.digest = ANY($1::text[])"
    )


def sample_statement(schema: IndexSchema, tables: Tables, percent: float) -> str:
    """Keys of a sample of the table's pages, in key order, for dividing its key space."""
    table = tables[schema.table]
    rows = Rows(table)
    key = root_key(schema)
    return (
        f"SELECT {', '.join(_key_texts(key, rows))} "
        f"FROM {table_name(table.name)} AS {rows.alias} TABLESAMPLE SYSTEM ({percent:.6f}) "
        f"ORDER BY {', '.join(rows.column(one) for one in key)}"
    )


def _qualifying(schema: IndexSchema, table: Table) -> str:
    """The rows that become documents, for a FROM."""
    passed = qualifies(schema, table)
    name = table_name(table.name)
    return f"(SELECT * FROM {name} WHERE {' AND '.join(passed)})" if passed else name


def _document(schema: IndexSchema, rows: Rows, tables: Tables) -> str:
    key = root_key(schema)
    return document(schema.fields, rows, key[0] if len(key) == 1 else None, tables)


def _key_texts(key: Sequence[str], rows: Rows) -> list[str]:
    return [key_text(rows.column(one), rows.describe(one)) for one in key]


def _between(key: Sequence[str], table: Table, *, lower: bool, upper: bool) -> str:
    columns = [describe(table, one) for one in key]
    bounds: list[str] = []
    if lower:
        bounds.append(_compared(columns, ">", ">", 1))
    if upper:
        bounds.append(_compared(columns, "<", "<=", 1 + len(key) * lower))
    return f" WHERE {' AND '.join(bounds)}" if bounds else ""


def _compared(columns: Sequence[Column], strictly: str, last: str, first: int) -> str:
    """The key, compared with the parameters from `first` on, column by column."""
    names = [identifier(column.name) for column in columns]
    given = [f"${place}::{key_type(column)}" for place, column in enumerate(columns, first)]
    if len({column.operators for column in columns}) == 1:
        # One comparison of rows is one condition on the key's index.
        row, other = ", ".join(names), ", ".join(given)
        if len(names) > 1:
            row, other = f"({row})", f"({other})"
        return f"{row} {operator(last, columns[0])} {other}"
    # An operator for each column: row comparison takes one name for all of them.
    *front, end = zip(columns, names, given, strict=True)
    column, name, value = end
    condition = f"{name} {operator(last, column)} {value}"
    for column, name, value in reversed(front):
        condition = (
            f"{name} {operator(f'{strictly[0]}=', column)} {value} AND "
            f"({name} {operator(strictly, column)} {value} OR ({condition}))"
        )
    return f"({condition})"
