"""A pytest plugin that runs the examples in Markdown files and docstrings.

What it does with a fenced block depends on its language:

- `python`: executed, the blocks of one file in one namespace; with `>>>` the output is compared.
- `toml` with a `[source]`, `yaml` with a `version`: loaded as `flusso.toml`, as a schema file.
- other `toml`, `yaml`, and `json`: parsed.
- `sh`, `console`: each line that calls `flusso` names a command and options that exist.
- anything else, `text` above all: left alone.

Use it as `pytest -p tools.examples README.md docs`, from the root.
"""

from __future__ import annotations

import doctest
import json
import shlex
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner
from ruamel.yaml import YAML
from sybil import Sybil
from sybil.integration import pytest as integration
from sybil.parsers.doctest import DocTestParser
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

from flusso_core.cli.app import app
from flusso_core.config import load_deployment
from flusso_core.pipeline import plan

if TYPE_CHECKING:
    from sybil import Example

ROOT = str(Path(__file__).resolve().parent.parent)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


DEPLOYMENT = """
[source]
type = "postgres"
connection_url = { env = "DATABASE_URL" }

[[index]]
name = "example"
schema = "example.schema.yml"
"""
SCHEMA = """
version: 1
table: example
primary_key: id
fields:
  - long: id
"""


def toml(example: Example) -> None:
    """Load a block of TOML as `flusso.toml` if it has a source; parse it otherwise."""
    text = str(example.parsed)
    parsed = tomllib.loads(text)
    if "source" in parsed:
        load(text, {index["schema"]: SCHEMA for index in parsed.get("index", ())})


def yaml(example: Example) -> None:
    """Load a block of YAML as a schema file if it has a version; parse it otherwise."""
    text = str(example.parsed)
    reader: Any = YAML(typ="safe")
    parsed = reader.load(text)
    if isinstance(parsed, dict) and "version" in parsed:
        load(DEPLOYMENT, {"example.schema.yml": text})


def load(deployment: str, schemas: Mapping[str, str]) -> None:
    """Have flusso plan a deployment; what is wrong with it is a `ConfigError`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, text in schemas.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        (folder / "flusso.toml").write_text(deployment, encoding="utf-8")
        plan(load_deployment(folder / "flusso.toml"))


def jsonl(example: Example) -> None:
    """Parse a block that is one JSON document, or one a line."""
    text = str(example.parsed)
    try:
        json.loads(text)
    except json.JSONDecodeError:
        for line in text.splitlines():
            json.loads(line)


def shell(example: Example) -> None:
    """Let the command line parse every call of `flusso`, without running it."""
    for line in str(example.parsed).replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        while words and "=" in words[0]:
            del words[0]
        if words and words[0] == "flusso":
            parse_command(words[1:])


def parse_command(words: list[str]) -> None:
    """Ask for the help of a call: an unknown command or option is an error before the help is."""
    result = CliRunner().invoke(app, [*words, "--help"])
    if result.exit_code:
        raise AssertionError(f"flusso {shlex.join(words)}\n{result.output}")


pytest_collect_file = integration.pytest_integration(
    Sybil(
        [
            SkipParser(),
            PythonCodeBlockParser(doctest_optionflags=FLAGS),
            CodeBlockParser("toml", toml),
            CodeBlockParser("yaml", yaml),
            CodeBlockParser("json", jsonl),
            CodeBlockParser("sh", shell),
            CodeBlockParser("console", shell),
        ],
        patterns=["*.md"],
        path=ROOT,
    ),
    Sybil([DocTestParser(FLAGS)], patterns=["*.py"], path=ROOT),
)
