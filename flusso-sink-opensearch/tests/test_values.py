"""V5: every scalar type takes every value that a source can have for it (table test)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from flusso_core.model import Document, DocumentId, FieldType, IndexMapping, MappedField

if TYPE_CHECKING:
    from conftest import Bench

pytestmark = pytest.mark.integration

LONG_TEXT = "é" * 40_000
TEXTS = ['""', '"a"', json.dumps(LONG_TEXT), '"\\u0000\\"\\\\"', '"😀 日本語"', '" "']
INTEGERS = ["0", "-1"]
SPECIAL = ['"NaN"', '"Infinity"', '"-Infinity"']
DATES = ['"2024-02-29"', '"infinity"', '"-infinity"', '"0044-03-15 BC"', '"12024-01-01"']

# Each value as JSON, which is what a builder puts into a document.
VALUES: dict[FieldType, list[str]] = {
    FieldType.TEXT: TEXTS,
    FieldType.IDENTIFIER: [*TEXTS, json.dumps("a1-B2_" * 9000)],
    FieldType.KEYWORD: TEXTS,
    FieldType.ENUM: TEXTS,
    FieldType.UUID: ['"00000000-0000-0000-0000-000000000000"'],
    FieldType.BOOLEAN: ["true", "false"],
    FieldType.SHORT: [*INTEGERS, "32767", "-32768"],
    FieldType.INTEGER: [*INTEGERS, "2147483647", "-2147483648"],
    FieldType.LONG: [*INTEGERS, "9223372036854775807", "-9223372036854775808"],
    FieldType.FLOAT: [*INTEGERS, *SPECIAL, "3.4028235e+38", "1e-45"],
    FieldType.DOUBLE: [*INTEGERS, *SPECIAL, "1.7976931348623157e+308", "5e-324"],
    FieldType.DECIMAL: [*INTEGERS, *SPECIAL, "1e400", "0.1000000000000000000001", "9" * 400],
    FieldType.DATE: DATES,
    FieldType.TIMESTAMP: [
        *DATES,
        '"2024-02-29T12:34:56.123456"',
        '"2024-02-29T12:34:56.123456+00:00"',
        '"12:34:56"',
        '"24:00:00"',
        '"12:34:56.789123+02:00"',
    ],
    FieldType.BINARY: ['""', '"AAEC/w=="'],
    FieldType.JSON: ["1", '"x"', "[]", '{"a":[1,"x",{"b":null}]}', "true", '{"":{" ":1}}'],
    FieldType.MAP: ["{}", '{"a":"x"}'],
    FieldType.GEO: ['{"lat":90,"lon":-180}', '"1.5,2.5"'],
}


@pytest.mark.parametrize("auto_subfields", [True, False])
async def test_every_value_is_taken_and_kept_as_it_was(bench: Bench, auto_subfields: bool) -> None:
    """V4, V5."""
    kinds = list(VALUES)
    typed = IndexMapping("values", "h", tuple(MappedField(k, k, k) for k in kinds))
    sink = await bench.sink(auto_subfields=auto_subfields)
    await sink.begin_generation(typed, 1)
    bodies: dict[str, bytes] = {}
    for kind in kinds:
        for at, value in enumerate([*VALUES[kind], "null"]):
            bodies[f"{kind} {at}"] = f'{{"{kind}":{value}}}'.encode()
    documents = [Document(DocumentId("values", 1, (key,)), body, 1) for key, body in bodies.items()]
    report = await sink.flush(documents, caught_up=False)
    assert [(r.document.id.key, r.reason) for r in report.rejected] == []
    name = f"{bench.prefix}values_h_1"
    for key, body in bodies.items():
        found = await bench.raw.get_source(index=name, id=key)
        assert found == json.loads(body)


@pytest.mark.parametrize(
    ("kind", "value", "query"),
    [
        (FieldType.TEXT, "Crème Brûlée", {"match": {"f": "creme"}}),
        (FieldType.TEXT, "Crème Brûlée", {"term": {"f.keyword": "Crème Brûlée"}}),
        (FieldType.TEXT, "Crème Brûlée", {"term": {"f.keyword_lowercase": "CREME BRULEE"}}),
        (FieldType.IDENTIFIER, "AB-12/c", {"match": {"f": "ab12c"}}),
        (FieldType.KEYWORD, "Red", {"term": {"f": "Red"}}),
        (FieldType.KEYWORD, "Red Wine", {"match": {"f.text": "wine"}}),
        (FieldType.LONG, 9223372036854775807, {"term": {"f": 9223372036854775807}}),
        (FieldType.DECIMAL, 10.5, {"range": {"f": {"gte": 10.5, "lte": 10.5}}}),
        (FieldType.BOOLEAN, True, {"term": {"f": True}}),
        (FieldType.DATE, "2024-02-29", {"term": {"f": "2024-02-29"}}),
        (
            FieldType.TIMESTAMP,
            "2024-02-29T12:00:00.5+02:00",
            {"range": {"f": {"gte": "2024-02-29T10:00:00.5Z", "lte": "2024-02-29T10:00:00.5Z"}}},
        ),
        (FieldType.TIMESTAMP, "12:34:56", {"range": {"f": {"gte": "12:34:00", "lt": "12:35:00"}}}),
        (
            FieldType.TIMESTAMP,
            "12:34:56.789123",
            {"range": {"f": {"gte": "12:34:56.7", "lt": "12:34:56.8"}}},
        ),
        (FieldType.TIMESTAMP, "12:34:56+02:00", {"range": {"f": {"lt": "10:35:00"}}}),
        (FieldType.TIMESTAMP, "12:34:56.789123+02:00", {"range": {"f": {"lt": "10:35:00"}}}),
        (
            FieldType.GEO,
            {"lat": 1, "lon": 2},
            {"geo_distance": {"distance": "1m", "f": {"lat": 1, "lon": 2}}},
        ),
    ],
)
async def test_a_value_is_found_by_the_query_that_its_type_is_for(
    bench: Bench, kind: FieldType, value: object, query: dict[str, Any]
) -> None:
    typed = IndexMapping("values", "h", (MappedField("f", kind, "f"),))
    sink = await bench.sink()
    await sink.begin_generation(typed, 1)
    body = json.dumps({"f": value}).encode()
    await sink.flush([Document(DocumentId("values", 1, ("1",)), body, 1)], caught_up=False)
    await sink.serve_generation(typed, 1)
    answer = await bench.raw.search(index=f"{bench.prefix}values", body={"query": query})
    assert [hit["_id"] for hit in answer["hits"]["hits"]] == ["1"]
