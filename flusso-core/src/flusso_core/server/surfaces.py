"""The surfaces of one run: which of them are served, where, and what they tell."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web

from flusso_core.errors import SourceError
from flusso_core.model import JsonValue
from flusso_core.observe.metrics import MetricsObserver
from flusso_core.observe.status import RunStatus
from flusso_core.server.app import private_app, public_app
from flusso_core.server.control import Asked, Control
from flusso_core.server.serving import AddressInUse, serving

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surface:
    """Where a surface is served.

    Attributes:
        address: `host:port`.
        wanted: somebody has named the address; another one's process there ends the run. It only
            costs the surface where the address is the one that everybody has.
    """

    address: str
    wanted: bool


@dataclass(frozen=True, slots=True)
class Surfaces:
    """The surfaces of a run.

    Attributes:
        public: health, status and metrics; `None`: not served.
        private: control; `None`: not served.
        user: who may use the private surface.
        password: that user's.
        lag_seconds: the source is asked for its lag this often.
        prefix: of every name at the destinations.
    """

    public: Surface | None
    private: Surface | None
    user: str = field(repr=False)
    password: str = field(repr=False)
    lag_seconds: float
    prefix: str = ""


class Running(Asked, Protocol):
    """A run, as the surfaces ask it: `flusso_core.Engine` is one."""

    async def lag(self) -> int:
        """How far confirmation is behind the source's head, in the source's unit."""
        ...


class RunObserver:
    """What the surfaces tell: the observers to give to an engine, and their answers."""

    def __init__(self, sinks: Sequence[str], indexes: Sequence[str]) -> None:
        self.run = RunStatus(sinks, indexes)
        self.measured = MetricsObserver()

    def lag(self, amount: int) -> None:
        """Take note of the source's lag."""
        self.run.lag(amount)
        self.measured.lag(amount)

    def reasons(self) -> Sequence[str]:
        """Why the run is not ready."""
        return self.run.reasons()

    def status(self) -> Mapping[str, JsonValue]:
        """Counts and states."""
        return self.run.status()

    def metrics(self) -> bytes:
        """The metrics, as text."""
        return self.measured.text()


@asynccontextmanager
async def served(surfaces: Surfaces, observer: RunObserver, run: Running) -> AsyncGenerator[None]:
    """Serve the surfaces of a run for as long as the `with` lasts.

    Raises:
        ConfigError: an address cannot be listened at.
    """
    async with AsyncExitStack() as stack:
        if surfaces.public is not None:
            await _serve(stack, public_app(observer), surfaces.public, "public_address")
        if surfaces.private is not None:
            control = Control(observer.run, run, prefix=surfaces.prefix)
            app = private_app(control, user=surfaces.user, password=surfaces.password)
            await _serve(stack, app, surfaces.private, "private_address")
        polling = asyncio.create_task(_poll(run.lag, observer.lag, surfaces.lag_seconds))
        try:
            yield
        finally:
            polling.cancel()
            with suppress(asyncio.CancelledError):
                await polling


async def _serve(stack: AsyncExitStack, app: web.Application, surface: Surface, name: str) -> None:
    try:
        url = await stack.enter_async_context(serving(app, surface.address, name))
    except AddressInUse as error:
        if surface.wanted:
            raise
        logger.warning("%s; this run is without it", error)
        return
    logger.info("%s: listening at %s", name, url)


async def _poll(
    ask: Callable[[], Awaitable[int]], tell: Callable[[int], None], seconds: float
) -> None:
    while True:
        await asyncio.sleep(seconds)
        # While the source is away, the engine says so.
        with suppress(SourceError):
            tell(await ask())
