"""JSON Schemas of file formats, from the models that read the files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, cast

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

JsonSchema: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REFERENCE = "#/$defs/{model}"


class _Generator(GenerateJsonSchema):
    """Without a title for each key, which would only repeat the key."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def model_schemas(
    models: Iterable[type[BaseModel]],
) -> tuple[dict[type[BaseModel], JsonSchema], dict[str, JsonSchema]]:
    """The JSON Schema of each model, and the definitions that these refer to."""
    wanted = list(dict.fromkeys(models))
    references, found = models_json_schema(
        [(model, "validation") for model in wanted],
        ref_template=REFERENCE,
        schema_generator=_Generator,
    )
    definitions = cast(dict[str, JsonSchema], _without_null_defaults(found.get("$defs", {})))
    schemas = {
        model: definitions[references[model, "validation"]["$ref"].rpartition("/")[2]]
        for model in wanted
    }
    return schemas, definitions


def _without_null_defaults(value: Any) -> Any:
    """`default: null` says no more than that a key may be left out, and TOML has no null."""
    if isinstance(value, dict):
        table = cast(dict[str, Any], value)
        return {
            key: _without_null_defaults(inner)
            for key, inner in table.items()
            if (key, inner) != ("default", None)
        }
    if isinstance(value, list):
        return [_without_null_defaults(inner) for inner in cast(Sequence[Any], value)]
    return value


def document(top: JsonSchema, definitions: Mapping[str, JsonSchema]) -> JsonSchema:
    """A whole JSON Schema: the definitions that its top needs come with it, and no others."""
    needed: dict[str, JsonSchema] = {}
    waiting = [top]
    while waiting:
        for name in _references(waiting.pop()):
            if name not in needed:
                needed[name] = definitions[name]
                waiting.append(definitions[name])
    return {"$schema": DIALECT, **top, "$defs": dict(sorted(needed.items()))}


def _references(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        table = cast(dict[str, Any], value)
        reference = table.get("$ref")
        if isinstance(reference, str):
            yield reference.rpartition("/")[2]
        for inner in table.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in cast(Sequence[Any], value):
            yield from _references(inner)
