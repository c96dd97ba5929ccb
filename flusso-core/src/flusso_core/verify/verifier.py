"""The comparison of a source with what a sink serves, while both go on living."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

from flusso_core.engine.groups import ungrouped
from flusso_core.engine.retry import Retrier
from flusso_core.engine.transforms import Transforms
from flusso_core.interfaces import ChangeCapture, DocumentBuilder, DocumentTransform, Sink
from flusso_core.model import Key, KeyRange, document_id_text
from flusso_core.verify.comparison import same
from flusso_core.verify.inquiry import Inquiry, Repair
from flusso_core.verify.report import Report
from flusso_core.verify.sample import Draw, Sample
from flusso_core.verify.served import (
    NotComparable,
    Served,
    built_by,
    record_of,
    require_capable,
    require_seen,
    require_stream,
    serving,
)
from flusso_core.verify.sides import ExpectedPage, Sides
from flusso_core.verify.standing import Standing

MOST_SUSPECTS = 5000
"""Documents that may differ and have yet to be looked at: then they are, before more is read."""

_RANGES_PER_READER = 4

Progressed = Callable[[int, int | None], None]
"""Told how many documents of the source have been seen to, and about how many there are."""


class Verifier:
    """Compares one index of a sink with the source: all ids, and the content of all or a sample.

    Nothing is stopped, and nothing is written by itself: no lease is taken and no position
    confirmed. The edges are open and belong to the caller.

    ```python
    report = await Verifier(capture, builder, sink, "users", name="search", retrier=retrier).run()
    assert report.drift == 0
    ```

    Args:
        capture: knows where the source's stream ends.
        builder: reads the source.
        sink: the destination.
        index: the logical name.
        name: of the sink.
        retrier: how failures that pass are tried again.
        transforms: index to what changes its documents before they are written.
        readers: key ranges that are read at once.
        patience: seconds for which the index may get no further before it counts as one that
            nobody keeps right now.
        most_suspects: documents that may differ and are held in memory.
        sample: of how many documents the content is compared; `None`: of all. Ids are looked up
            in any case, those of the source at the sink and those of the sink in the source.
    """

    def __init__(
        self,
        capture: ChangeCapture,
        builder: DocumentBuilder,
        sink: Sink,
        index: str,
        *,
        name: str,
        retrier: Retrier,
        transforms: Mapping[str, Sequence[DocumentTransform]] | None = None,
        readers: int = 2,
        patience: float = 30.0,
        most_suspects: int = MOST_SUSPECTS,
        sample: Sample | None = None,
    ) -> None:
        self._capture = capture
        self._builder = builder
        self._sink = sink
        self._index = index
        self._name = name
        self._retrier = retrier
        self._transforms = Transforms(transforms or {})
        self._readers = readers
        self._patience = patience
        self._most_suspects = most_suspects
        self._sample = sample

    async def run(
        self, *, repair: Repair | None = None, progressed: Progressed | None = None
    ) -> Report:
        """Compare documents, and look for those that the sink has and the source has not.

        Args:
            repair: builds anew what differs for certain, which is then compared once more.
            progressed: told how many documents of the source have been seen to, and about how many
                there are.

        Raises:
            NotComparable: the sink gives nothing back, the index is not filled, or another
                generation took the place of the one that was compared.
        """
        async with self._served() as served:
            standing = Standing(
                self._capture,
                self._sink,
                self._index,
                name=self._name,
                generation=served.number,
                retrier=self._retrier,
                patience=self._patience,
            )
            sides = Sides(self._sink, served, self._transforms, self._retrier)
            inquiry = Inquiry(sides, standing, self._sink, repair)
            seed = None if self._sample is None else self._sample.seed
            report = Report(self._name, self._index, served.number, seed=seed)
            comparison = _Comparison(sides, inquiry, report, self._most_suspects, self._sample)
            await comparison.run(self._readers, self._retrier, progressed or _nobody)
            report.repaired = inquiry.repaired
            report.behind = standing.behind
        return report

    @asynccontextmanager
    async def _served(self) -> AsyncGenerator[Served, None]:
        """What searches see, and an open builder of its documents."""
        require_capable(self._name, self._sink.capabilities)
        records = await self._retrier.run("reading the state records", self._sink.load_records)
        record = record_of(records, self._index, self._name)
        generation = serving(record, self._name)
        identity = await self._retrier.run("asking the source", self._capture.identity)
        require_stream(record, identity, self._name)
        existing = await self._retrier.run(
            "listing generations", lambda: self._sink.generations(self._index)
        )
        require_seen(generation, existing, self._index, self._name)
        served = built_by(generation, self._builder, self._index)
        if served.builder is self._builder:
            yield served
            return
        async with served.builder as builder:
            for unfit in builder.unfit():
                raise NotComparable(f"index {unfit.index}: {unfit.reason}")
            yield served


class _Comparison:
    """One pass over both sides, several key ranges at once."""

    def __init__(
        self,
        sides: Sides,
        inquiry: Inquiry,
        report: Report,
        most_suspects: int,
        sample: Sample | None,
    ) -> None:
        self._sides = sides
        self._inquiry = inquiry
        self._report = report
        self._most_suspects = most_suspects
        self._sample = sample

    async def run(self, readers: int, retrier: Retrier, progressed: Progressed) -> None:
        """Compare everything, and judge what differs."""
        estimate = await self._sides.estimate()
        draw = None if self._sample is None else self._sample.draw(estimate)
        spans = list(await self._sides.ranges(readers * _RANGES_PER_READER))
        spans.reverse()
        progressed(0, estimate)
        report = self._report
        suspects = _Suspected(self._inquiry, report, self._most_suspects)

        async def read() -> None:
            while spans:
                async for page in self._pages(spans.pop()):
                    await suspects.add(await self._differing(page, draw))
                    progressed(report.expected, estimate)

        with ungrouped():
            async with asyncio.TaskGroup() as tasks:
                listing = tasks.create_task(retrier.run("comparing ids", self._compare_ids))
                for _ in range(readers):
                    tasks.create_task(read())
        await suspects.judge()
        report.include(listing.result())

    async def _pages(self, span: KeyRange) -> AsyncGenerator[ExpectedPage, None]:
        """All of a range."""
        cursor: Key | None = None
        while True:
            page = await self._sides.page(span, cursor)
            yield page
            cursor = page.cursor
            if cursor is None:
                return

    async def _differing(self, page: ExpectedPage, draw: Draw | None) -> list[Key]:
        """Those of a page's documents that the sink seems not to have as they should be.

        Of one that is not drawn that is only whether it is there.
        """
        drawn = [key for key in page.documents if draw is None or draw.takes(document_id_text(key))]
        stored = await self._sides.stored(drawn)
        others = page.documents.keys() - stored.keys()
        present = await self._sides.present(list(others)) if others else ()
        expected = {key for key, body in page.documents.items() if body is not None}
        self._report.expected += len(expected)
        self._report.documents += len(expected - others)
        differing = [key for key in drawn if not same(page.documents[key], stored[key].body)]
        return differing + [key for key in others if (key in expected) != (key in present)]

    async def _compare_ids(self) -> Report:
        """Find documents of the sink that the source lacks.

        What it finds is in a report of its own: where the listing fails, it begins anew.
        """
        report = Report(self._report.sink, self._report.index, self._report.generation)
        suspects = _Suspected(self._inquiry, report, self._most_suspects)
        async with aclosing(self._sides.lacking()) as found:
            async for count, keys in found:
                report.stored += count
                await suspects.add(keys)
        await suspects.judge()
        return report


class _Suspected:
    """Documents that may differ, judged many at a time, and never more than so many held."""

    def __init__(self, inquiry: Inquiry, report: Report, most: int) -> None:
        self._inquiry = inquiry
        self._report = report
        self._most = most
        self._keys: dict[Key, None] = {}

    async def add(self, keys: Sequence[Key]) -> None:
        """Note these; where there are many by now, find out about all of them."""
        self._keys |= dict.fromkeys(keys)
        if len(self._keys) >= self._most:
            await self.judge()

    async def judge(self) -> None:
        """Find out about those that there are."""
        keys, self._keys = self._keys, {}
        if keys:
            await self._inquiry.judge(keys, self._report)


def _nobody(_: int, __: int | None) -> None:
    """Nobody wants to know."""
