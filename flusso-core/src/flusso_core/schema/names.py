"""Names in schemas and configurations: identifiers of the database, keys of documents."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple, TypeAlias, cast

from pydantic import AfterValidator, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

MAX_NAME = 63
"""Longest identifier in bytes: Postgres cuts longer ones (manual, "Identifiers and Key Words")."""

_PART = r'"(?:[^"]|"")*"|[^".]+'
_TABLE = re.compile(rf"\s*(?:({_PART})\s*\.)?\s*({_PART})\s*", re.DOTALL)
_UNQUOTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class TableReference(NamedTuple):
    """A table as a file names it; no `schema`: that of the root table."""

    schema: str | None
    name: str


def identifier(text: str) -> str:
    """The exact name: unquoted ones are trimmed and folded to lower case as Postgres does.

    A name in double quotes keeps its case and may hold any character; a quote inside is doubled.

    Raises:
        PydanticCustomError: it is not an identifier.
    """
    name = text.strip()
    if len(name) >= 2 and name[0] == name[-1] == '"':
        exact = name[1:-1].replace('""', '"')
        if '"' in name[1:-1].replace('""', "") or not exact:
            raise name_error("a quoted name is not empty, and doubles the quotes inside it")
    elif _UNQUOTED.fullmatch(name):
        exact = name.lower()
    elif not name:
        raise name_error("a name cannot be empty")
    else:
        raise name_error(
            "a name has letters, digits and _, and begins with no digit; "
            "write any other in double quotes: '\"the name\"'"
        )
    if len(exact.encode()) > MAX_NAME:
        raise name_error(f"a name has {MAX_NAME} bytes at most")
    return exact


def table_reference(value: object) -> TableReference:
    """`table`, or `schema.table`, each part an `identifier`.

    Raises:
        PydanticCustomError: it is neither.
    """
    if not isinstance(value, str):
        raise name_error("expected a string")
    found = _TABLE.fullmatch(value)
    if found is None:
        raise name_error("expected a table, or schema.table")
    schema, name = found.groups()
    return TableReference(identifier(schema) if schema else None, identifier(name))


def root_table(text: str) -> str:
    """An `identifier` of a table whose schema has a key of its own.

    Raises:
        PydanticCustomError: it is not one.
    """
    if re.fullmatch(r"\s*\w+\.\w+\s*", text):
        schema, _, table = text.strip().partition(".")
        raise name_error(f"the schema has a key of its own: table: {table}, schema: {schema}")
    return identifier(text)


def document_key(text: str) -> str:
    """A key of a document: trimmed, case kept.

    Raises:
        PydanticCustomError: it has other characters than letters, digits and `_`, begins with a
            digit, or is too long.
    """
    key = text.strip()
    if not _UNQUOTED.fullmatch(key):
        raise name_error("a document key has letters, digits and _, and begins with no digit")
    if len(key) > MAX_NAME:
        raise name_error(f"a document key has {MAX_NAME} characters at most")
    return key


def logical_name(text: str) -> str:
    """The name of an index or a sink: as an unquoted identifier, folded to lower case.

    Raises:
        PydanticCustomError: it has other characters than letters, digits and `_`, begins with a
            digit, or is too long.
    """
    name = text.strip().lower()
    if not _UNQUOTED.fullmatch(name):
        raise name_error("a name has letters, digits and _, and begins with no digit")
    if len(name) > MAX_NAME:
        raise name_error(f"a name has {MAX_NAME} characters at most")
    return name


def key_columns(value: object) -> tuple[str, ...]:
    """A column, or a list of different columns.

    Raises:
        PydanticCustomError: it is neither.
    """
    names = cast(list[object], value) if isinstance(value, list) else [value]
    columns = tuple(identifier(name) for name in names if isinstance(name, str))
    if not columns or len(columns) < len(names):
        raise name_error("expected a column, or a list of columns")
    if len(set(columns)) < len(columns):
        raise name_error("a column comes twice")
    return columns


def name_error(message: str) -> PydanticCustomError:
    """An error of a validator, with a message of our own."""
    # pydantic takes a template, which a message with braces would break.
    return PydanticCustomError("name", "{message}", {"message": message})


_NAME = r"\s*(?:[A-Za-z_][A-Za-z0-9_]*|\"(?:[^\"]|\"\")+\")\s*"
_IDENTIFIER = {"type": "string", "pattern": f"^{_NAME}$"}

Identifier: TypeAlias = Annotated[str, AfterValidator(identifier), WithJsonSchema(_IDENTIFIER)]
RootTable: TypeAlias = Annotated[str, AfterValidator(root_table), WithJsonSchema(_IDENTIFIER)]
LogicalName: TypeAlias = Annotated[
    str,
    AfterValidator(logical_name),
    WithJsonSchema({"type": "string", "pattern": r"^\s*[A-Za-z_][A-Za-z0-9_]{0,62}\s*$"}),
]
Table: TypeAlias = Annotated[
    TableReference,
    PlainValidator(table_reference),
    WithJsonSchema({"type": "string", "pattern": rf"^(?:{_NAME}\.)?{_NAME}$"}),
]
KeyColumns: TypeAlias = Annotated[
    tuple[str, ...],
    PlainValidator(key_columns),
    WithJsonSchema(
        {
            "anyOf": [
                _IDENTIFIER,
                {"type": "array", "items": _IDENTIFIER, "minItems": 1, "uniqueItems": True},
            ]
        }
    ),
]
DOCUMENT_KEY = {"type": "string", "pattern": r"^\s*[A-Za-z_][A-Za-z0-9_]{0,62}\s*$"}
"""A document key, as JSON Schema."""
