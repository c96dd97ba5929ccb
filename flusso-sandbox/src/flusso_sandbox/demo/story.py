"""The demo from its first line to its last."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Generator, Mapping
from concurrent.futures import Future, wait
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from flusso_core.cli.console import stderr, stdout
from flusso_core.cli.exits import ExitCode
from flusso_core.config import load_deployment
from flusso_core.observe import FanOut, LoggingObserver, configure_logging, progress_observer
from flusso_core.pipeline import Overrides
from flusso_sandbox.compare import Comparison
from flusso_sandbox.demo import servers, shop
from flusso_sandbox.demo.changes import Outcome, commit
from flusso_sandbox.demo.check import check_index
from flusso_sandbox.demo.ending import Ending
from flusso_sandbox.demo.file_target import FileTarget
from flusso_sandbox.demo.oracle import Oracle
from flusso_sandbox.demo.pipeline import RunningPipeline
from flusso_sandbox.demo.report import Figures, Report
from flusso_sandbox.demo.search_target import SearchTarget
from flusso_sandbox.demo.servers import Server
from flusso_sandbox.demo.target import Target
from flusso_sandbox.demo.usage import peak_memory_mb
from flusso_sandbox.errors import DownloadUnavailable

if TYPE_CHECKING:
    from rich.console import Console

_WATCH_SECONDS = 0.5
_CANCEL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Choices:
    """What the flags say.

    Attributes:
        users: size of the shop.
        keep: leave everything running at the end.
        postgres_url: a database to use.
        opensearch_url: a cluster to use.
        sink: `opensearch` or `stdout`; None: what can be had.
    """

    users: int
    keep: bool
    postgres_url: str | None
    opensearch_url: str | None
    sink: str | None


def tell(choices: Choices, verbosity: int) -> ExitCode:
    """Run the demo.

    Args:
        choices: what the flags say.
        verbosity: from -2 to 2, of the log.

    Returns:
        `FINDINGS` if a document is not as it must be.

    Raises:
        FlussoError: a server does not start or let the demo in, or the pipeline stops.
    """
    console = stderr()
    # Where bars move, log lines would be in the way; elsewhere they are the progress.
    configure_logging(console, verbosity - (1 if console.is_terminal else 0))
    stack = ExitStack()
    ending = Ending()
    with ending.signals():
        try:
            demo = _Demo(choices, stack, console, Report(stdout()), ending)
            figures = demo.run()
            if choices.keep:
                demo.keep()
        finally:
            # It may take some seconds: a server that is just starting comes up first.
            with console.status("Stopping"):
                stack.close()
    return ExitCode.FINDINGS if figures.differences else ExitCode.OK


def _cancel(connection: shop.Connection) -> None:
    """End the statement that the connection waits for, if there is one."""
    with suppress(psycopg.Error):
        connection.cancel_safe(timeout=_CANCEL_SECONDS)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Generator[None]:
    """Sets variables of this process, from which `flusso.toml` takes its connections."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@dataclass(frozen=True, slots=True)
class _Destination:
    """Where documents go.

    Attributes:
        target: as it is seen.
        environment: from which the deployment takes the connection.
        prefix: of the indexes; None: as the deployment has it.
        hint: how to look at it.
    """

    target: Target
    environment: Mapping[str, str]
    prefix: str | None
    hint: str


class _Demo:
    """One run of the demo; the stack holds everything that has to end."""

    def __init__(
        self,
        choices: Choices,
        stack: ExitStack,
        console: Console,
        report: Report,
        ending: Ending,
    ) -> None:
        self._choices = choices
        self._stack = stack
        self._console = console
        self._report = report
        self._ending = ending
        self._began = time.monotonic()
        self._names = servers.fresh_name()
        self._deployment = load_deployment(shop.FOLDER / "flusso.toml")
        self._hints: list[str] = []
        self._pipeline: RunningPipeline | None = None

    def run(self) -> Figures:
        """Everything up to the summary."""
        report, stack = self._report, self._stack
        report.heading("Servers")
        cluster = self._cluster()
        with self._console.status("Starting Postgres"):
            postgres = stack.enter_context(
                servers.postgres_database(self._choices.postgres_url, self._ending)
            )
        report.server(postgres)
        connection = stack.enter_context(servers.shop_tables(postgres, self._names))
        stack.enter_context(self._ending.cutting_short(lambda: _cancel(connection)))
        oracle = self._load(connection)
        destination = self._destination(cluster)
        target = destination.target
        self._hints = [f"psql '{postgres.shown}'", destination.hint]

        report.heading("Backfill")
        pipeline = self._pipeline = self._start(postgres, destination)
        pipeline.wait_live(self._ending.check)
        documents = {index: target.count(index) for index in shop.INDEXES}
        report.backfill(documents, pipeline.backfill_seconds, pipeline.backfill_cpu_seconds)

        report.heading("Changes, committed one by one")
        outcomes = [
            self._commit(number, change, connection, oracle, target)
            for number, change in enumerate(shop.read_changes(), 1)
        ]
        memory_mb = peak_memory_mb()

        report.heading("Search")
        for answer in target.search():
            self._go_on()
            report.answer(answer)

        report.heading("Every document against the SQL that says what it must be")
        comparisons = {index: self._check(index, oracle, target) for index in shop.INDEXES}
        self._go_on()

        report.heading("Summary")
        figures = Figures(
            documents=sum(documents.values()),
            backfill_seconds=pipeline.backfill_seconds,
            memory_mb=memory_mb,
            outcomes=outcomes,
            comparisons=comparisons,
            seconds=time.monotonic() - self._began,
        )
        report.summary(figures, target.verb)
        return figures

    def keep(self) -> None:
        """Let everything run until a Ctrl-C."""
        self._report.heading("Everything runs until Ctrl-C; change something and search")
        self._report.hints(self._hints)
        while self._ending.received != signal.SIGINT:
            self._go_on()
            time.sleep(_WATCH_SECONDS)

    def _go_on(self) -> None:
        """See to it that there is nothing to end for: no signal, and a pipeline that runs.

        Raises:
            FlussoError: the pipeline has ended.
            SystemExit: a signal was received.
        """
        self._ending.check()
        if self._pipeline is not None:
            self._pipeline.check()

    def _cluster(self) -> Future[Server] | None:
        """The cluster, which may still be starting; None: documents go into a file."""
        if self._choices.sink == "stdout":
            return None
        try:
            return self._stack.enter_context(
                servers.opensearch_cluster(self._choices.opensearch_url, self._ending)
            )
        except DownloadUnavailable as error:
            if self._choices.sink == "opensearch":
                raise
            self._report.note(
                f"There is no OpenSearch here: {error}.\n"
                "The same pipeline runs into the stdout sink instead, which writes the documents "
                "into a file; the changes and the checks are the same."
            )
            return None

    def _load(self, connection: shop.Connection) -> Oracle:
        """Fill the shop, and have the oracle look at it."""
        self._go_on()
        began = time.monotonic()
        with self._console.status(f"Loading the shop, {self._choices.users:,} users"):
            shop.fill_tables(connection, self._choices.users)
            seconds = time.monotonic() - began
            rows = shop.count_rows(connection)
            oracle = Oracle(connection)
            oracle.remember()
        self._report.shop(rows, seconds)
        return oracle

    def _destination(self, cluster: Future[Server] | None) -> _Destination:
        if cluster is None:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="flusso-demo-"))
            path = Path(folder) / "documents.ndjson"
            self._report.destination(path)
            return _Destination(FileTarget(path), {}, None, f"tail -f {path}")
        with self._console.status("Starting OpenSearch"):
            while not wait((cluster,), timeout=_WATCH_SECONDS).done:
                self._go_on()
            server = cluster.result()
        self._report.server(server)
        throw_away = server.seconds is not None
        prefix = self._deployment.prefix if throw_away else f"{self._names}_"
        self._stack.enter_context(servers.own_indexes(server, prefix))
        target = self._stack.enter_context(closing(SearchTarget(server.url, prefix)))
        hint = f"curl -s '{server.shown}/{prefix}products/_search?q=name:speedster&pretty'"
        return _Destination(target, {"OPENSEARCH_URL": server.url}, prefix, hint)

    def _start(self, postgres: Server, destination: _Destination) -> RunningPipeline:
        """Start what `flusso run` would, with these variables and flags."""
        self._go_on()
        variables = {"DATABASE_URL": postgres.url, **destination.environment}
        self._stack.enter_context(_environment(variables))
        overrides = Overrides(
            prefix=destination.prefix,
            source={"slot": self._names, "publication": self._names},
        )
        observer = FanOut((progress_observer(self._console), LoggingObserver()))
        deployment = destination.target.direct(self._deployment)
        return self._stack.enter_context(RunningPipeline(deployment, overrides, observer))

    def _commit(
        self,
        number: int,
        change: shop.ShopChange,
        connection: shop.Connection,
        oracle: Oracle,
        target: Target,
    ) -> Outcome:
        self._go_on()
        with self._console.status(f"{change.name}: working out what has to change"):
            outcome = commit(
                change,
                connection=connection,
                oracle=oracle,
                target=target,
                check=self._go_on,
            )
        self._report.outcome(number, outcome, target.verb)
        return outcome

    def _check(self, index: str, oracle: Oracle, target: Target) -> Comparison:
        with self._console.status(f"Checking the {index}"):
            comparison = check_index(oracle, target, index, self._go_on)
        self._report.comparison(index, comparison)
        return comparison
