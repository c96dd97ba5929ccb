"""The bench: what an author gives, so that a sink can be tested."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from flusso_core.interfaces import Sink
from flusso_core.model import DocumentId, IndexMapping
from flusso_core.testing.conformance.promise import Impossible, Promise
from flusso_core.testing.conformance.samples import GENERATION, SAMPLE

GUIDE = "write-a-sink.md"

READY = Promise("an open sink becomes the writer when no other run is", GUIDE)


class SinkBench(ABC):
    """One empty destination: it makes sinks, and looks at what they did **without them**.

    A check trusts nothing that a sink says of itself, so the read-back must use the destination's
    own client, SQL or files. Each check gets a bench of its own. Documents are returned as
    `exact_json` parses them.

    ```python
    class FolderBench(SinkBench):
        def __init__(self, folder: Path) -> None:
            self.folder = folder

        def sink(self) -> Sink:
            return FolderSink(self.folder)

        async def stored(self, mapping: IndexMapping, generation: int) -> dict[str, object]:
            return read_files(self.folder / f".{mapping.index}_{generation}")

        async def served(self, mapping: IndexMapping) -> dict[str, object]:
            return read_files(self.folder / mapping.index)
    ```

    Attributes:
        secrets: texts in the options that no `repr` may show.
        lease_seconds: how long a run that no longer renews stays the writer.
    """

    secrets: Sequence[str] = ()
    lease_seconds: float = 15.0

    @abstractmethod
    def sink(self) -> Sink:
        """A new sink on this destination, not open yet: each one plays another run.

        One of them, at least, is made with the `secrets` in its options.
        """

    @abstractmethod
    async def stored(self, mapping: IndexMapping, generation: int) -> Mapping[str, object]:
        """Every document of the generation, by `_id`. Empty where there is no such generation."""

    @abstractmethod
    async def served(self, mapping: IndexMapping) -> Mapping[str, object]:
        """What a search of the index sees at this moment, by `_id`. It refreshes nothing."""

    @abstractmethod
    async def quarantined(self) -> Sequence[DocumentId] | Impossible:
        """The documents that are kept as refused."""

    @abstractmethod
    def poison(self) -> bytes | Impossible:
        """A body that the destination refuses for good, in an index mapped as `SAMPLE`.

        Where it refuses none, say why; then the checks see to it that it takes everything.
        """

    @abstractmethod
    def outage(self) -> AbstractAsyncContextManager[None] | Impossible:
        """While it is entered, no request reaches the destination; afterwards they do again."""


class SinkChecks:
    """What the groups of checks share: the bench, and a run on it."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def bench(self) -> SinkBench:
        """The author's bench.

        Raises:
            NotImplementedError: the class gives none.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no fixture `bench` that returns a SinkBench: the checks "
            f"need an empty destination and a read-back that bypasses the sink; docs/how-to/{GUIDE}"
        )


@asynccontextmanager
async def writing(bench: SinkBench, *mappings: IndexMapping) -> AsyncGenerator[Sink, None]:
    """A run that is the writer, with the first generation of the indexes begun."""
    async with bench.sink() as sink:
        await READY.within(sink.acquire("a check"), "acquire")
        for mapping in mappings or (SAMPLE,):
            await sink.begin_generation(mapping, GENERATION)
        yield sink
        await sink.release()
