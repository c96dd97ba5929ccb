"""Work that a run does: the one that answers, or one of the command's own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from flusso_core.cli.deployment import DeploymentArguments, valid_address
from flusso_core.cli.options import option
from flusso_core.errors import EngineError
from flusso_core.observe.observer import NoopObserver

if TYPE_CHECKING:
    from flusso_core.engine import Engine
    from flusso_core.pipeline import Plan
    from flusso_core.server import Operations, PrivateAddress

T = TypeVar("T")
CommandT = TypeVar("CommandT", bound=Callable[..., object])

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 45.0
"""A lease ends by itself within 15 s of its run's death; then a living run holds it."""

_LOOK_SECONDS = 0.5


class RunningArguments(DeploymentArguments):
    """What `running_options` passes to a command, beside the flags of a deployment."""

    private_address: str | None
    admin_user: str | None
    admin_password: str | None


def running_options(command: CommandT) -> CommandT:
    """Give a command the flags by which it finds a run of the deployment."""
    for decorate in (
        option("--admin-password", metavar="TEXT", help="Its password; rather by the variable."),
        option("--admin-user", metavar="NAME", help="User of the run's control surface."),
        option(
            "--private-address",
            metavar="HOST:PORT",
            help="Where a run of this deployment answers, instead of what is configured.",
        ),
    ):
        command = decorate(command)
    return command


async def operate(
    planned: Plan,
    given: RunningArguments,
    index: str,
    work: Callable[[Operations], Awaitable[T]],
) -> T | None:
    """Have work done by a run of the deployment, and return what it returns.

    That is the run that answers at the private address. Where nobody listens there, it is one in
    this process, for as long as the work takes.

    Args:
        planned: the deployment.
        given: the flags.
        index: the logical name of the index that the work is about.
        work: asks what it needs of the run.

    Returns:
        `None`: a signal has ended a run in this process before the work was done.

    Raises:
        ConfigError: who listens there is no run, or another deployment's, or wants another
            password.
        EngineError: the run refuses, has gone, or does not get the lease of a sink.
    """
    from flusso_core.server import running_instance

    known = [one.name for one in planned.deployment.indexes if one.enabled]
    if index not in known:
        raise EngineError(f"there is no index {index!r} in this deployment, but {', '.join(known)}")
    where = _where(planned, given)
    async with running_instance(where, prefix=planned.prefix, indexes=[index]) as instance:
        if instance is not None:
            logger.info("the run at %s does it", where.address)
            return await work(instance)
    logger.info("nobody listens at %s: this command runs the deployment meanwhile", where.address)
    return await _alone(planned, where.address, work)


def _where(planned: Plan, given: RunningArguments) -> PrivateAddress:
    from flusso_core.server import PrivateAddress

    address = planned.deployment.server.private_address
    if given["private_address"] is not None:
        address = valid_address("private_address", given["private_address"])
    return PrivateAddress(address, given["admin_user"] or "", given["admin_password"] or "")


async def _alone(
    planned: Plan, address: str, work: Callable[[Operations], Awaitable[T]]
) -> T | None:
    from flusso_core.cli.console import stderr
    from flusso_core.cli.signals import draining
    from flusso_core.observe import FanOut, LoggingObserver
    from flusso_core.observe.status import RunStatus
    from flusso_core.server import Control

    indexes = [one.name for one in planned.deployment.indexes if one.enabled]
    status, arrivals = RunStatus(list(planned.sinks), indexes), Arrivals(planned.sinks)
    engine = planned.make_engine(FanOut((LoggingObserver(), status, arrivals)))
    control = Control(status, engine, prefix=planned.prefix)
    with draining(engine.stop, lambda: stderr().show_cursor(show=True)):
        return await run_for(engine, arrivals, lambda: work(control), address=address)


class Arrivals(NoopObserver):
    """Hears which sinks are up, and whether something is in the way of those that are not.

    Args:
        sinks: their names.
    """

    def __init__(self, sinks: Iterable[str]) -> None:
        self.awaited = set(sinks)
        self._failing: set[str] = set()
        self.quiet_since = asyncio.get_running_loop().time()

    def attached(self, lane: str) -> None:
        """It is up."""
        self.awaited.discard(lane)

    def retrying(self, what: str, error: BaseException, seconds: float) -> None:
        """Something is not there: that is why a sink is not up."""
        del error, seconds
        self._failing.add(what)

    def recovered(self, what: str) -> None:
        """It is there again, and a lease may be waited for from now on."""
        self._failing.discard(what)
        self.quiet_since = asyncio.get_running_loop().time()

    @property
    def quiet_seconds(self) -> float:
        """For how long nothing has been in the way; sinks that are not up wait for their lease."""
        if self._failing or not self.awaited:
            return 0.0
        return asyncio.get_running_loop().time() - self.quiet_since


async def run_for(
    engine: Engine, arrivals: Arrivals, work: Callable[[], Awaitable[T]], *, address: str
) -> T | None:
    """Run an engine for as long as some work takes, and return what that returns.

    Args:
        engine: which `arrivals` hears.
        arrivals: of its sinks.
        work: what is to be done.
        address: where no run answers, for messages.

    Returns:
        `None`: the engine was stopped before the work was done.

    Raises:
        EngineError: another run holds the lease of a sink and does not give it up.
    """
    from flusso_core.engine.groups import ungrouped

    done: list[T] = []

    async def request() -> None:
        done.append(await work())
        engine.stop()

    async def watch() -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if arrivals.quiet_seconds >= PATIENCE_SECONDS:
                sinks = ", ".join(sorted(arrivals.awaited))
                raise EngineError(
                    f"another run seems to write to {sinks}: it keeps its lease, and does not "
                    f"answer at {address}. Stop it, or start it with --admin-user and "
                    "--admin-password and name its address by --private-address"
                )

    with ungrouped():
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch())
            await engine.run(request=request)
            watching.cancel()
    return done[0] if done else None
