"""What becomes of suspects: looked at until there is a verdict, told, and repaired."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from flusso_core.interfaces import Sink
from flusso_core.model import Key, StoredDocument, document_id_text
from flusso_core.verify.comparison import differing_paths
from flusso_core.verify.report import MOST_PATHS, MOST_SHOWN, Difference, Kind, Report
from flusso_core.verify.sides import Sides
from flusso_core.verify.standing import Standing
from flusso_core.verify.suspects import Suspects, Verdict

logger = logging.getLogger(__name__)

Repair = Callable[[Sequence[Key]], Awaitable[None]]
"""Builds documents anew; returns when they have landed."""


class Inquiry:
    """Judges documents that seemed to differ.

    Args:
        sides: reads them again.
        standing: tells when what had been committed has landed.
        sink: knows what it has refused.
        repair: builds anew what differs for certain; `None`: nothing does.
    """

    def __init__(self, sides: Sides, standing: Standing, sink: Sink, repair: Repair | None) -> None:
        self._sides = sides
        self._standing = standing
        self._sink = sink
        self._repair = repair
        self._judging = asyncio.Lock()
        self._repaired = 0
        self._refused: frozenset[str] | None = None
        self._waited = False

    @property
    def repaired(self) -> int:
        """How many documents differed, and are right now."""
        return self._repaired

    async def judge(self, keys: Iterable[Key], report: Report) -> None:
        """Find out about each of them, repair what is wrong, and report what differs."""
        async with self._judging:
            await self._judge(keys, report)

    async def _judge(self, keys: Iterable[Key], report: Report) -> None:
        differences = await self._verdicts(keys)
        wrong = [key for key, one in differences.items() if one.verdict is Verdict.DRIFT]
        if wrong and self._repair is not None:
            await self._repair(wrong)
            self._refused = None  # it may have refused more
            for key in wrong:
                del differences[key]
            still = await self._verdicts(wrong)
            self._repaired += len(wrong) - len(still)
            differences |= still
        await self._tell(differences, report)

    async def _verdicts(self, keys: Iterable[Key]) -> dict[Key, Difference]:
        """Those of the documents that differ, and what that means."""
        suspects = Suspects(keys)
        differences: dict[Key, Difference] = {}
        applied = True
        while suspects.keys:
            suspects.look()
            await self._look(suspects, differences, applied=applied)
            if suspects.keys:
                self._say_once(len(suspects.keys))
                applied = await self._standing.applied()
        return differences

    async def _look(
        self, suspects: Suspects, differences: dict[Key, Difference], *, applied: bool
    ) -> None:
        keys, at = suspects.keys, 0
        while at < len(keys):
            some = keys[at : at + self._sides.limit]
            at += len(some)
            # This order: what is seen of the source is never older than what is stored.
            stored = await self._sides.stored(some)
            expected = await self._sides.expected(some)
            for key in some:
                if key not in expected:
                    suspects.drop(key)
                    continue
                verdict = suspects.saw(key, expected[key], stored[key], applied=applied)
                if verdict is not None and verdict is not Verdict.RIGHT:
                    shown = len(differences) < MOST_SHOWN
                    differences[key] = _difference(
                        verdict, expected[key], stored[key], most_paths=MOST_PATHS * shown
                    )

    def _say_once(self, count: int) -> None:
        """Whoever watches may wonder why nothing moves."""
        if not self._waited:
            logger.info("%d documents may differ: waiting for changes on their way to them", count)
        self._waited = True

    async def _tell(self, differences: Mapping[Key, Difference], report: Report) -> None:
        """Report what differs, and which of it the sink has refused."""
        if not differences:
            return
        if self._refused is None:
            entries = [
                document_id_text(entry.key)
                async for entry in self._sink.quarantined()
                if entry.index == report.index
            ]
            self._refused = frozenset(entries)
        for one in differences.values():
            report.add(replace(one, quarantined=one.id in self._refused))


def _difference(
    verdict: Verdict, expected: bytes | None, stored: StoredDocument, *, most_paths: int
) -> Difference:
    if expected is None:
        return Difference(stored.id, Kind.EXTRA, verdict)
    if stored.body is None:
        return Difference(stored.id, Kind.MISSING, verdict)
    paths = differing_paths(expected, stored.body, most_paths)
    return Difference(stored.id, Kind.STALE, verdict, tuple(paths))
