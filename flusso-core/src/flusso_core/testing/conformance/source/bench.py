"""The bench: what an author gives, so that a capture or a builder can be tested."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest

from flusso_core.interfaces import ChangeCapture, DocumentBuilder
from flusso_core.testing.conformance.promise import Impossible
from flusso_core.testing.conformance.source.rows import Rows, Write

GUIDE = "write-a-source.md"


class SourceBench(ABC):
    """One empty database with the tables `TABLES`: it makes the edges of the schema `SCHEMA` on
    it, and writes to and reads the tables **without them**, by the database's own client.

    Each check gets a bench of its own. Most databases take `statement(write)`:

    ```python
    class ShopBench(SourceBench):
        def capture(self) -> ChangeCapture:
            return MyCapture(SourceContext(self.options, (SCHEMA,)))

        def builder(self) -> DocumentBuilder:
            return MyBuilder(SourceContext(self.options, (SCHEMA,)))

        async def commit(self, *writes: Write) -> None:
            with driver.connect(self.url) as connection:
                for write in writes:
                    connection.execute(*statement(write))

        async def rows(self) -> Rows:
            with driver.connect(self.url) as connection:
                return Rows(
                    dict(connection.execute("SELECT key, name FROM parents")),
                    dict(connection.execute("SELECT key, parent FROM children")),
                )
    ```

    A package that has only one of the two edges gives another one's for the other.

    Attributes:
        secrets: texts in the options that no `repr` may show.
    """

    secrets: Sequence[str] = ()

    @abstractmethod
    def capture(self) -> ChangeCapture:
        """A new capture on this database, not open yet. Each one plays another run of the same
        deployment; the last one was closed before.
        """

    @abstractmethod
    def builder(self) -> DocumentBuilder:
        """A new builder on this database, not open yet."""

    @abstractmethod
    async def commit(self, *writes: Write) -> None:
        """Do the writes in one transaction, by the database's own client."""

    @abstractmethod
    async def roll_back(self, *writes: Write) -> None:
        """Do the writes in a transaction, and roll it back."""

    @abstractmethod
    async def rows(self) -> Rows:
        """What a new snapshot sees, by the database's own client."""

    @abstractmethod
    async def disconnect(self) -> Impossible | None:
        """End every connection of the capture, as a restart of the server does."""


class SourceChecks:
    """What the checks of captures and builders share: the bench."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def bench(self) -> SourceBench:
        """The author's bench.

        Raises:
            NotImplementedError: the class gives none.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no fixture `bench` that returns a SourceBench: the checks "
            f"need an empty database and a client that bypasses the edges; docs/how-to/{GUIDE}"
        )


@asynccontextmanager
async def provisioned(bench: SourceBench) -> AsyncGenerator[ChangeCapture, None]:
    """A capture whose stream exists."""
    async with bench.capture() as capture:
        await capture.provision(temporary=False)
        yield capture
