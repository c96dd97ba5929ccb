"""What operators can ask of a run, by whichever way the question comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from flusso_core.errors import EngineError
from flusso_core.model import JsonValue, Key, StateRecord
from flusso_core.observe.status import IndexState, RunStatus


class UnknownIndex(EngineError):
    """The run has no such index."""


class Asked(Protocol):
    """A run that does what operators ask: `flusso_core.Engine`, whose methods say what they do."""

    async def reindex(self, index: str, *, keep_old: bool = False) -> None:
        """Fill an index anew in a new generation; returns when that is noted down."""
        ...

    async def rollback(self, index: str, *, keep_current: bool = True) -> None:
        """Go back to an older generation; returns when searches see it."""
        ...

    async def sweep(self, index: str) -> None:
        """Read all rows of an index again; returns when that is noted down."""
        ...

    async def rebuild(self, index: str, documents: Sequence[Key | str]) -> None:
        """Build these documents anew; returns when all of them have landed."""
        ...

    def records(self) -> Mapping[str, Mapping[str, StateRecord]]:
        """What is true of every index now, by the names of the sinks that are up."""
        ...


class Operations(Protocol):
    """What operators can ask of a run: `Control` of one in this process, `RunningInstance` of
    another.

    Every request raises an `EngineError` that says why it cannot be done now.
    """

    async def indexes(self) -> Mapping[str, Mapping[str, IndexAtSink]]:
        """Index to what is true of it at each sink."""
        ...

    async def reindex(self, index: str, *, keep_old: bool) -> None:
        """Begin a new generation, unless one is being filled; returns when that is noted down."""
        ...

    async def rollback(self, index: str, *, keep_current: bool) -> None:
        """Go back to the newest older generation; returns when searches see it."""
        ...

    async def sweep(self, index: str) -> None:
        """Read all rows of an index again; returns when that is noted down."""
        ...

    async def rebuild(self, index: str, documents: Sequence[Key | str]) -> None:
        """Build these documents anew; returns when all of them have landed, or were refused."""
        ...


class IndexAtSink(BaseModel):
    """An index at one sink, as `GET /indexes` tells it.

    Attributes:
        state: where it stands.
        reason: why it has stopped.
        rows: that the seed under way has read.
        estimated_rows: that there are for it.
        rows_per_second: of that seed.
        seconds_left: of that seed.
        generation: the newest one. The sink is not up where this is `None`.
        serving: the one that searches see; `None`: none yet.
        kept: older ones to which a rollback can go.
        keep_old: what serves is to be kept when the newest one takes its place.
        clean: searches see the newest one, it has every document, and nothing calls for reading
            its rows again.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    state: IndexState
    reason: str | None = None
    rows: int | None = None
    estimated_rows: int | None = None
    rows_per_second: float | None = None
    seconds_left: float | None = None
    generation: int | None = None
    serving: int | None = None
    kept: tuple[int, ...] = ()
    keep_old: bool = False
    clean: bool = False

    @property
    def filling(self) -> bool:
        """Whether a generation that searches do not see yet is being filled."""
        return self.generation is not None and self.serving != self.generation


class Control:
    """Asks a run for what it is not doing already; the `Operations` of one in this process.

    Every request raises `UnknownIndex`, or an `EngineError` that says why it cannot be done now.

    Args:
        status: knows where each index stands.
        run: what is asked.
        prefix: of every name at the destinations: one deployment may run under several.
    """

    def __init__(self, status: RunStatus, run: Asked, *, prefix: str) -> None:
        self._status = status
        self._run = run
        self._prefix = prefix
        self._asking: set[str] = set()

    @property
    def prefix(self) -> str:
        """Of every name at the destinations."""
        return self._prefix

    async def indexes(self) -> Mapping[str, Mapping[str, IndexAtSink]]:
        """Index to its state and its generations at each sink."""
        records = self._run.records()
        return {
            index: {
                sink: IndexAtSink.model_validate(
                    {**state, **_generations(records.get(sink, {}).get(index))}
                )
                for sink, state in sinks.items()
            }
            for index, sinks in self._status.indexes().items()
        }

    async def reindex(self, index: str, *, keep_old: bool) -> None:
        """Begin a new generation, unless one is being filled."""
        async with self._alone(index):
            if any(at.filling for at in (await self.indexes())[index].values()):
                raise EngineError(f"a new generation of {index} is being filled already")
            await self._run.reindex(index, keep_old=keep_old)

    async def rollback(self, index: str, *, keep_current: bool) -> None:
        """Go back to the newest older generation."""
        async with self._alone(index):
            await self._run.rollback(index, keep_current=keep_current)

    async def sweep(self, index: str) -> None:
        """Read all rows of an index again."""
        async with self._alone(index):
            await self._run.sweep(index)

    async def rebuild(self, index: str, documents: Sequence[Key | str]) -> None:
        """Build these documents anew."""
        self._require(index)
        await self._run.rebuild(index, documents)

    def _require(self, index: str) -> None:
        if index not in self._status.indexes():
            raise UnknownIndex(f"there is no index {index!r}")

    @asynccontextmanager
    async def _alone(self, index: str) -> AsyncGenerator[None]:
        """Refuse what would wait for a request that is under way for the same index."""
        self._require(index)
        if index in self._asking:
            raise EngineError(f"another request for {index} is under way; ask again")
        self._asking.add(index)
        try:
            yield
        finally:
            self._asking.discard(index)


def _generations(record: StateRecord | None) -> Mapping[str, JsonValue]:
    if record is None:
        return {}
    serving = record.serving or (record.current if record.current.seeded else None)
    return {
        "generation": record.current.number,
        "serving": None if serving is None else serving.number,
        "kept": [one.number for one in record.kept],
        "keep_old": record.keep,
        "clean": record.current.clean and record.serving is None,
    }
