"""The conformance kit of builders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

import pytest

from flusso_core.interfaces import DocumentBuilder
from flusso_core.model import (
    BuiltDocument,
    Change,
    IndexKeys,
    Key,
    KeyRange,
    Operation,
    RowImage,
    Severity,
    TableName,
    document_id_text,
)
from flusso_core.testing.conformance.promise import Promise, shown
from flusso_core.testing.conformance.source.bench import GUIDE, SourceBench, SourceChecks
from flusso_core.testing.conformance.source.rows import (
    CHILDREN,
    INDEX,
    PARENTS,
    Delete,
    Put,
    Rekey,
    Rows,
    keys,
    parsed,
)

BUILT = Promise("a document is built from the rows that are there now", GUIDE)
ONCE = Promise("`build` gives each key exactly once, without a body where there is no row", GUIDE)
LINE = Promise("a body is UTF-8 JSON on one line", GUIDE)
RESOLVED = Promise("`resolve` covers the documents of old and of new keys, at every level", GUIDE)
EMPTIED = Promise("`resolve` of a TRUNCATE touches every document of the index", GUIDE)
RANGES = Promise("ranges are no more than asked for, and cover every row once", GUIDE)
PAGES = Promise("pages come in key order, within their limit, and go on after their cursor", GUIDE)
SPELLED = Promise("a key is spelled alike by pages, builds and changes", GUIDE)
MISSING = Promise("`missing` tells exactly the ids for which there is no document now", GUIDE)
SHARED = Promise("reads run side by side, and one that is given up harms no other", GUIDE)
KNOWN = Promise("mappings are known before `open`, and `check` finds no error", GUIDE)
CLOSES = Promise("`close` may come twice, and without `open`", GUIDE)
SECRET = Promise("no secret shows in a `repr`", GUIDE)

_NONE: set[str] = set()
_PARENTS = 250
_ODD = ("", "~", "'", '"', "\\", "a\nb", "a/b", "ü😀", "A", "a", "10", "9", " ", "%", "_")


class BuilderConformance(SourceChecks):
    """Everything that the engine relies on in a builder.

    Subclass it and give a fixture `bench` that returns a `SourceBench` on an empty database:

    ```python
    class TestMyBuilder(BuilderConformance):
        @pytest.fixture
        def bench(self, database: str) -> MyBench:
            return MyBench(database)
    ```
    """

    async def test_documents_are_built_from_the_rows(self, bench: SourceBench) -> None:
        """They equal those that plain Python makes of the same rows, and follow them."""
        await _fill(bench)
        async with _opened(bench) as builder:
            await _compare(bench, await _build(builder, keys(await bench.rows())), "at first")
            await bench.commit(
                Put(PARENTS, "p001", "renamed"),
                Delete(PARENTS, "p002"),
                Rekey(PARENTS, "p003", "q003"),
                Put(CHILDREN, "c0", "p001"),
                Delete(CHILDREN, "c1"),
            )
        async with _opened(bench) as builder:
            await _compare(bench, await _build(builder, keys(await bench.rows())), "later")

    async def test_each_key_comes_once(self, bench: SourceBench) -> None:
        """Those without a row among them, however many there are."""
        await _fill(bench)
        asked = [
            key for number in range(_PARENTS) for key in ((f"p{number:03}",), (f"no{number}",))
        ]
        async with _opened(bench) as builder:
            chunks = [chunk async for chunk in builder.build(INDEX, asked)]
            none = [chunk async for chunk in builder.build(INDEX, [])]
        ONCE.same(sorted(one.key for chunk in chunks for one in chunk), sorted(asked), "the keys")
        absent = {key for chunk in chunks for key, body in chunk if body is None}
        ONCE.same(absent, {key for key in asked if key[0].startswith("no")}, "keys without a row")
        ONCE.same([one for chunk in none for one in chunk], [], "a build of nothing")

    async def test_a_body_is_one_line(self, bench: SourceBench) -> None:
        """It goes into requests as it is."""
        await bench.commit(Put(PARENTS, "a", 'line\nfeed \\ " \t ü😀 \u2028'))
        async with _opened(bench) as builder:
            found = await _build(builder, [("a",)])
        body = found["a"].body or b""
        if b"\n" in body or b"\r" in body:
            raise LINE.broken(shown(body))
        await _compare(bench, found, "a name of many kinds of characters")

    async def test_changes_resolve_to_old_and_new_documents(self, bench: SourceBench) -> None:
        """Of a root row and of its child: inserted, updated, moved, deleted."""
        await _fill(bench)
        for doing, table, before, after, expected in _CHANGES:
            operation = Operation.DELETE if after is None else Operation.UPSERT
            async with _opened(bench) as builder:
                found = await _resolve(builder, Change(table, operation, before, after))
            RESOLVED.same(expected - found, _NONE, f"{doing}: the documents that were not found")

    async def test_many_changes_resolve_together(self, bench: SourceBench) -> None:
        """As many as a batch may hold."""
        await _fill(bench)
        changes = [
            Change(CHILDREN, Operation.UPSERT, None, {"key": f"x{number}", "parent": parent})
            for number in range(2000)
            for parent in (f"p{number % _PARENTS:03}",)
        ]
        async with _opened(bench) as builder:
            found = await _resolve(builder, *changes)
            nothing = await _resolve(builder)
        missing = {f"p{number:03}" for number in range(_PARENTS)} - found
        RESOLVED.same(missing, _NONE, "the documents that were not found")
        RESOLVED.same(nothing, _NONE, "no change")

    @pytest.mark.parametrize("table", [PARENTS, CHILDREN], ids=str)
    async def test_a_truncate_touches_every_document(
        self, bench: SourceBench, table: TableName
    ) -> None:
        """By a notice that voids the index, or by the key of each of its documents."""
        await _fill(bench)
        notices = 0
        found: set[str] = set()
        async with _opened(bench) as builder:
            change = Change(table, Operation.TRUNCATE, None, None)
            async for one in builder.resolve([change]):
                if isinstance(one, IndexKeys):
                    found |= {key[0] for key in one.keys}
                else:
                    EMPTIED.same(one.index, INDEX, "the index of a notice")
                    notices += 1
        if table == PARENTS and not notices:
            raise EMPTIED.broken("no notice that the root table was emptied")
        if not notices:
            expected = set((await bench.rows()).parents)
            EMPTIED.same(expected - found, _NONE, "the documents that were not found")

    @pytest.mark.parametrize("count", [1, 7, 1000])
    @pytest.mark.parametrize("parents", [0, 1, _PARENTS])
    async def test_ranges_cover_every_row_once(
        self, bench: SourceBench, parents: int, count: int
    ) -> None:
        """Of an empty table too: they cover what comes later."""
        await _fill(bench, parents)
        async with _opened(bench) as builder:
            spans = await builder.ranges(INDEX, count)
            if not 1 <= len(spans) <= count:
                raise RANGES.broken(f"{len(spans)} ranges instead of 1 to {count}")
            found = [one.key for span in spans for one in await _read(builder, span, 100)]
        RANGES.same(sorted(found), keys(await bench.rows()), "all ranges together")
        await bench.commit(Put(PARENTS, "", "first"), Put(PARENTS, "zzz", "last"))
        async with _opened(bench) as builder:
            found = [one.key for span in spans for one in await _read(builder, span, 100)]
        RANGES.same(sorted(found), keys(await bench.rows()), "with rows that came later")

    @pytest.mark.parametrize("limit", [1, 10, 1000])
    async def test_pages_go_on_after_their_cursor(self, bench: SourceBench, limit: int) -> None:
        """In another run too: the cursor was stored."""
        await _fill(bench, 40)
        found: list[BuiltDocument] = []
        after: Key | None = None
        while True:
            async with _opened(bench) as builder:
                page = await builder.page(INDEX, KeyRange(), after, limit)
            if len(page.documents) > limit:
                raise PAGES.broken(f"{len(page.documents)} documents with a limit of {limit}")
            found += page.documents
            if page.cursor is None:
                break
            if page.cursor == after:
                raise PAGES.broken(f"the cursor stays at {after}")
            after = page.cursor
        PAGES.same([one.key for one in found], _in_order(found), "the order of pages")
        await _compare(bench, {one.key[0]: one for one in found}, "all pages together")

    async def test_keys_are_spelled_alike(self, bench: SourceBench) -> None:
        """By pages and by builds; a key that is another one's prefix or case is another key."""
        await bench.commit(*(Put(PARENTS, key, f"name of {key!r}") for key in _ODD))
        async with _opened(bench) as builder:
            paged = {one.key[0]: one for one in await _read(builder, KeyRange(), 4)}
            built = await _build(builder, [(key,) for key in _ODD])
        SPELLED.same(paged, built, "pages and builds")
        await _compare(bench, paged, "odd keys")

    async def test_missing_tells_ids_without_a_document(self, bench: SourceBench) -> None:
        """The end of a sweep asks for those that a destination has."""
        await _fill(bench, 20)
        await bench.commit(Delete(PARENTS, "p003"), Put(PARENTS, "ü😀", "odd"))
        ids = [*(f"p{number:03}" for number in range(20)), "no such key", "ü😀"]
        async with _opened(bench) as builder:
            found = await MISSING.within(builder.missing(INDEX, ids), "missing")
        told = sorted(document_id_text(key) for key in found)
        MISSING.same(told, ["no such key", "p003"], "the ids that were told")

    async def test_reads_run_side_by_side(self, bench: SourceBench) -> None:
        """Builds, pages and resolves at once, and one that is given up half-way."""
        await _fill(bench)
        asked = keys(await bench.rows())
        async with _opened(bench) as builder:
            async with aclosing(builder.build(INDEX, asked)) as chunks:
                await anext(chunks)
            cancelled = asyncio.create_task(_build(builder, asked))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            change = Change(CHILDREN, Operation.DELETE, {"key": "c0", "parent": "p000"}, None)
            work = asyncio.gather(
                _build(builder, asked),
                _build(builder, asked[::-1]),
                _read(builder, KeyRange(), 50),
                _resolve(builder, change),
            )
            one, two, pages, _ = await SHARED.within(work, "reads side by side")
        SHARED.same(one, two, "two builds")
        await _compare(bench, one, "a build beside others")
        await _compare(bench, {each.key[0]: each for each in pages}, "pages beside others")

    async def test_what_is_known_without_a_connection(self, bench: SourceBench) -> None:
        """Mappings; and a check needs no `open` either."""
        builder = bench.builder()
        KNOWN.same(list(builder.mappings()), [INDEX], "the indexes")
        findings = await KNOWN.within(builder.check(), "check")
        errors = [finding for finding in findings if finding.severity is Severity.ERROR]
        KNOWN.same(errors, [], "`check` of tables that fit")
        await _fill(bench, 3)
        async with _opened(bench) as builder:
            estimate = await builder.estimate(INDEX)
        if estimate is not None and estimate < 0:
            raise KNOWN.broken(f"an estimate of {estimate} rows")

    async def test_close_may_come_at_any_time_and_twice(self, bench: SourceBench) -> None:
        """After `open`, and without it."""
        await CLOSES.within(bench.builder().close(), "close of a builder that was not opened")
        async with _opened(bench) as builder:
            pass
        await CLOSES.within(builder.close(), "a second close")

    async def test_no_secret_shows(self, bench: SourceBench) -> None:
        """Not in the text of the object, open or closed."""
        async with _opened(bench) as builder:
            text = repr(builder) + str(builder)
        for secret in bench.secrets:
            if secret in text + repr(bench.builder()):
                raise SECRET.broken(f"a secret of {len(secret)} characters")


_CHANGES: Sequence[tuple[str, TableName, RowImage | None, RowImage | None, set[str]]] = (
    ("a root row inserted", PARENTS, None, {"key": "p001"}, {"p001"}),
    ("a root row updated", PARENTS, {"key": "p001"}, {"key": "p001"}, {"p001"}),
    ("a root row's key changed", PARENTS, {"key": "gone"}, {"key": "p001"}, {"gone", "p001"}),
    ("a root row deleted", PARENTS, {"key": "gone"}, None, {"gone"}),
    ("a child inserted", CHILDREN, None, {"key": "x", "parent": "p001"}, {"p001"}),
    (
        "a child moved",
        CHILDREN,
        {"key": "c0", "parent": "p009"},
        {"key": "c0", "parent": "p001"},
        {"p009", "p001"},
    ),
    ("a child deleted", CHILDREN, {"key": "x", "parent": "p001"}, None, {"p001"}),
)


@asynccontextmanager
async def _opened(bench: SourceBench) -> AsyncGenerator[DocumentBuilder, None]:
    async with bench.builder() as builder:
        yield builder


async def _fill(bench: SourceBench, parents: int = _PARENTS) -> None:
    """Parents in an order that is not that of their keys, with two children each for some."""
    numbers = [number * 101 % parents for number in range(parents)]
    await bench.commit(
        *(Put(PARENTS, f"p{number:03}", f"name {number}") for number in numbers),
        *(Put(CHILDREN, f"c{number}", f"p{number // 2:03}") for number in range(parents)),
    )


async def _build(builder: DocumentBuilder, asked: Sequence[Key]) -> dict[str, BuiltDocument]:
    found: dict[str, BuiltDocument] = {}
    async with aclosing(builder.build(INDEX, asked)) as chunks:
        async for chunk in chunks:
            found |= {one.key[0]: one for one in chunk}
    return found


async def _resolve(builder: DocumentBuilder, *changes: Change) -> set[str]:
    found: set[str] = set()
    async with aclosing(builder.resolve(changes)) as touched:
        async for one in touched:
            if isinstance(one, IndexKeys):
                RESOLVED.same(one.index, INDEX, "the index of keys")
                found |= {key[0] for key in one.keys}
    return found


async def _read(builder: DocumentBuilder, span: KeyRange, limit: int) -> list[BuiltDocument]:
    """Every page of the range."""
    found: list[BuiltDocument] = []
    after: Key | None = None
    while True:
        page = await PAGES.within(builder.page(INDEX, span, after, limit), "a page")
        found += page.documents
        after = page.cursor
        if after is None:
            return found


def _in_order(found: Sequence[BuiltDocument]) -> list[Key]:
    return sorted(one.key for one in found)


async def _compare(bench: SourceBench, found: Mapping[str, BuiltDocument], when: str) -> None:
    rows: Rows = await bench.rows()
    bodies = {key: parsed(one.body) for key, one in found.items() if one.body is not None}
    BUILT.same(bodies, rows.documents(), when)
