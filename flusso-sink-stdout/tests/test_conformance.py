"""The stdout sink keeps what the engine relies on; what it wrote is read from the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from flusso_core.hookspecs import SinkContext
from flusso_core.interfaces import Sink
from flusso_core.model import DocumentId, IndexMapping
from flusso_core.testing.conformance import Impossible, SinkBench, SinkConformance, exact_json
from flusso_sink_stdout.options import StdoutOptions
from flusso_sink_stdout.plugin import create


class LinesBench(SinkBench):
    """A file of lines. Whoever reads it keeps the last line of each document."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def sink(self) -> Sink:
        options = StdoutOptions(path=str(self._path))
        return create(SinkContext(name="out", options=options, prefix="kit_"))

    async def stored(self, mapping: IndexMapping, generation: int) -> Mapping[str, object]:
        held: dict[str, object] = {}
        for line in self._lines():
            if line["index"] == mapping.index:
                held.pop(line["id"], None)
                if line["op"] == "upsert":
                    held[line["id"]] = line["document"]
        return held

    async def served(self, mapping: IndexMapping) -> Mapping[str, object]:
        return await self.stored(mapping, 1)

    async def quarantined(self) -> Sequence[DocumentId] | Impossible:
        return Impossible("it refuses nothing, so it has no quarantine")

    def poison(self) -> Impossible:
        return Impossible("a line is written whatever its document holds")

    def outage(self) -> Impossible:
        return Impossible("a file is not reached over anything that can be away for a while")

    def _lines(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        lines = self._path.read_bytes().splitlines()
        return [cast("dict[str, Any]", exact_json(line)) for line in lines]


class TestStdoutSink(SinkConformance):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> LinesBench:
        return LinesBench(tmp_path / "documents.ndjson")
