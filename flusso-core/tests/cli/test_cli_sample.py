"""`flusso sample` and `flusso mapping` over a backend in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import pytest

from flusso_core.cli import ExitCode
from flusso_core.cli.sample import parse_key
from flusso_core.json_text import indented
from flusso_core.model import document_id_text

if TYPE_CHECKING:
    from .conftest import Place

FIELDS = ["name", "children", "owner", "grandchildren"]


def test_the_first_documents_are_printed_and_nothing_is_written(place: Place) -> None:
    done = place.run("sample", "parents", "--rows", "2")
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    assert done.stdout == (
        'parents 0\n{\n  "name": "flusso flusso True",\n  "children": []\n}\n'
        'parents 1\n{\n  "name": "flusso flusso True",\n  "children": []\n}\n'
    )
    assert sorted(path.name for path in place.folder.iterdir()) == [
        "flusso.toml",
        "parents.schema.yml",
        "site",
    ]


def test_documents_are_built_by_key_and_a_key_without_one_ends_with_1(place: Place) -> None:
    done = place.run("sample", "parents", "3", "77", "--format", "json")
    assert done.returncode == ExitCode.FAILURE
    assert json.loads(done.stdout) == {
        "version": 1,
        "index": "parents",
        "documents": [
            {"id": "3", "document": {"name": "flusso flusso True", "children": []}},
            {"id": "77", "document": None},
        ],
    }
    assert "parents has no document 77" in done.stderr


def test_a_disabled_index_and_a_dead_sink_are_no_obstacle(place: Place) -> None:
    place.sink["down"] = True
    place.write()
    config = place.folder / "flusso.toml"
    config.write_text(config.read_text() + "enabled = false\n")
    assert place.run("sample", "parents").returncode == ExitCode.OK


@pytest.mark.parametrize("command", ["sample", "mapping"])
def test_an_unknown_index_is_a_usage_error_with_the_nearest_name(
    place: Place, command: str
) -> None:
    done = place.run(command, "parent")
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert "no index 'parent'. Did you mean 'parents'? It has: parents" in done.stderr


@pytest.mark.parametrize(
    "key",
    [("7",), ("",), ("~",), ("~7",), ("[1]",), ("a", "b"), ("7", "de"), ("", "~"), ("x,y", '"')],
)
def test_a_key_comes_back_from_its_id(key: tuple[str, ...]) -> None:
    """V3."""
    assert parse_key(document_id_text(key), len(key)) == key


def test_numbers_in_a_composite_key_are_taken_by_their_text() -> None:
    assert parse_key('[7, "de"]', 2) == ("7", "de")


@pytest.mark.parametrize(
    ("text", "width", "complaint"),
    [
        ("~sha256:00", 1, "digest"),
        ("7", 2, 'such as \\["text 1", "text 2"\\]'),
        ('["7"]', 2, "2 columns"),
        ('["7", null]', 2, "2 columns"),
        ('{"a": 1}', 2, "2 columns"),
    ],
)
def test_what_is_no_key_is_a_usage_error(text: str, width: int, complaint: str) -> None:
    with pytest.raises(click.UsageError, match=complaint):
        parse_key(text, width)


def test_indenting_changes_no_value() -> None:
    text = '{"a":12345678901234567890.10,"b":[],"c":{},"d":["x, {y}",1e400]}'
    laid_out = indented(text)
    assert "12345678901234567890.10" in laid_out
    assert "1e400" in laid_out
    assert '"x, {y}"' in laid_out
    assert json.loads(laid_out) == json.loads(text)


def test_the_mapping_needs_neither_source_nor_sink(place: Place) -> None:
    place.source["broken"] = True
    place.sink["down"] = True
    place.write()
    done = place.run("mapping", "parents")
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    table, _, definition = done.stdout.partition("\n\nout (fake)\n")
    assert [line.split() for line in table.splitlines()] == [
        ["FIELD", "TYPE", "OPTIONS"],
        ["name", "keyword"],
        ["children", "keyword"],
        ["owner", "keyword"],
        ["grandchildren", "keyword"],
    ]
    assert json.loads(definition) == {"fields": FIELDS, "prefix": ""}


def test_the_mapping_as_json_has_each_sinks_definition(place: Place) -> None:
    place.more = '[sinks.lines]\ntype = "plain"\nfile = "x"\ntoken = "y"\n'
    place.write()
    content = json.loads(place.run("mapping", "parents", "--format", "json").stdout)
    assert content["version"] == 1
    assert content["index"] == "parents"
    assert content["fields"][0] == {"path": "name", "type": "keyword", "options": {}}
    assert content["sinks"] == {
        "lines": {"type": "plain", "definition": None},
        "out": {"type": "fake", "definition": {"fields": FIELDS, "prefix": ""}},
    }
    done = place.run("mapping", "parents", "--format", "json", "--sink", "lines")
    assert list(json.loads(done.stdout)["sinks"]) == ["lines"]
    done = place.run("mapping", "parents", "--sink", "nowhere")
    assert done.returncode == ExitCode.USAGE
    assert "no sink 'nowhere'. It has: lines, out" in done.stderr
