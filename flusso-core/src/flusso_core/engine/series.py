"""A generation that gets changes, and what is needed to build its documents."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flusso_core.engine.ledger import Target
from flusso_core.engine.retry import Retrier
from flusso_core.interfaces import DocumentBuilder
from flusso_core.model import GenerationRecord, IndexMapping, StateRecord

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Series:
    """A live generation.

    Attributes:
        target: where its documents go.
        mapping: of the schema that they are built by.
        builder: builds them.
    """

    target: Target
    mapping: IndexMapping
    builder: DocumentBuilder


class Schemas:
    """The builder of each schema by which documents are built in this run.

    Args:
        builder: of the schemas as they are now.
        retrier: how failures that pass are tried again.
    """

    def __init__(self, builder: DocumentBuilder, retrier: Retrier) -> None:
        self.builder = builder
        self.mappings = builder.mappings()
        self._retrier = retrier
        self._older: dict[str, DocumentBuilder] = {}
        self._opened: dict[str, DocumentBuilder] = {}
        self._opening = asyncio.Lock()

    @property
    def builders(self) -> Sequence[DocumentBuilder]:
        """All that can be used, that of the schemas as they are now first."""
        return (self.builder, *self._older.values())

    def older(self, records: Iterable[StateRecord]) -> set[str]:
        """The stored schemas of generations that serve though their index has another one now."""
        found: set[str] = set()
        for record in records:
            mapping = self.mappings.get(record.index)
            for one in (record.current, record.serving):
                if mapping is None or one is None or one.schema is None or not one.seeded:
                    continue
                if one.schema_hash != mapping.schema_hash:
                    found.add(one.schema)
        return found

    async def open_older(self, schemas: Iterable[str]) -> None:
        """Open the builders of older schemas that the source covers, as far as there are any."""
        async with self._opening:
            for schema in sorted(schemas):
                builder = None if schema in self._opened else self.builder.older(schema)
                if builder is None:
                    continue
                self._opened[schema] = builder
                await self._retrier.run("connecting an older document builder", builder.open)
                for unfit in builder.unfit():
                    logger.warning("an older schema of index %s: %s", unfit.index, unfit.reason)
                if not builder.unfit():
                    self._older[schema] = builder

    async def close(self) -> None:
        """Close the builders of older schemas."""
        for builder in self._opened.values():
            await builder.close()

    def of(self, index: str, generation: GenerationRecord) -> Series | None:
        """What is needed to build that generation; `None`: nothing here builds by its schema."""
        target = Target(index, generation.number)
        mapping = self.mappings[index]
        if generation.schema_hash == mapping.schema_hash:
            return Series(target, mapping, self.builder)
        older = None if generation.schema is None else self._older.get(generation.schema)
        if older is None:
            return None
        found = older.mappings().get(index)
        if found is None or generation.schema_hash != found.schema_hash:
            return None
        return Series(target, found, older)
