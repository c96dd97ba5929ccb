"""The vocabulary: the values that cross every edge of the engine.

Each name means one thing everywhere, in code, docs, metrics and errors. Nothing here does I/O.
The values of the hot path (`Change`, `DocumentId`, `Document`) are named tuples, because one is
made for each row; everything else is a frozen dataclass.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeAlias, cast

JsonValue: TypeAlias = (
    "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
)

Key: TypeAlias = tuple[str, ...]
"""A row's key: the text of each key column, in the key's column order, spelled by the source."""

RowImage: TypeAlias = Mapping[str, str | None]
"""Column name to the text of its value (`None`: SQL NULL). A column that is absent is unknown."""

MAX_ID_BYTES = 512
"""Longest `_id` that OpenSearch accepts (index API, `_id` field: 512 bytes)."""


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """A schema-qualified table name, exact case."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


class Operation(StrEnum):
    """What happened to a row (upsert, delete) or to a whole table (truncate)."""

    UPSERT = "upsert"
    DELETE = "delete"
    TRUNCATE = "truncate"


class Change(NamedTuple):
    """One row event of a table that some schema reads. It never holds the row.

    `before` and `after` are images of the table's *routing columns* only: the keys and foreign
    keys by which a builder finds the documents to rebuild. A column that the source does not
    know (an old value that the replica identity does not carry) is absent from the image;
    `before is None` means that there was no row (an insert) or that nothing of it is known, and
    `after is None` that there is none (a delete). A truncate has neither.
    """

    table: TableName
    operation: Operation
    before: RowImage | None
    after: RowImage | None


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """An opaque, ordered, serialisable resume point of a capture.

    Only `order` is compared; `token` is what the capture needs in order to resume there
    (a WAL location, a polling cursor).
    """

    order: int
    token: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class UnfitIndex:
    """An index whose schema does not fit its tables (any more), and why: what, where, the cure."""

    index: str
    reason: str


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Changes in commit order.

    Attributes:
        changes: the row events; none for a keepalive.
        position: safe to confirm once every change up to and with this batch is durable; `None`
            for a piece of a large commit whose end is in a later batch.
        transactions: the source's ids of the transactions whose changes are in here, for the
            capture's own `wait_visible`.
        committed_at: when the last commit in here happened, in seconds since the epoch.
        unfit: indexes that changes from this batch on can no longer keep right: they stop, and
            the others go on. One that is told again means nothing new.
        unfinished: the last commit in here goes on in the next batch, also where a `position`
            says up to where earlier ones can be confirmed.
    """

    changes: Sequence[Change]
    position: Position | None
    transactions: Sequence[int] = ()
    committed_at: float | None = None
    unfit: Sequence[UnfitIndex] = ()
    unfinished: bool = False


@dataclass(frozen=True, slots=True)
class StreamIdentity:
    """What makes a change stream *this* stream and no other.

    Attributes:
        system: the server's own identity (Postgres: the system identifier).
        database: the database within it.
        stream: the resumable stream within that (Postgres: the slot's name).
        timeline: the branch of the server's history.
    """

    system: str
    database: str
    stream: str
    timeline: str


class DocumentId(NamedTuple):
    """A document: the logical index, the generation that it lives in, the root row's key."""

    # Hides `tuple.index`, which nobody needs; a frozen dataclass would hash four times slower.
    index: str  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleMethodOverride]
    generation: int
    key: Key


class Document(NamedTuple):
    """A document to write: ready UTF-8 JSON on one line, or `None` for a tombstone (delete it).

    `version` rises with every build of the same document; the destination never lets an older
    one replace a newer one.
    """

    id: DocumentId
    body: bytes | None
    version: int


class BuiltDocument(NamedTuple):
    """What a builder read for a key: the document's JSON, or `None`: there is none, delete it."""

    key: Key
    body: bytes | None


class StoredDocument(NamedTuple):
    """What a destination has under an `_id`.

    Attributes:
        id: the `_id`.
        body: the document's JSON, every number as it is written there; `None`: there is none.
        version: of the document; 0 where there is none, or where the destination keeps none.
    """

    id: str
    body: bytes | None
    version: int


@dataclass(frozen=True, slots=True)
class IndexKeys:
    """Keys of documents of one index that some changes touch."""

    index: str
    keys: Sequence[Key]


@dataclass(frozen=True, slots=True)
class RootTruncated:
    """The root table of an index was truncated: every document that it has is void."""

    index: str


@dataclass(frozen=True, slots=True)
class SweepNeeded:
    """More documents of an index may be wrong than keys can tell: all of its rows are to be read.

    Attributes:
        index: the logical name.
        reason: what happened, for people ("public.orders was truncated").
    """

    index: str
    reason: str


class StrayKey(tuple[str]):
    """Stands for the key of a document that is known by its `_id` alone.

    Either no key is spelled like that `_id`, or it is the digest of one that cannot be told from
    it. It is never equal to a row's key.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StrayKey) and self[0] == other[0]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((StrayKey, self[0]))


@dataclass(frozen=True, slots=True)
class KeyRange:
    """A part of a root table's keys: those above `lower` up to and with `upper`, in the order of
    the source. `None` is unbounded on that side.
    """

    lower: Key | None = None
    upper: Key | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One keyset page of a seed.

    Attributes:
        documents: the documents of rows that qualify, in key order.
        cursor: the last key that was read (rows that do not qualify included), to go on after;
            `None`: the range is exhausted.
    """

    documents: Sequence[BuiltDocument]
    cursor: Key | None


class FieldType(StrEnum):
    """The type of a field in a document, as the schema format names it."""

    TEXT = "text"
    IDENTIFIER = "identifier"
    KEYWORD = "keyword"
    ENUM = "enum"
    UUID = "uuid"
    BOOLEAN = "boolean"
    SHORT = "short"
    INTEGER = "integer"
    LONG = "long"
    FLOAT = "float"
    DOUBLE = "double"
    DECIMAL = "decimal"
    DATE = "date"
    TIMESTAMP = "timestamp"
    BINARY = "binary"
    JSON = "json"
    CUSTOM = "custom"
    GEO = "geo"
    MAP = "map"
    OBJECT = "object"
    NESTED = "nested"


@dataclass(frozen=True, slots=True)
class MappedField:
    """One field of an `IndexMapping`.

    Attributes:
        name: the key in the document.
        type: its type; `object` and `nested` have `fields`.
        options: mapping properties that the schema gives for the destination, which win.
        fields: the fields of an object or of the elements of a nested array.
        variants: the declared values of an enum, in rank order.
        custom: the destination's own type name of a `custom` field.
        values: the leaf type of a `map`.
        json_path: dotted path from the document's root, for messages and derived names.
    """

    name: str
    type: FieldType
    json_path: str
    options: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    fields: tuple[MappedField, ...] = ()
    variants: tuple[str, ...] = ()
    custom: str | None = None
    values: FieldType | None = None


@dataclass(frozen=True, slots=True)
class IndexMapping:
    """The resolved, typed mapping of one index, derived from its schema alone.

    Attributes:
        index: the logical name, without any prefix.
        schema_hash: changes when, and only when, the documents would.
        fields: the document's fields, in the schema's order.
        schema: the schema itself, in a form that is stored with each generation, so that a later
            run can go on building by it (`DocumentBuilder.older`); `None`: it cannot.
    """

    index: str
    schema_hash: str
    fields: tuple[MappedField, ...]
    schema: str | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class RangeProgress:
    """How far a seed has come in one key range: up to `cursor`, or all of it (`done`)."""

    range: KeyRange
    cursor: Key | None = None
    done: bool = False


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation that exists at a destination.

    Attributes:
        index: the logical name.
        number: unique among the generations of the index, whatever their schemas.
        schema_hash: of the schema that its documents are built by.
        serves: searches see it.
        made_with: what it was made with, as `Sink.made_with` said then; `None`: not known.
        foreign: another program made it, so that it goes only when somebody asks for that.
    """

    index: str
    number: int
    schema_hash: str
    serves: bool = field(default=False, compare=False)
    made_with: str | None = field(default=None, compare=False)
    foreign: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class GenerationSize:
    """How large a generation is.

    Attributes:
        documents: how many it has; `None`: not known.
        bytes: what it takes up at the destination, copies included; `None`: not known.
    """

    documents: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """What a destination remembers of one generation.

    Attributes:
        number: unique among the generations of the index; newer ones are higher.
        schema_hash: of the schema that its documents are built by.
        schema: that schema in its stored form (`IndexMapping.schema`).
        seeded: every page of every range has landed: it has all documents.
        sweep: the number of the sweep that was asked for last; 0: none was.
        swept: the number of the sweep that ended last. Lower than `sweep`: not clean, and the
            next run goes on with that sweep.
        ranges: progress of the seed, or of the sweep `sweep`; covers the whole key space once it
            has begun.
    """

    number: int
    schema_hash: str
    schema: str | None = field(default=None, repr=False)
    seeded: bool = False
    sweep: int = 0
    swept: int = 0
    ranges: tuple[RangeProgress, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether it has every document, and nothing calls for reading its rows again."""
        return self.seeded and self.sweep == self.swept


@dataclass(frozen=True, slots=True)
class StateRecord:
    """What a destination remembers of one index, and by which a restart goes on.

    Attributes:
        index: the logical name.
        identity: the stream that keeps it right.
        position: the index is right up to here (in a seed: as far as its pages have been read).
        current: the newest generation.
        serving: the older one that searches see until the newest one has all documents.
        keep: `serving` is kept when the newest one takes its place.
        kept: generations that served once and were kept, oldest first. They get no changes.
    """

    index: str
    identity: StreamIdentity
    position: Position
    current: GenerationRecord
    serving: GenerationRecord | None = None
    keep: bool = False
    kept: tuple[GenerationRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejection:
    """A document that the destination refused for good, and why."""

    document: Document
    reason: str


@dataclass(frozen=True, slots=True)
class QuarantinedDocument:
    """A refused document that a destination keeps, for people to read.

    Attributes:
        index: the logical name.
        key: the root row's key.
        reason: why it was refused, in the destination's words.
        body: the document; `None`: it was a tombstone, or too large to be kept.
        size: bytes of the body; `None`: it was a tombstone.
        time: when it was refused last, in ISO 8601.
        attempts: how often it was refused.
    """

    index: str
    key: Key
    reason: str
    body: str | None
    size: int | None
    time: str
    attempts: int


@dataclass(frozen=True, slots=True)
class FlushReport:
    """What became of the documents of a flush.

    Every document that is in neither list is durable, or the destination has a newer version.

    Attributes:
        throttled: refused for now (busy), to be built and written again.
        rejected: refused for good.
    """

    throttled: Sequence[DocumentId] = ()
    rejected: Sequence[Rejection] = ()


class Severity(StrEnum):
    """How bad a `Finding` is: an error stops the run, a warning does not, and info is good to
    know.
    """

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: where, what is wrong, and what cures it (SQL, a line, an option).

    Attributes:
        subject: what it is about. `table SCHEMA.NAME` and `index 'NAME'`, with anything behind
            it, are put together with what else is found about them; a server is its address.
    """

    severity: Severity
    subject: str
    message: str
    cure: str | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """One thing that runs have made, or may have made, and what a teardown did about it.

    Attributes:
        subject: what it is, as in `replication slot flusso`.
        left: why it is left, and what removes it; `None`: it is removed.
    """

    subject: str
    left: str | None = None


def key_of_id(text: str, columns: int) -> Key | None:
    """The key of so many columns whose `document_id_text` this is.

    Returns:
        `None`: no key is spelled like that, or it is the digest of one.
    """
    if columns == 1:
        key: Key = (text.removeprefix("~"),)
    else:
        try:
            parts: object = json.loads(text)
        except ValueError:
            return None
        if not isinstance(parts, list):
            return None
        texts = cast("list[object]", parts)
        key = tuple([one for one in texts if isinstance(one, str)])
        if not len(key) == len(texts) == columns:
            return None
    return key if document_id_text(key) == text else None


def document_id_text(key: Key) -> str:
    """The `_id` of the document with this key.

    A single-column key is its own text; a composite one is a compact JSON array of the columns'
    texts. A literal leading `~` is doubled, the empty text, which no destination takes for an id,
    is `~`, and what is longer than `MAX_ID_BYTES` becomes `~sha256:` and the hex digest of that
    text.
    """
    text = key[0] if len(key) == 1 else json.dumps(key, ensure_ascii=False, separators=(",", ":"))
    if not text or text.startswith("~"):
        if isinstance(key, StrayKey):
            return text
        text = "~" + text
    if len(text) > MAX_ID_BYTES // 4:
        encoded = text.encode()
        if len(encoded) > MAX_ID_BYTES:
            return "~sha256:" + hashlib.sha256(encoded).hexdigest()
    return text
