"""The JSON Schemas that the repository carries are current, and its examples are held to them."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "reference" / "schemas"
CONFIGS = sorted(ROOT.glob("examples/**/flusso.toml"))
SCHEMAS = sorted(ROOT.glob("examples/**/*.schema.yml"))


def test_the_json_schemas_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "tools/json_schemas.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_example_of_a_deployment_names_its_schema_and_fits_it(path: Path) -> None:
    first, _, _ = path.read_text().partition("\n")
    assert first.startswith("#:schema ")
    schema = path.parent / first.removeprefix("#:schema ")
    assert schema.samefile(FOLDER / "flusso.schema.json")
    validate(json.loads(schema.read_text()), tomllib.loads(path.read_text()))


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_example_of_an_index_names_its_schema_and_fits_it(path: Path) -> None:
    first, _, _ = path.read_text().partition("\n")
    assert first.startswith("# yaml-language-server: $schema=")
    schema = path.parent / first.partition("=")[2]
    assert schema.samefile(FOLDER / "index.schema.json")
    reader: Any = YAML(typ="safe")
    validate(json.loads(schema.read_text()), reader.load(path))


def test_the_options_of_the_plugins_are_checked() -> None:
    validator: Any = Draft202012Validator(schema_of("flusso"))
    wrong = {
        "source": {"type": "postgres", "connection_url": {"host": "db"}, "slott": "x"},
        "sinks": {"search": {"type": "opensearch", "url": "http://s", "batch_size": "1"}},
    }
    told = [list(error.path) for error in validator.iter_errors(wrong)]
    assert sorted(told, key=str) == [["sinks", "search"], ["source"]]


def test_a_published_format_v1_deployment_fits() -> None:
    folder = ROOT / "flusso-core" / "tests" / "schema" / "fixtures" / "format-v1"
    validate(
        schema_of("flusso"),
        tomllib.loads((folder / "flusso.toml").read_text()),
    )
    reader: Any = YAML(typ="safe")
    for path in folder.glob("*.schema.yml"):
        validate(schema_of("index"), reader.load(path))


def schema_of(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{kind}.schema.json").read_text())
    return found


def validate(schema: dict[str, Any], value: object) -> None:
    validator: Any = Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(value)] == []
