"""Names in schemas and configurations: identifiers of the database, keys of documents."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple, TypeAlias, cast

from pydantic import AfterValidator, PlainValidator
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
        exact = name[1:-1].replace('""', "\0").replace('"', "\1").replace("\0", '"')
        if "\1" in exact or not exact:
            raise _error("a quoted name is not empty, and doubles the quotes inside it")
    elif _UNQUOTED.fullmatch(name):
        exact = name.lower()
    elif not name:
        raise _error("a name cannot be empty")
    else:
        raise _error(
            "a name has letters, digits and _, and begins with no digit; "
            "write any other in double quotes: '\"the name\"'"
        )
    if len(exact.encode()) > MAX_NAME:
        raise _error(f"a name has {MAX_NAME} bytes at most")
    return exact


def table_reference(value: object) -> TableReference:
    """`table`, or `schema.table`, each part an `identifier`.

    Raises:
        PydanticCustomError: it is neither.
    """
    if not isinstance(value, str):
        raise _error("expected a string")
    found = _TABLE.fullmatch(value)
    if found is None:
        raise _error("expected a table, or schema.table")
    schema, name = found.groups()
    return TableReference(identifier(schema) if schema else None, identifier(name))


def document_key(text: str) -> str:
    """A key of a document: trimmed, case kept.

    Raises:
        PydanticCustomError: it has other characters than letters, digits and `_`, begins with a
            digit, or is too long.
    """
    key = text.strip()
    if not _UNQUOTED.fullmatch(key):
        raise _error("a document key has letters, digits and _, and begins with no digit")
    if len(key) > MAX_NAME:
        raise _error(f"a document key has {MAX_NAME} characters at most")
    return key


def logical_name(text: str) -> str:
    """The name of an index or a sink: as an unquoted identifier, folded to lower case.

    Raises:
        PydanticCustomError: it has other characters than letters, digits and `_`, begins with a
            digit, or is too long.
    """
    name = text.strip().lower()
    if not _UNQUOTED.fullmatch(name):
        raise _error("a name has letters, digits and _, and begins with no digit")
    if len(name) > MAX_NAME:
        raise _error(f"a name has {MAX_NAME} characters at most")
    return name


def key_columns(value: object) -> tuple[str, ...]:
    """A column, or a list of different columns.

    Raises:
        PydanticCustomError: it is neither.
    """
    names = cast(list[object], value) if isinstance(value, list) else [value]
    columns = tuple(identifier(name) for name in names if isinstance(name, str))
    if not columns or len(columns) < len(names):
        raise _error("expected a column, or a list of columns")
    if len(set(columns)) < len(columns):
        raise _error("a column comes twice")
    return columns


def _error(message: str) -> PydanticCustomError:
    # pydantic asks for a literal, as it is a template; these have no braces.
    return PydanticCustomError("name", message)  # pyright: ignore[reportArgumentType]


Identifier: TypeAlias = Annotated[str, AfterValidator(identifier)]
LogicalName: TypeAlias = Annotated[str, AfterValidator(logical_name)]
Table: TypeAlias = Annotated[TableReference, PlainValidator(table_reference)]
KeyColumns: TypeAlias = Annotated[tuple[str, ...], PlainValidator(key_columns)]
