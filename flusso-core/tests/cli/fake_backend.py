"""A capture, a builder and a sink over memory, installed as a plugin by the tests of commands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, Field

from flusso_core.catalogue import CatalogueColumn, CatalogueTable
from flusso_core.config import Secret
from flusso_core.errors import SinkUnavailable, SourceFatal
from flusso_core.hookspecs import (
    BuilderPlugin,
    CapturePlugin,
    SinkContext,
    SinkPlugin,
    SourceContext,
    hookimpl,
)
from flusso_core.interfaces import ChangeCapture, DocumentBuilder, Sink, SinkCapabilities
from flusso_core.model import (
    Document,
    DocumentId,
    FieldType,
    Finding,
    FlushReport,
    Generation,
    GenerationRecord,
    IndexMapping,
    JsonValue,
    KeyRange,
    Position,
    RangeProgress,
    Removal,
    Severity,
    StateRecord,
    StreamIdentity,
    TableName,
)
from flusso_core.observe.observer import NoopObserver, Observer, Phase
from flusso_core.testing import (
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
)

DATABASE = MemoryDatabase()
DESTINATION = MemoryDestination()
SUBJECT = "table public.parents"


class SourceOptions(BaseModel):
    rows: int = 5
    slot: str = "flusso"
    publication: str = "flusso"
    manage_publication: bool = True
    password: Secret | None = None
    broken: bool = False
    found: str | None = None


class SinkOptions(BaseModel):
    path: str
    pretty: bool = False
    hang: bool = False
    found: str | None = None
    refuses: str | None = None
    down: bool = False
    past: bool = False
    forgetful: bool = False
    holds: str | None = Field(default=None, description="Documents by id, all that is served.")
    behind: int = 0


class PlainOptions(BaseModel):
    file: str = Field(description="Where lines go.")
    token: Secret


class FakeCapture(MemoryCapture):
    def __init__(self, options: SourceOptions) -> None:
        super().__init__(DATABASE)
        self._options = options

    async def open(self) -> None:
        if self._options.broken:
            raise SourceFatal("the role may not replicate")

    async def check(self) -> Sequence[Finding]:
        found = self._options.found
        return () if found is None else [Finding(Severity.WARNING, SUBJECT, found, "ALTER x")]

    async def teardown(self, *, dry_run: bool) -> Sequence[Removal]:
        if not dry_run:
            await asyncio.to_thread(Path("torn-down").touch)
        return [Removal("stream flusso"), Removal(SUBJECT, "others use it: DROP x")]


class FakeSink(MemorySink):
    def __init__(self, context: SinkContext[SinkOptions]) -> None:
        self._destination = DESTINATION
        super().__init__(self._destination)
        self._context = context

    @property
    def capabilities(self) -> SinkCapabilities:
        return replace(super().capabilities, records=not self._context.options.forgetful)

    async def open(self) -> None:
        if self._context.options.down:
            raise SinkUnavailable("nobody listens at 127.0.0.1:1")
        if self._context.options.past:
            lay_out(self._destination)
        if self._context.options.holds is not None and not self._destination.records:
            fill(self._destination, self._context.options)

    async def generations(self, index: str) -> Sequence[Generation]:
        found = await super().generations(index)
        return [replace(one, foreign=one.schema_hash == "theirs") for one in found]

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        if self._context.options.hang:
            await asyncio.Event().wait()
        return await super().flush(documents, caught_up=caught_up)

    async def close(self) -> None:
        documents = self._destination.search("parents")
        written = {
            "prefix": self._context.prefix,
            "pretty": self._context.options.pretty,
            "documents": {key: json.loads(body) for key, body in documents.items()},
            "generations": sorted(number for _, number in self._destination.generations),
        }
        await asyncio.to_thread(Path(self._context.options.path).write_text, json.dumps(written))

    async def check(self) -> Sequence[Finding]:
        found = self._context.options.found
        return () if found is None else [Finding(Severity.ERROR, "cluster", found)]

    async def check_index(self, mapping: IndexMapping) -> Sequence[Finding]:
        refused = self._context.options.refuses
        return [
            Finding(
                Severity.ERROR, f"index {mapping.index!r}", f"the field {field.name} is refused"
            )
            for field in mapping.fields
            if field.name == refused
        ]


def lay_out(destination: MemoryDestination) -> None:
    """A generation of every kind: one serves while the newest is filled."""
    hashes = {1: "theirs", 2: "older", 3: "older", 4: "older", 5: "newer"}
    for number, schema in hashes.items():
        where = ("parents", number)
        destination.generations[where] = {}
        destination.schemas[where] = schema
        destination.made[where] = ""
        for key in range(number):
            identity = DocumentId("parents", number, (str(key),))
            destination.apply(Document(identity, b"{}", 1))
    destination.serving["parents"] = 4
    middle = ("m",)
    ranges = (RangeProgress(KeyRange(None, middle), done=True), RangeProgress(KeyRange(middle)))
    destination.records["parents"] = StateRecord(
        "parents",
        StreamIdentity("7301", "shop", "flusso", "1"),
        Position(7, "0/7"),
        current=GenerationRecord(5, "newer", ranges=ranges),
        serving=GenerationRecord(4, "older", seeded=True),
        kept=(GenerationRecord(2, "older", seeded=True),),
    )


def fill(destination: MemoryDestination, options: SinkOptions) -> None:
    """One generation, which is said to be right up to so many commits before the last one."""
    head = DATABASE.head - options.behind
    destination.generations["parents", 1] = {}
    destination.schemas["parents", 1] = "00000000"
    destination.made["parents", 1] = ""
    destination.serving["parents"] = 1
    for key, document in json.loads(options.holds or "").items():
        identity = DocumentId("parents", 1, (key,))
        destination.apply(Document(identity, json.dumps(document).encode(), 1))
    destination.records["parents"] = StateRecord(
        "parents",
        DATABASE.identity,
        Position(head, str(head)),
        GenerationRecord(1, "00000000", seeded=True),
    )


@hookimpl
def flusso_capture() -> CapturePlugin:
    return CapturePlugin(name="fake", options=SourceOptions, create=_create_capture)


@hookimpl
def flusso_builder() -> BuilderPlugin:
    return BuilderPlugin(
        name="fake", options=SourceOptions, create=_create_builder, introspect=_introspect
    )


@hookimpl
def flusso_sink() -> SinkPlugin:
    return SinkPlugin(name="fake", options=SinkOptions, create=_create_sink, describe=_describe)


class Plain:
    """A sink of another type, whose definition nobody can describe."""

    @staticmethod
    @hookimpl
    def flusso_sink() -> SinkPlugin:
        return SinkPlugin(name="plain", options=PlainOptions, create=_create_sink)


plain = Plain()


@hookimpl
def flusso_observer() -> Observer:
    return _Raising()


class _Raising(NoopObserver):
    def phase(self, phase: Phase) -> None:
        raise RuntimeError("a hook that fails")


def _create_capture(context: SourceContext[SourceOptions]) -> ChangeCapture:
    options = context.options
    if options.password is not None:
        options.password.resolve(what="source.password")
    _fill(options)
    return FakeCapture(options)


def _create_builder(context: SourceContext[SourceOptions]) -> DocumentBuilder:
    _fill(context.options)
    return MemoryBuilder(DATABASE, index=context.schemas[0].index)


async def _introspect(_: SourceContext[SourceOptions]) -> Sequence[CatalogueTable]:
    key = CatalogueColumn("key", "text", FieldType.KEYWORD, required=True)
    name = CatalogueColumn("name", "text", FieldType.TEXT)
    return [
        CatalogueTable(TableName("public", "parents"), (key, name), ("key",)),
        CatalogueTable(TableName("old", "parents"), (key, name), ("key",)),
    ]


def _fill(options: SourceOptions) -> None:
    """Put the rows there, unless they are; they are older than the stream."""
    for number in range(0 if DATABASE.head else options.rows):
        name = f"{options.slot} {options.publication} {options.manage_publication}"
        DATABASE.commit(DATABASE.put_parent(str(number), name))
    DATABASE.confirmed = DATABASE.head


def _create_sink(context: SinkContext[SinkOptions]) -> Sink:
    return FakeSink(context)


def _describe(context: SinkContext[SinkOptions], mapping: IndexMapping) -> Mapping[str, JsonValue]:
    return {"fields": [field.name for field in mapping.fields], "prefix": context.prefix}
