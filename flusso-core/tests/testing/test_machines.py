"""The queue and the sink in memory against models that are too simple to be wrong."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flusso_core.errors import SinkFatal, SinkUnavailable
from flusso_core.model import Change, ChangeBatch, Document, DocumentId, Operation, Position
from flusso_core.queue.memory import MemoryQueue
from flusso_core.testing import MemoryDestination, MemorySink, VirtualTimeLoop
from flusso_core.testing.conformance.samples import OTHER, SAMPLE, record
from flusso_core.testing.database import ROOT
from flusso_core.testing.faults import Fault, FaultPlan

T = TypeVar("T")
CAPACITY = 6
CHANGE = Change(ROOT, Operation.DELETE, {"key": "1"}, None)


class QueueModel(RuleBasedStateMachine):
    """Batches that wait in the queue, and producers that wait for room, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.queue = MemoryQueue(CAPACITY)
        self.inside: deque[ChangeBatch] = deque()
        self.producers: deque[tuple[asyncio.Task[None], ChangeBatch]] = deque()
        self.number = 0

    def teardown(self) -> None:
        self.runner.close()

    @rule(size=st.sampled_from((0, 1, 2, 5, 20)))
    def put(self, size: int) -> None:
        self.number += 1
        batch = ChangeBatch((CHANGE,) * size, Position(self.number, str(self.number)))
        task = self.runner.get_loop().create_task(self.queue.put(batch))
        self.producers.append((task, batch))
        self._settle()

    @rule()
    def take(self) -> None:
        found = self.queue.get_nowait()
        assert found == (self.inside.popleft() if self.inside else None)
        self._settle()

    @precondition(lambda self: self.inside)
    @rule()
    def wait_for_one(self) -> None:
        assert self.runner.run(self.queue.get()) == self.inside.popleft()
        self._settle()

    @precondition(lambda self: self.producers)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """A producer is cancelled, and what it held never comes."""
        number = data.draw(st.integers(0, len(self.producers) - 1))
        self.producers[number][0].cancel()
        del self.producers[number]
        self._settle()

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert self.queue.held == sum(map(_size, self.inside))
        assert self.queue.held <= CAPACITY or len(self.inside) == 1
        assert not any(task.done() for task, _ in self.producers)

    def _settle(self) -> None:
        """Producers go in while there is room, in the order in which they came."""

        async def turns() -> None:
            for _ in range(20):
                await asyncio.sleep(0)

        self.runner.run(turns())
        while self.producers:
            task, batch = self.producers[0]
            if self.inside and sum(map(_size, self.inside)) + _size(batch) > CAPACITY:
                break
            assert task.done(), "there is room, and the producer waits"
            self.inside.append(batch)
            self.producers.popleft()


def _size(batch: ChangeBatch) -> int:
    return max(1, len(batch.changes))


MAPPINGS = (SAMPLE, OTHER)
keys = st.sampled_from("abc")
written = st.lists(
    st.tuples(keys, st.none() | st.sampled_from((b"{}", b'{"id":1}'))),
    min_size=1,
    max_size=3,
    unique_by=lambda pair: pair[0],
)


class SinkModel(RuleBasedStateMachine):
    """Generations as dictionaries of the newest version, one writer, faults and late requests."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.destination = MemoryDestination()
        self.faults = FaultPlan(script={})
        self.sinks: list[MemorySink] = []
        self.epochs: list[int] = []
        self.stored: dict[tuple[str, int], dict[str, tuple[int, bytes | None]]] = {}
        self.records: dict[str, object] = {}
        self.version = 0
        self.late: list[Document] = []
        self.take_over()

    def teardown(self) -> None:
        self.runner.close()

    @rule()
    def take_over(self) -> None:
        """Another run becomes the writer."""
        sink = MemorySink(self.destination, fault=self.faults.sink)
        self.epochs.append(self._do(sink.acquire("a run")))
        self.sinks.append(sink)
        assert self.epochs == sorted(set(self.epochs))

    @rule(mapping=st.sampled_from(MAPPINGS), generation=st.integers(1, 2))
    def begin(self, mapping: object, generation: int) -> None:
        assert mapping in MAPPINGS
        chosen = SAMPLE if mapping == SAMPLE else OTHER
        self._do(self.sinks[-1].begin_generation(chosen, generation))
        self.stored.setdefault((chosen.index, generation), {})

    @precondition(lambda self: self.stored)
    @rule(
        data=st.data(),
        documents=written,
        older=st.booleans(),
        fault=st.sampled_from((None, None, Fault.BEFORE, Fault.AFTER, Fault.LATE)),
    )
    def flush(
        self,
        data: st.DataObject,
        documents: list[tuple[str, bytes | None]],
        older: bool,
        fault: Fault | None,
    ) -> None:
        index, generation = data.draw(st.sampled_from(sorted(self.stored)))
        self.version += 1
        version = max(1, self.version - 5) if older else self.version
        made = [
            Document(DocumentId(index, generation, (key,)), body, version)
            for key, body in documents
        ]
        script = {} if fault is None else {fault: {self.faults.occasions[fault] + 1}}
        self.faults.replace(script)
        try:
            self._do(self.sinks[-1].flush(made, caught_up=False))
        except SinkUnavailable:
            assert fault is not None
        else:
            assert fault is None
        self.faults.replace({})
        if fault is Fault.LATE:
            self.late += made
        elif fault is not Fault.BEFORE:
            self._write(made)

    @rule()
    def late_requests_land(self) -> None:
        self.destination.apply_late()
        self._write(self.late)
        self.late.clear()

    @precondition(lambda self: len(self.sinks) > 1 and self.stored)
    @rule(data=st.data())
    def a_run_that_was_taken_over_writes(self, data: st.DataObject) -> None:
        index, generation = data.draw(st.sampled_from(sorted(self.stored)))
        document = Document(DocumentId(index, generation, ("a",)), b"{}", 2**60)
        for operation in (
            self.sinks[-2].flush([document], caught_up=False),
            self.sinks[-2].store_records([record(SAMPLE, 99)]),
            self.sinks[-2].renew(),
        ):
            try:
                self._do(operation)
            except SinkFatal:
                continue
            raise AssertionError("a run that was taken over went on")

    @rule(position=st.integers(0, 50))
    def store(self, position: int) -> None:
        self._do(self.sinks[-1].store_records([record(SAMPLE, position)]))
        self.records[SAMPLE.index] = record(SAMPLE, position)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        found = {
            where: {key: (entry.version, entry.body) for key, entry in entries.items()}
            for where, entries in self.destination.generations.items()
        }
        assert found == self.stored
        assert self._do(self.sinks[-1].load_records()) == self.records

    def _write(self, documents: list[Document]) -> None:
        for document in documents:
            held = self.stored[document.id[:2]]
            key = document.id.key[0]
            if key not in held or held[key][0] < document.version:
                held[key] = (document.version, document.body)

    def _do(self, operation: Awaitable[T]) -> T:
        async def do() -> T:
            return await operation

        return self.runner.run(do())


_FEW = settings(max_examples=40, stateful_step_count=30, deadline=None, derandomize=True)

TestQueue = QueueModel.TestCase
TestQueue.settings = _FEW

TestSink = SinkModel.TestCase
TestSink.settings = _FEW
