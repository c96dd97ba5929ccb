"""PGSync's schema format, versions 2 to 7, as its documentation and its `node.py` describe it."""

from __future__ import annotations

import json
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from flusso_core.errors import ConfigError
from flusso_core.files import ParsedFile, validate


class _Model(BaseModel):
    # What a newer version adds is reported as without counterpart, not refused.
    model_config = ConfigDict(extra="allow", frozen=True)

    def unknown(self) -> list[str]:
        """Keys that this format does not have."""
        return list(self.model_extra or {})


class PgsyncForeignKey(_Model):
    """The columns by which parent and child belong together, one of which is a foreign key."""

    parent: list[str]
    child: list[str]


class PgsyncRelationship(_Model):
    """How a child belongs to its parent."""

    type: Literal["one_to_one", "one_to_many"]
    variant: Literal["object", "scalar"]
    through_tables: list[str] = []
    foreign_key: PgsyncForeignKey | None = None


class PgsyncTransform(_Model):
    """What is made of a node's columns."""

    rename: dict[str, str] = {}
    mapping: dict[str, dict[str, JsonValue]] = {}


class PgsyncNode(_Model):
    """A table, and what is folded into its rows."""

    table: str = Field(min_length=1)
    schema_: str = Field("public", alias="schema", min_length=1)
    label: str | None = None
    columns: list[str] = []
    primary_key: list[str] = []
    base_tables: list[str] = []
    relationship: PgsyncRelationship | None = None
    transform: PgsyncTransform = PgsyncTransform()
    children: list[PgsyncNode] = []


class PgsyncDocument(_Model):
    """One index."""

    database: str = Field(min_length=1)
    index: str | None = None
    nodes: PgsyncNode
    setting: dict[str, JsonValue] = {}

    @field_validator("nodes", mode="before")
    @classmethod
    def _of_version_1(cls, value: object) -> object:
        # A list of one node, until version 2.
        if isinstance(value, list):
            nodes = cast("list[object]", value)
            return nodes[0] if len(nodes) == 1 else nodes
        return value


def parse_pgsync(text: str, origin: str) -> list[PgsyncDocument]:
    """The indexes of a PGSync schema file.

    Raises:
        ConfigError: it is no JSON, or no such schema; the message has the JSON path.
    """
    try:
        data: JsonValue = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{origin}: not JSON: {error}") from error
    documents = data if isinstance(data, list) else [data]
    file = ParsedFile(origin, {})
    return [
        validate(PgsyncDocument, document, file=file, path=(number,))
        for number, document in enumerate(documents)
    ]
