"""The edges of the core keep what the engine relies on."""

from __future__ import annotations

import pytest

from flusso_core.testing.benches import MemoryQueueBench, MemorySinkBench, MemorySourceBench
from flusso_core.testing.conformance import (
    BuilderConformance,
    CaptureConformance,
    QueueConformance,
    SinkConformance,
)


class TestMemorySink(SinkConformance):
    @pytest.fixture
    def bench(self) -> MemorySinkBench:
        return MemorySinkBench()


class TestMemoryQueue(QueueConformance):
    @pytest.fixture
    def bench(self) -> MemoryQueueBench:
        return MemoryQueueBench()


class TestMemoryCapture(CaptureConformance):
    @pytest.fixture
    def bench(self) -> MemorySourceBench:
        return MemorySourceBench(hidden=True)


class TestMemoryBuilder(BuilderConformance):
    @pytest.fixture
    def bench(self) -> MemorySourceBench:
        return MemorySourceBench()
