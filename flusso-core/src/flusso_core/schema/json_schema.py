"""The JSON Schema of `*.schema.yml`, for editors and other tools.

What it cannot say is left to the loader: names in bytes, keys that come twice, dates, base64, a
soft delete's field, and relations that need a root key of one column.
"""

from __future__ import annotations

from flusso_core.files.json_schema import JsonSchema, document, model_schemas
from flusso_core.schema.fields import MODELS
from flusso_core.schema.filters import FilterModel
from flusso_core.schema.format import SchemaModel, SoftDeleteModel
from flusso_core.schema.names import DOCUMENT_KEY


def index_json_schema() -> JsonSchema:
    """The JSON Schema (draft 2020-12) of a schema file, from the models that read it."""
    schemas, definitions = model_schemas(
        [SchemaModel, FilterModel, SoftDeleteModel, *MODELS.values()]
    )
    fields = {f"field_{kind}": _field(kind, schemas[model]) for kind, model in MODELS.items()}
    field = {
        "title": "Field",
        "description": "One type key, whose value is the key in the document, and its siblings.",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in fields],
    }
    return document(schemas[SchemaModel], {**definitions, **fields, "Field": field})


def _field(kind: str, model: JsonSchema) -> JsonSchema:
    """A kind of field: what its model says, and the type key."""
    key = {**DOCUMENT_KEY, "description": "The key in the document."}
    return {
        **model,
        "title": kind,
        "properties": {kind: key, **model["properties"]},
        "required": [kind, *model.get("required", ())],
    }
