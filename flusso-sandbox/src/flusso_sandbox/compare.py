"""Comparing what an index holds with what it must hold, to the last digit.

Both sides are read without any of flusso's own code: the expected documents come from SQL that
somebody wrote by hand, the actual ones from the raw client or from a file of envelopes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias, cast

import psycopg
from opensearchpy import JSONSerializer, OpenSearch

JsonDocument: TypeAlias = Mapping[str, Any]
"""A parsed document; numbers with a point or an exponent are `Decimal`."""

_SCAN_SIZE = 1000


def parse_document(text: str | bytes) -> JsonDocument:
    """Parse a JSON document without losing a digit."""
    return cast("JsonDocument", json.loads(text, parse_float=Decimal))


class _ExactSerializer(JSONSerializer):
    """Reads numbers as they were written."""

    def loads(self, s: str) -> Any:
        return json.loads(s, parse_float=Decimal)


def exact_client(url: str) -> OpenSearch:
    """A plain client whose answers keep every digit of a number."""
    return OpenSearch(url, serializer=_ExactSerializer(), timeout=60)


def expected_documents(connection: psycopg.Connection[Any], query: str) -> dict[str, JsonDocument]:
    """The documents that a query of `(id, document)` rows gives, by id."""
    wrapped = f"SELECT id, document::text FROM ({query}) AS expected".encode()
    rows = connection.execute(wrapped).fetchall()
    return {identity: parse_document(document) for identity, document in rows}


def index_documents(client: OpenSearch, index: str) -> dict[str, JsonDocument]:
    """Every document that searches of an index or alias see, by id."""
    return dict(_scan(client, index))


def _scan(client: OpenSearch, index: str) -> Iterator[tuple[str, JsonDocument]]:
    page = client.search(index=index, body={"size": _SCAN_SIZE}, params={"scroll": "1m"})
    scroll = page["_scroll_id"]
    try:
        while hits := page["hits"]["hits"]:
            yield from ((hit["_id"], hit["_source"]) for hit in hits)
            page = client.scroll(body={"scroll_id": scroll, "scroll": "1m"})
            scroll = page["_scroll_id"]
    finally:
        client.clear_scroll(body={"scroll_id": [scroll]})


def envelope_documents(path: Path, index: str) -> dict[str, JsonDocument]:
    """The documents that a file of NDJSON envelopes amounts to: the last one of an id wins."""
    documents: dict[str, JsonDocument] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            envelope = parse_document(line)
            if envelope["index"] != index:
                continue
            if envelope["op"] == "delete":
                documents.pop(envelope["id"], None)
            else:
                documents[envelope["id"]] = envelope["document"]
    return documents


@dataclass(frozen=True, slots=True)
class Comparison:
    """How an index differs from what it must hold; it is equal when all three are empty.

    Attributes:
        checked: documents that must be there.
        missing: ids that are not there.
        extra: ids that must not be there.
        different: id to the places where its document differs, as `path: expected → actual`.
    """

    checked: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    different: Mapping[str, tuple[str, ...]]

    @property
    def differences(self) -> int:
        """Documents that are not right."""
        return len(self.missing) + len(self.extra) + len(self.different)

    def __str__(self) -> str:
        lines = [f"{self.checked} documents checked, {self.differences} differences"]
        lines += [f"missing: {identity}" for identity in self.missing[:5]]
        lines += [f"extra: {identity}" for identity in self.extra[:5]]
        for identity, places in list(self.different.items())[:5]:
            lines += [f"different: {identity}: {place}" for place in places[:5]]
        return "\n".join(lines)


def compare(expected: Mapping[str, JsonDocument], actual: Mapping[str, JsonDocument]) -> Comparison:
    """Compare two sets of documents: nothing missing, nothing stale, nothing extra."""
    return Comparison(
        checked=len(expected),
        missing=tuple(sorted(expected.keys() - actual.keys())),
        extra=tuple(sorted(actual.keys() - expected.keys())),
        different={
            identity: places
            for identity in sorted(expected.keys() & actual.keys())
            if (places := tuple(differing_places(expected[identity], actual[identity])))
        },
    )


def differing_places(expected: object, actual: object, path: str = "") -> Iterator[str]:
    """Where two JSON values differ, as `path: expected → actual`.

    Numbers are equal when they are the same number (`1.50` and `1.5`, `2` and `2.0`), and
    never equal to a boolean or a text.
    """
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        left, right = cast("JsonDocument", expected), cast("JsonDocument", actual)
        for key in [*left, *(key for key in right if key not in left)]:
            place = f"{path}.{key}" if path else key
            if key not in right:
                yield f"{place}: {_show(left[key])} → nothing"
            elif key not in left:
                yield f"{place}: nothing → {_show(right[key])}"
            else:
                yield from differing_places(left[key], right[key], place)
    elif isinstance(expected, list) and isinstance(actual, list):
        before, after = cast("list[object]", expected), cast("list[object]", actual)
        if len(before) != len(after):
            yield f"{path}: {len(before)} elements → {len(after)}"
        for number, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from differing_places(one, other, f"{path}[{number}]")
    elif isinstance(expected, bool) != isinstance(actual, bool) or expected != actual:
        yield f"{path}: {_show(expected)} → {_show(actual)}"  # pyright: ignore[reportUnknownArgumentType]


def _show(value: object) -> str:
    text = (
        str(value)
        if isinstance(value, Decimal)
        else json.dumps(value, ensure_ascii=False, default=str)
    )
    return text if len(text) <= 60 else text[:57] + "…"
