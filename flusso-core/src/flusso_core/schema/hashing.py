"""The hash of a schema: moves when, and only when, the documents or their mapping could."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, cast

from flusso_core.model import JsonValue
from flusso_core.schema.model import Field, IndexSchema

HASH_LENGTH = 12
"""Hexadecimal digits of a schema hash: 48 bits, and short enough for an index name."""

_NOT_HASHED = ("index", "schema_hash", "origin", "stored", "required", "postgres_types")
"""Names of the index and of the file; and what a field's column is expected to be, which `flusso
check` compares with the database and no document depends on."""


def schema_hash(schema: IndexSchema) -> str:
    """The hash of what a schema means.

    It is the beginning of the SHA-256 of the schema as canonical JSON: members sorted by name,
    and whatever has its default left out, so that a new kind of key moves no hash of an old
    schema. The order of `fields` does not count (a JSON object has none), nor do comments, the
    index's name, the file, or what a column is expected to be (`required`, the `postgres` types
    of a `custom` field). Other lists count as they are, and so does whatever is in the mapping
    that sinks are given, such as the `values` of a map, whether a sink makes use of it or not.
    """
    text = json.dumps(canonical(schema), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def canonical(value: Any) -> JsonValue:
    """A value of the schema as plain data, in one form only."""
    if is_dataclass(value):
        found: dict[str, JsonValue] = {"=": type(value).__name__}
        for item in fields(value):
            inner = getattr(value, item.name)
            if item.name == "fields":
                inner = sorted(inner, key=_name)
            if item.name not in _NOT_HASHED and not _is_default(item, inner):
                found[item.name] = canonical(inner)
        return found
    if isinstance(value, Mapping):
        table = cast(Mapping[str, Any], value)
        return {name: canonical(inner) for name, inner in table.items()}
    if isinstance(value, (list, tuple)):
        return [canonical(inner) for inner in cast(Sequence[Any], value)]
    return cast(JsonValue, value)


def _name(field: Field) -> str:
    return field.name


def _is_default(item: dataclasses.Field[Any], value: Any) -> bool:
    default = item.default if item.default_factory is MISSING else item.default_factory()
    return type(value) is type(default) and value == default
