"""Both sides of a comparison: what the source would have written, and what a sink has."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from flusso_core.engine.retry import Retrier
from flusso_core.engine.transforms import Transforms
from flusso_core.interfaces import Sink
from flusso_core.model import (
    BuiltDocument,
    Document,
    DocumentId,
    Key,
    KeyRange,
    StoredDocument,
    StrayKey,
    document_id_text,
)
from flusso_core.verify.served import Served

_MOST_DOCUMENTS = 1000
_MOST_BYTES = 16 * 1024 * 1024
"""Of documents that are read of one side at once, as far as their usual size tells."""

_FIRST_GUESS_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class ExpectedPage:
    """A page of the source: each row's document as it would be written, and where to go on."""

    documents: Mapping[Key, bytes | None]
    cursor: Key | None


class Sides:
    """Reads documents of one generation and those that it should have.

    What fails for now is tried again.

    Args:
        sink: the destination.
        served: the generation, and what builds its documents.
        transforms: what changes documents before they are written.
        retrier: how failures that pass are tried again.
    """

    def __init__(
        self, sink: Sink, served: Served, transforms: Transforms, retrier: Retrier
    ) -> None:
        self._sink = sink
        self._builder = served.builder
        self._mapping = served.mapping
        self._generation = served.number
        self._index = served.mapping.index
        self._transforms = transforms
        self._retrier = retrier
        self._document_bytes = float(_FIRST_GUESS_BYTES)

    @property
    def limit(self) -> int:
        """Documents to read at once, by count and by their usual size."""
        return max(1, min(_MOST_DOCUMENTS, int(_MOST_BYTES / self._document_bytes)))

    async def estimate(self) -> int | None:
        """About how many rows there are."""
        return await self._retrier.run(
            f"estimating {self._index}", lambda: self._builder.estimate(self._index)
        )

    async def ranges(self, count: int) -> Sequence[KeyRange]:
        """The source's keys in so many ranges at most."""
        return await self._retrier.run(
            f"dividing {self._index}", lambda: self._builder.ranges(self._index, count)
        )

    async def page(self, span: KeyRange, after: Key | None) -> ExpectedPage:
        """The next rows of a range."""
        page = await self._retrier.run(
            f"reading {self._index}",
            lambda: self._builder.page(self._index, span, after, self.limit),
        )
        return ExpectedPage(self._expected(page.documents), page.cursor)

    async def expected(self, keys: Sequence[Key]) -> Mapping[Key, bytes | None]:
        """What each of these documents should be; `None`: it should not be there.

        A stray whose id some row has by now is left out: its document is that of the row's key.
        """
        strays = [key for key in keys if isinstance(key, StrayKey)]
        rows = [key for key in keys if not isinstance(key, StrayKey)]
        found = await self._retrier.run(f"reading {self._index}", lambda: self._build(rows))
        if strays:
            texts = [key[0] for key in strays]
            lacking = await self._retrier.run(
                f"looking up ids of {self._index}",
                lambda: self._builder.missing(self._index, texts),
            )
            missing = {document_id_text(key) for key in lacking}
            found |= {key: None for key in strays if key[0] in missing}
        return found

    async def stored(self, keys: Sequence[Key]) -> Mapping[Key, StoredDocument]:
        """What the sink has of each of these documents."""
        ids = {document_id_text(key): key for key in keys}
        return await self._retrier.run(
            f"reading documents of {self._index} back", lambda: self._read(ids)
        )

    async def present(self, keys: Sequence[Key]) -> Collection[Key]:
        """Those of the documents that the sink has, whatever it has of them."""
        ids = {document_id_text(key): key for key in keys}
        found = await self._retrier.run(
            f"looking up ids of {self._index}",
            lambda: self._sink.present(self._mapping, self._generation, list(ids)),
        )
        return {ids[one] for one in found}

    async def lacking(self) -> AsyncGenerator[tuple[int, Sequence[Key]], None]:
        """Go through the sink's ids: how many at once, and those of them that the source lacks.

        Raises:
            SourceUnavailable: the source cannot be asked now; begin again.
            SinkUnavailable: the sink cannot be asked now; begin again.
        """
        listed = self._sink.document_ids(self._mapping, self._generation)
        async with aclosing(listed) as chunks:
            async for ids in chunks:
                yield len(ids), await self._builder.missing(self._index, ids)

    async def _build(self, keys: Sequence[Key]) -> dict[Key, bytes | None]:
        found: dict[Key, bytes | None] = {}
        async with aclosing(self._builder.build(self._index, keys)) as chunks:
            async for documents in chunks:
                found |= self._expected(documents)
        return found

    async def _read(self, ids: Mapping[str, Key]) -> Mapping[Key, StoredDocument]:
        found: dict[Key, StoredDocument] = {}
        reading = self._sink.documents(self._mapping, self._generation, list(ids))
        async with aclosing(reading) as chunks:
            async for documents in chunks:
                found |= {ids[document.id]: document for document in documents}
        return found

    def _expected(self, built: Sequence[BuiltDocument]) -> dict[Key, bytes | None]:
        """What a run would write: after the transforms; where one fails, what it was given."""
        if not built:
            return {}
        size = sum(len(body) for _, body in built if body is not None) / len(built)
        self._document_bytes += (max(1.0, size) - self._document_bytes) / 4
        ready, failed = self._transforms.apply(
            [
                Document(DocumentId(self._index, self._generation, key), body, 0)
                for key, body in built
            ]
        )
        expected = {document.id.key: document.body for document in ready}
        return expected | {one.document.id.key: one.document.body for one in failed}
