"""Engines with random settings over counted edges, and what they may hold in memory."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager
from random import Random
from unittest.mock import patch

from flusso_core.engine import Engine, RetryPolicy
from flusso_core.interfaces import SinkCapabilities
from flusso_core.settings import BatchPolicy, Bounds, FailurePolicies, FailurePolicy
from flusso_core.testing import MemoryBuilder, MemoryCapture, MemoryDatabase, MemoryDestination
from flusso_core.testing.faults import FaultPlan

from .counting import CopyingSink, CountedLedger, CountedQueue, Tally


class Rig:
    """Makes engines between a database and its destinations, and looks at what they hold.

    Args:
        random: of every setting.
        database: the source.
        destinations: each gets a sink.
        faults: what goes wrong.

    Attributes:
        tally: of the documents that its engines hold.
    """

    def __init__(
        self,
        random: Random,
        database: MemoryDatabase,
        destinations: list[MemoryDestination],
        faults: FaultPlan,
    ) -> None:
        self._random = random
        self._database = database
        self._destinations = destinations
        self._faults = faults
        self.tally = Tally()
        self._bounds = Bounds()
        self._ledgers: list[CountedLedger] = []
        self._queues: list[CountedQueue] = []
        self._lanes: list[tuple[SinkCapabilities, int]] = []
        self._few = random.choice((2, 200))

    @contextmanager
    def playing(self) -> Generator[None, None, None]:
        """Engines have counted ledgers meanwhile, and nothing they do is left to another chance."""
        jitter = Random(self._random.random())
        with (
            patch("flusso_core.engine.lane.Ledger", self._ledger),
            patch("tenacity.wait.random", jitter),
        ):
            yield

    def engine(self, builder: MemoryBuilder) -> Engine:
        """An engine with settings of its own; what earlier ones held is forgotten."""
        random, faults = self._random, self._faults
        self._ledgers.clear()
        self._queues.clear()
        self.tally.largest = 0
        self._bounds = Bounds(
            max_documents=random.choice((3, 1000, 1000)),
            max_bytes=random.choice((6000, 1 << 20)),
            max_dirty=random.choice((1, 5, 1000)),
        )
        build_workers = random.choice((1, 3))
        sinks = {
            f"sink{number}": CopyingSink(
                destination,
                fault=faults.sink,
                refuses=faults.refuses,
                throttle=faults.throttles,
                pause=faults.pause,
                flushes_in_flight=random.choice((1, 2, 3)),
                max_documents=random.choice((1, 10, 50)),
            )
            for number, destination in enumerate(self._destinations)
        }
        self._lanes = [(sink.capabilities, build_workers) for sink in sinks.values()]
        return Engine(
            MemoryCapture(self._database, fault=faults.source),
            builder,
            sinks,
            batching=BatchPolicy(random.choice((1, 4, 100)), random.choice((0.0, 0.05))),
            bounds=self._bounds,
            failures=FailurePolicies(FailurePolicy.SKIP),
            queue=self._queue,
            retries=RetryPolicy(initial=0.01, maximum=0.5),
            backfill_workers=random.choice((1, 3)),
            build_workers=build_workers,
            drain_seconds=random.choice((0.001, 0.1, 5.0)),
        )

    def check(self) -> None:
        """The engine's counts are right, and within the bounds."""
        for ledger in self._ledgers:
            ledger.check()
        for queue in self._queues:
            queue.check()
        most = self._bounds.max_documents * len(self._destinations)
        most_bytes = self._most_bytes()
        if self.tally.documents > most or self.tally.bytes > most_bytes:
            gc.collect()  # what was cancelled may wait for that
        assert self.tally.documents <= most, "more documents are in memory than may be"
        assert self.tally.bytes <= most_bytes, "more bytes are in memory than may be"

    def _most_bytes(self) -> int:
        """Bytes of documents that may be in memory: the bound, and by what it may be exceeded.

        Each flight and each page has an equal share of `max_bytes`, and so has the body of each
        request, which a sink in memory does not make. A flight reads on while it
        holds no more than its share, and a page is read by the usual size of documents, so each
        may be over by one piece: what the builder gives at once, a page or a chunk of a build.
        """
        most = 0
        for sink, build_workers in self._lanes:
            count = build_workers + sink.flushes_in_flight
            shares = count + sink.flushes_in_flight
            share = min(sink.max_bytes, max(1, self._bounds.max_bytes // shares))
            most += min(count, self._bounds.max_documents) * (share + self.tally.largest)
        return most

    def _ledger(self, *, epoch: int) -> CountedLedger:
        ledger = CountedLedger(epoch=epoch, max_touched=self._few, bounds=self._bounds)
        self._ledgers.append(ledger)
        return ledger

    def _queue(self, _: str) -> CountedQueue:
        queue = CountedQueue(self._random.choice((4, 20, 1000)))
        self._queues.append(queue)
        return queue
