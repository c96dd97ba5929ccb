"""From a `*.schema.yml` to an `IndexSchema`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path as FilePath

from flusso_core.errors import ConfigError
from flusso_core.files import ParsedFile, Problems, check, parse_yaml, read_text, unknown
from flusso_core.model import JsonValue, TableName
from flusso_core.schema.fields import FieldReader
from flusso_core.schema.filters import read_filters
from flusso_core.schema.format import SchemaModel, SoftDeleteModel
from flusso_core.schema.hashing import schema_hash
from flusso_core.schema.model import Field, IndexSchema, ScalarField, SoftDelete


def load_schema(path: FilePath, index: str) -> IndexSchema:
    """Read the schema of one index from its file.

    Args:
        path: the `*.schema.yml`.
        index: the logical name of the index.

    Raises:
        ConfigError: the file cannot be read, or is wrong; every problem has a line.
    """
    return parse_schema(read_text(path), index, str(path))


def parse_schema(text: str, index: str, origin: str) -> IndexSchema:
    """Read the schema of one index.

    Args:
        text: YAML.
        index: the logical name of the index.
        origin: the file's name, for messages.

    Raises:
        ConfigError: with a line for every problem: file, line, column, key path, what was
            expected.
    """
    return lower_schema(parse_yaml(text, origin), index)


def lower_schema(file: ParsedFile, index: str) -> IndexSchema:
    """The schema that a parsed file describes.

    Raises:
        ConfigError: as `parse_schema`.
    """
    problems = Problems(file)
    data = dict(file.data)
    if "doc_id" in data:
        del data["doc_id"]
        problems.add(("doc_id",), "not supported: the primary_key is the document's id")
    filters = read_filters(data.get("filters"), problems, ("filters",))
    model = check(SchemaModel, data, problems, ())
    schema = "public" if model is None else model.schema_
    reader = FieldReader(problems, schema)
    fields = reader.read(data.get("fields"), ("fields",))
    soft_delete = _soft_delete(data.get("soft_delete"), fields, problems)
    if model is None:
        problems.raise_any()
        raise AssertionError("a schema without a model has a problem")  # pragma: no cover
    keys = model.primary_key
    if keys is not None and len(keys) > 1:
        for kind, path in reader.keyed:
            problems.add(path, f"{kind} needs a root table whose primary_key is a single column")
    problems.raise_any()
    parsed = IndexSchema(
        index=index,
        table=TableName(schema, model.table),
        fields=fields,
        schema_hash="",
        primary_key=keys,
        soft_delete=soft_delete,
        filters=filters,
        origin=file.origin,
        stored=json.dumps({"index": index, "schema": file.data}, ensure_ascii=False),
    )
    return replace(parsed, schema_hash=schema_hash(parsed))


def restore_schema(stored: str) -> IndexSchema:
    """The schema that an earlier run stored beside the documents that it built.

    Args:
        stored: `IndexSchema.stored`.

    Raises:
        ConfigError: this version of flusso does not read it.
    """
    origin = "a stored schema"
    try:
        content = json.loads(stored)
        index, data = content["index"], content["schema"]
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{origin} was written by another version of flusso") from error
    return lower_schema(ParsedFile(f"{origin} of {index}", data), index)


def _soft_delete(
    value: JsonValue, fields: tuple[Field, ...], problems: Problems
) -> SoftDelete | None:
    if value is None:
        return None
    path = ("soft_delete",)
    conditions = value.get("when") if isinstance(value, Mapping) else None
    when = read_filters(conditions, problems, (*path, "when"))
    model = check(SoftDeleteModel, value, problems, path)
    if model is None:
        return None
    if (model.column is None) == (model.field is None):
        problems.add(path, "expected either column or field")
        return None
    if model.column is not None:
        return SoftDelete(model.column, when)
    columns = {field.name: field.column for field in fields if isinstance(field, ScalarField)}
    name = (model.field or "").strip()
    if name not in columns:
        message = unknown("field with a column of its own", name, list(columns))
        problems.add((*path, "field"), message)
        return None
    return SoftDelete(columns[name], when)
