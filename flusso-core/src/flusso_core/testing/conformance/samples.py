"""What checks write: a typed index, and documents of every kind that a table may hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from flusso_core.json_text import exact_json
from flusso_core.model import (
    Document,
    DocumentId,
    FieldType,
    GenerationRecord,
    IndexMapping,
    JsonValue,
    Key,
    KeyRange,
    MappedField,
    Position,
    RangeProgress,
    StateRecord,
    StreamIdentity,
    document_id_text,
)

GENERATION = 1

SAMPLE = IndexMapping(
    index="kit",
    schema_hash="0c0ffee1",
    fields=(
        MappedField("id", FieldType.LONG, "id"),
        MappedField("name", FieldType.KEYWORD, "name"),
        MappedField("text", FieldType.TEXT, "text"),
        MappedField("price", FieldType.DECIMAL, "price"),
        MappedField("flag", FieldType.BOOLEAN, "flag"),
        MappedField(
            "address",
            FieldType.OBJECT,
            "address",
            fields=(MappedField("city", FieldType.KEYWORD, "address.city"),),
        ),
    ),
)
"""The index of the checks: its documents have a number, texts, an exact number and an object."""

OTHER = IndexMapping("kit_other", "0c0ffee2", (MappedField("name", FieldType.KEYWORD, "name"),))
"""A second index, which what happens to the first must not touch."""

STREAM = StreamIdentity("7301", "kit", "flusso", "1")


def upsert(
    key: Key | str,
    version: int,
    body: Mapping[str, JsonValue] | bytes,
    *,
    mapping: IndexMapping = SAMPLE,
    generation: int = GENERATION,
) -> Document:
    """A document to write; a body of bytes is taken as it is."""
    if not isinstance(body, bytes):
        body = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return Document(_identity(key, mapping, generation), body, version)


def tombstone(
    key: Key | str,
    version: int,
    *,
    mapping: IndexMapping = SAMPLE,
    generation: int = GENERATION,
) -> Document:
    """A document to delete."""
    return Document(_identity(key, mapping, generation), None, version)


def content(documents: Sequence[Document]) -> dict[str, object]:
    """What a destination holds once these have been written, one after the other, to it."""
    held: dict[str, object] = {}
    for document in documents:
        identity = document_id_text(document.id.key)
        if document.body is None:
            held.pop(identity, None)
        else:
            held[identity] = exact_json(document.body)
    return held


def record(mapping: IndexMapping, position: int, *, generation: int = GENERATION) -> StateRecord:
    """A state record of a seed that is half done."""
    current = GenerationRecord(
        number=generation,
        schema_hash=mapping.schema_hash,
        schema='{"index": "ünïcode"}',
        sweep=3,
        ranges=(
            RangeProgress(KeyRange(None, ("k", "")), cursor=("d", "ünïcode 😀 \"'\\\n")),
            RangeProgress(KeyRange(("k", ""), None), done=True),
        ),
    )
    return StateRecord(
        index=mapping.index,
        identity=STREAM,
        position=Position(position, f"0/{position:X}"),
        current=current,
        serving=GenerationRecord(generation + 6, "0dd", seeded=True, sweep=2, swept=1),
        keep=True,
        kept=(GenerationRecord(generation + 7, "0dd", seeded=True),),
    )


def _identity(key: Key | str, mapping: IndexMapping, generation: int) -> DocumentId:
    return DocumentId(mapping.index, generation, (key,) if isinstance(key, str) else key)


ODD_KEYS: Sequence[Key] = (
    ("",),
    ("~",),
    ('"',),
    ("a\nb\tc",),
    ("\\",),
    ("a/b?c#d%2Fe",),
    ("_id", "1"),
    ("😀",),
    ("k" * 200,),
    ("ü" * 300,),
    ('{"index":{}}',),
    ("", ""),
    ("1", "0"),
    ("10",),
    ("A",),
    ("a",),
)
"""Keys that a table may have: empty, composite, over-long, or with characters of any kind."""

ODD_BODIES: Mapping[str, bytes] = {
    "empty": b"{}",
    "nothing": b'{"id":null,"name":null,"text":null,"address":null}',
    "largest": b'{"id":9223372036854775807}',
    "smallest": b'{"id":-9223372036854775808}',
    "beyond doubles": b'{"id":9007199254740993}',
    "exact": b'{"price":0.10}',
    "unicode": '{"text":"ünïcode 😀 \u2028 \ufffd \U0010ffff"}'.encode(),
    "escapes": rb'{"text":"\" \\ \/ \b \f \n \r \t \u0000 \u001f"}',
    "array": b'{"name":["a","b",null]}',
    "object": b'{"address":{"city":"Z\xc3\xbcrich"}}',
    "like a request": b'{"text":"{\\"delete\\":{\\"_id\\":\\"1\\"}}\\n"}',
}
"""Documents that a table may give."""
