"""The JSON Schema of `flusso.toml`, with the options of whatever plugins there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from flusso_core.config.format import (
    BatchModel,
    ConfigModel,
    EngineModel,
    IndexModel,
    QueueModel,
    RetryModel,
    ServerModel,
    SinkModel,
    SourceModel,
)
from flusso_core.files.json_schema import JsonSchema, document, model_schemas

Models = Mapping[str, type[BaseModel]]
"""Options models by the `type` of their plugins."""

_MERGED = ("type", "title", "description", "properties", "required", "additionalProperties")


@dataclass(frozen=True, slots=True)
class PluginModels:
    """The options of the plugins that a JSON Schema knows; it allows any option of others.

    Attributes:
        captures: of the captures.
        builders: of the builders.
        default_builders: of each capture, the builder that it has without another's name.
        sinks: of the sinks.
        queues: of the queues.
    """

    captures: Models
    builders: Models
    default_builders: Mapping[str, str]
    sinks: Models
    queues: Models


def config_json_schema(plugins: PluginModels) -> JsonSchema:
    """The JSON Schema (draft 2020-12) of `flusso.toml`, from the models that read it.

    What it cannot say is left to the loader: names that come twice, files that are missing, and
    what a plugin checks by code.
    """
    own = (ConfigModel, BatchModel, EngineModel, IndexModel, RetryModel, ServerModel)
    backends = (SourceModel, SinkModel, QueueModel)
    options = [plugins.captures, plugins.builders, plugins.sinks, plugins.queues]
    schemas, definitions = model_schemas(
        [*own, *backends, *(model for models in options for model in models.values())]
    )
    tables = _Tables(schemas)
    made = {
        "Source": tables.choice(SourceModel, plugins.captures, tables.sources(plugins)),
        "Sink": tables.choice(SinkModel, plugins.sinks, tables.plain(SinkModel, plugins.sinks)),
        "Queue": tables.choice(
            QueueModel, plugins.queues, tables.plain(QueueModel, plugins.queues)
        ),
    }
    return document(schemas[ConfigModel], {**definitions, **made})


class _Tables:
    """Tables of backends: the keys that flusso itself reads, and the options."""

    def __init__(self, schemas: Mapping[type[BaseModel], JsonSchema]) -> None:
        self._schemas = schemas

    def choice(
        self, general: type[BaseModel], known: Models, variants: Iterator[JsonSchema]
    ) -> JsonSchema:
        """A table of any of these types, or of one that is not known."""
        own = self._schemas[general]
        other = {
            **own,
            "title": "Of a plugin that is not installed here",
            "properties": {
                **own["properties"],
                "type": {**own["properties"]["type"], "not": {"enum": sorted(known)}},
            },
            "required": ["type"],
            "additionalProperties": True,
        }
        return {"title": own["title"], "oneOf": [*variants, other]}

    def plain(self, general: type[BaseModel], known: Models) -> Iterator[JsonSchema]:
        """The tables of plugins whose options are all in one model."""
        for name, model in known.items():
            yield self._table(general, {"type": name}, [model])

    def sources(self, plugins: PluginModels) -> Iterator[JsonSchema]:
        """The tables of captures, each with every builder."""
        for name, capture in plugins.captures.items():
            default = plugins.default_builders.get(name, name)
            known = plugins.builders
            for builder, model in plugins.builders.items():
                models = list(dict.fromkeys((capture, model)))
                table = self._table(SourceModel, {"type": name, "builder": builder}, models)
                if builder == default:
                    table["required"].remove("builder")
                yield table
            other = self._table(SourceModel, {"type": name}, [capture])
            other["title"] = f"{name} with a builder that is not installed here"
            other["properties"]["builder"] = {"type": "string", "not": {"enum": sorted(known)}}
            other["required"].append("builder")
            yield {**other, "additionalProperties": True}

    def _table(
        self,
        general: type[BaseModel],
        choices: Mapping[str, str],
        models: Sequence[type[BaseModel]],
    ) -> JsonSchema:
        own = self._schemas[general]
        parts = [own, *(self._schemas[model] for model in models)]
        properties: dict[str, Any] = {}
        required: dict[str, None] = {}
        rules: list[JsonSchema] = []
        for part in parts:
            for key, value in part.get("properties", {}).items():
                both = [properties[key], value] if properties.get(key, value) != value else []
                properties[key] = {"allOf": both} if both else value
            required |= dict.fromkeys(part.get("required", ()))
            rule = {key: value for key, value in part.items() if key not in _MERGED}
            rules += [rule] if rule else []
        for key, value in choices.items():
            described = own["properties"][key].get("description", "")
            properties[key] = {"const": value, "description": described}
            required[key] = None
            if own["properties"][key].get("default") == value:
                del required[key]
        open_ended = any(part.get("additionalProperties", False) is True for part in parts)
        return {
            "title": " with ".join(choices.values()),
            "description": parts[1].get("description", ""),
            "type": "object",
            "properties": properties,
            "required": list(required),
            "additionalProperties": open_ended,
            **({"allOf": rules} if rules else {}),
        }
