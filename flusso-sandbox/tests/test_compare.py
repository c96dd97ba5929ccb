"""The comparison finds what differs, and only that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flusso_sandbox.compare import compare, differing_places, envelope_documents, parse_document


@pytest.mark.parametrize(
    ("expected", "actual", "places"),
    [
        ('{"a": 1.50}', '{"a": 1.5}', []),
        ('{"a": 2}', '{"a": 2.0}', []),
        ('{"a": 1}', '{"a": true}', ["a: 1 → true"]),
        ('{"a": 1}', '{"a": "1"}', ['a: 1 → "1"']),
        ('{"a": 0.1}', '{"a": 0.10000000000000001}', ["a: 0.1 → 0.10000000000000001"]),
        ('{"a": {"b": null}}', '{"a": {}}', ["a.b: null → nothing"]),
        ('{"a": {}}', '{"a": {"b": null}}', ["a.b: nothing → null"]),
        ('{"a": [1, 2]}', '{"a": [1, 3]}', ["a[1]: 2 → 3"]),
        ('{"a": [1, 2]}', '{"a": [1]}', ["a: 2 elements → 1"]),
        ('{"a": []}', '{"a": null}', ["a: [] → null"]),
    ],
)
def test_places_that_differ_are_named(expected: str, actual: str, places: list[str]) -> None:
    found = list(differing_places(parse_document(expected), parse_document(actual)))
    assert found == places


def test_missing_extra_and_stale_documents_are_told_apart() -> None:
    expected = {"1": parse_document('{"a": 1}'), "2": parse_document('{"a": 2}')}
    actual = {"2": parse_document('{"a": 3}'), "3": parse_document('{"a": 3}')}
    result = compare(expected, actual)
    assert (result.missing, result.extra, list(result.different)) == (("1",), ("3",), ["2"])
    assert result.differences == 3
    assert "different: 2: a: 2 → 3" in str(result)


def test_the_last_envelope_of_an_id_wins(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = [
        {"index": "a", "op": "upsert", "id": "1", "document": {"v": 1}},
        {"index": "a", "op": "upsert", "id": "1", "document": {"v": 2}},
        {"index": "a", "op": "upsert", "id": "2", "document": {"v": 1}},
        {"index": "a", "op": "delete", "id": "2"},
        {"index": "b", "op": "upsert", "id": "3", "document": {"v": 0}},
    ]
    path = tmp_path / "documents.ndjson"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert envelope_documents(path, "a") == {"1": {"v": 2}}
