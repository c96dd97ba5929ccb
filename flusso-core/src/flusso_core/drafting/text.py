"""A schema file as text, with comments: what a YAML library would not lay out as a person does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flusso_core.model import JsonValue, TableName

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_UNQUOTED = re.compile(r"[a-z_][a-z0-9_]*")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# YAML 1.2, core schema, and what readers of YAML 1.1 take for something else.
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})

DEFAULT_SCHEMA = "public"
MAX_KEY = 63


@dataclass(frozen=True, slots=True)
class FieldDraft:
    """A field of a schema file.

    Attributes:
        kind: its type key, such as `text` or `has_many`.
        name: the document key.
        settings: its siblings, in order.
        fields: of a relation or an object.
        comments: lines above it.
        disabled: it is written as a comment, for the reader to decide.
    """

    kind: str
    name: str
    settings: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    fields: tuple[FieldDraft, ...] = ()
    comments: tuple[str, ...] = ()
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class SchemaDraft:
    """A schema file.

    Attributes:
        table: the root table.
        fields: of its documents.
        primary_key: written where it is not empty.
        comments: lines at the top.
        notes: lines at the end.
    """

    table: TableName
    fields: tuple[FieldDraft, ...]
    primary_key: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def schema_text(draft: SchemaDraft) -> str:
    """The file of a draft, ending with a line feed."""
    lines = [*_commented(draft.comments, ""), "", "version: 1"]
    lines.append(f"table: {_value(column_text(draft.table.name))}")
    if draft.table.schema != DEFAULT_SCHEMA:
        lines.append(f"schema: {_value(column_text(draft.table.schema))}")
    if draft.primary_key:
        key = [column_text(column) for column in draft.primary_key]
        lines.append(f"primary_key: {_value(key[0] if len(key) == 1 else key)}")
    lines += ["", "fields:"]
    for one in draft.fields:
        lines += _field_lines(one, "  ")
    if draft.notes:
        lines += ["", *_commented(draft.notes, "")]
    return "\n".join(lines).lstrip("\n") + "\n"


def column_text(name: str) -> str:
    """A name of the database as a schema file spells it: in quotes where that must be."""
    if _UNQUOTED.fullmatch(name):
        return name
    return '"' + name.replace('"', '""') + '"'


def table_text(table: TableName, root: TableName) -> str:
    """A related table's name, with its schema where that is not the root table's."""
    name = column_text(table.name)
    return name if table.schema == root.schema else f"{column_text(table.schema)}.{name}"


class Keys:
    """Gives every field of one level a document key of its own."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wanted: str) -> str:
        """The wanted key, or the nearest one that is valid and free."""
        valid = re.sub(r"[^A-Za-z0-9_]", "_", wanted) or "_"
        valid = (valid if _KEY.match(valid) else f"_{valid}")[:MAX_KEY]
        key, number = valid, 2
        while key in self._taken:
            suffix = f"_{number}"
            key = valid[: MAX_KEY - len(suffix)] + suffix
            number += 1
        self._taken.add(key)
        return key


def _field_lines(draft: FieldDraft, indent: str) -> Iterator[str]:
    yield from _commented(draft.comments, indent)
    off = "# " if draft.disabled else ""
    yield f"{indent}{off}- {draft.kind}: {_value(draft.name)}"
    for key, value in draft.settings.items():
        yield f"{indent}{off}  {key}: {_value(value)}"
    if draft.fields:
        yield f"{indent}{off}  fields:"
        for one in draft.fields:
            for line in _field_lines(one, ""):
                yield f"{indent}{off}    {line}" if line else ""


def _commented(lines: Sequence[str], indent: str) -> Iterator[str]:
    for line in lines:
        yield f"{indent}# {line}" if line else ""


def _value(value: JsonValue) -> str:
    """A value on one line; JSON is YAML, but for words that need no quotes."""
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        return value if plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_value(key)}: {_value(each)}" for key, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, Sequence):
        return f"[{', '.join(_value(each) for each in value)}]"
    return json.dumps(value)
