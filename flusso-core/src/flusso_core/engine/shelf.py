"""The generations that there are at a destination: each request is tried until it works."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from flusso_core.engine.ledger import Target
from flusso_core.engine.planner import unnamed
from flusso_core.engine.retry import Retrier
from flusso_core.engine.series import Series
from flusso_core.interfaces import Sink
from flusso_core.model import Generation, StateRecord


class Shelf:
    """Makes, shows and drops generations.

    Args:
        sink: the destination.
        retrier: how failures that pass are tried again.
    """

    def __init__(self, sink: Sink, retrier: Retrier) -> None:
        self._sink = sink
        self._retrier = retrier
        self._made: dict[Target, Generation] = {}

    async def existing(self, index: str) -> Sequence[Generation]:
        """Those of an index, of all schemas."""
        return await self._retrier.run(
            "listing generations", partial(self._sink.generations, index)
        )

    async def take(self, series: Series, *, is_there: bool) -> None:
        """Have it take writes: one that is there is gone on with, any other one is made.

        Raises:
            GenerationLost: it was there, and is not any more.
        """
        index, number = series.target
        if is_there:
            await self._retrier.run(
                "resuming a generation",
                partial(self._sink.resume_generation, series.mapping, number),
            )
            return
        await self._retrier.run(
            "beginning a generation",
            partial(self._sink.begin_generation, series.mapping, number),
        )
        self._made[series.target] = Generation(index, number, series.mapping.schema_hash)

    async def serve(self, series: Series) -> None:
        """Have searches see it."""
        await self._retrier.run(
            "serving a generation",
            partial(self._sink.serve_generation, series.mapping, series.target.generation),
        )

    async def clean(self, record: StateRecord) -> None:
        """Drop what an index's durable record does not name."""
        # A sink without records lists none: then it is what this run has made.
        made = [one for one in self._made.values() if one.index == record.index]
        for generation in unnamed(await self.existing(record.index) or made, record):
            self._made.pop(Target(record.index, generation.number), None)
            await self._retrier.run(
                "dropping a generation", partial(self._sink.drop_generation, generation)
            )
