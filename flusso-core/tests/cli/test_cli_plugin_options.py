from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, JsonValue, SecretStr

from flusso_core.cli.plugin_options import OptionInfo, describe, type_text
from flusso_core.config import Secret


class Mode(StrEnum):
    FAST = "fast"
    SAFE = "safe"


class Parts(BaseModel):
    host: str
    port: int = 5432


class Options(BaseModel):
    url: Secret = Field(description="Where it is.")
    password: Secret = Secret(literal="hunter2")
    alias: int = Field(default=1, alias="batch-size")
    tags: list[str] = Field(default_factory=lambda: ["a"])
    anything: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    optional: str | None = None


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (bool, "boolean"),
        (int | None, "integer"),
        (float, "number"),
        (Annotated[str, Field(min_length=1)], "string"),
        (Annotated[str, "a"] | Annotated[SecretStr, "b"], "string"),
        (Literal["a", "b"], '"a" | "b"'),
        (Mode, '"fast" | "safe"'),
        (list[int], "list of integer"),
        (tuple[str, ...], "list of string"),
        (Sequence[float], "list of number"),
        (dict[str, str], "table"),
        (Mapping[str, str], "table"),
        (Secret, 'string | { env = "VARIABLE" }'),
        (str | Parts, "string | { host, port }"),
    ],
)
def test_types_are_told_in_words(annotation: Any, text: str) -> None:
    assert type_text(annotation) == text


def test_options_are_told_with_types_defaults_and_help() -> None:
    assert list(describe(Options)) == [
        OptionInfo("url", 'string | { env = "VARIABLE" }', True, None, "Where it is."),
        OptionInfo("password", 'string | { env = "VARIABLE" }', False, "********", ""),
        OptionInfo("batch-size", "integer", False, 1, ""),
        OptionInfo("tags", "list of string", False, ["a"], ""),
        OptionInfo("anything", "table", False, {}, ""),
        OptionInfo("optional", "string", False, None, ""),
    ]


def test_a_default_is_written_as_the_configuration_would() -> None:
    assert [info.default_text for info in describe(Options)] == [
        "",
        '"********"',
        "1",
        '["a"]',
        "{}",
        "",
    ]
