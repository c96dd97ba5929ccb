"""Reading all rows of a generation, where it needs that: when, and how far it has come."""

from __future__ import annotations

import asyncio

from flusso_core.engine.progress import Progress
from flusso_core.engine.records import Records
from flusso_core.engine.seeder import Seeder
from flusso_core.engine.series import Series


class Filling:
    """Decides between a seed, a sweep and neither, and has the records follow it.

    Args:
        records: what the destination remembers.
        seeder: reads the rows.
        skip_backfill: take every new generation for filled without reading its rows.
    """

    def __init__(self, records: Records, seeder: Seeder, *, skip_backfill: bool) -> None:
        self._records = records
        self._seeder = seeder
        self._skip_backfill = skip_backfill
        self._settled = asyncio.Event()

    def allow(self) -> None:
        """The source has settled: pages may be read."""
        self._settled.set()

    async def fill(self, series: Series) -> bool:
        """Read all rows, if that is what the generation needs; returns whether it has all.

        It has not where the run was drained meanwhile.
        """
        target = series.target
        generation = self._records.generation(target)
        if generation is None or generation.clean:
            return True
        if self._skip_backfill and not generation.seeded:
            return True
        await self._settled.wait()
        if generation.ranges:
            progress = Progress(generation.ranges)
        else:
            progress = await self._seeder.spans(series)
        # The ranges are durable before the first page, so that a restart has the same ones.
        self._records.follow(target, progress)
        await self._records.stored()
        await (self._seeder.sweep if generation.seeded else self._seeder.seed)(series, progress)
        return progress.done
