"""`flusso demo`: a shop in a real Postgres, kept in step with a real OpenSearch, before your eyes.

Only the flags are here, so that `flusso demo --help` answers at once; `story` has the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flusso_core.cli.options import option, session_of, verbosity

if TYPE_CHECKING:
    from flusso_core.cli.exits import ExitCode

__all__ = ["command"]


@click.command()
@option(
    "--users",
    type=click.IntRange(min=200),
    default=20_000,
    show_default=True,
    metavar="NUMBER",
    help="Size of the shop; it has twice as many orders.",
)
@option("--keep", is_flag=True, help="Leave everything running at the end, until Ctrl-C.")
@option(
    "--postgres-url",
    metavar="URL",
    help="Use an empty database of a running Postgres instead of starting one.",
)
@option("--opensearch-url", metavar="URL", help="Use a running OpenSearch instead of starting one.")
@option(
    "--sink",
    type=click.Choice(["opensearch", "stdout"]),
    help="Where documents go: to OpenSearch, or through the stdout sink into a file. "
    "Left out: to OpenSearch, if its files can be had.",
)
@verbosity
@click.pass_context
def command(
    context: click.Context,
    users: int,
    *,
    keep: bool,
    postgres_url: str | None,
    opensearch_url: str | None,
    sink: str | None,
) -> ExitCode:
    """Try flusso on a throw-away Postgres and OpenSearch.

    It fills a shop, runs the pipeline that `flusso run` runs, commits changes and shows what
    becomes of them, searches, and checks every document against SQL that shares nothing with
    flusso. A document that is not right ends it with 5. Nothing is left running or lying about;
    what was downloaded stays in a cache.
    """
    from flusso_sandbox.demo.story import Choices, tell

    if sink == "stdout" and opensearch_url:
        raise click.UsageError("--sink stdout and --opensearch-url exclude each other")
    choices = Choices(
        users=users,
        keep=keep,
        postgres_url=postgres_url,
        opensearch_url=opensearch_url,
        sink=sink,
    )
    return tell(choices, session_of(context).verbosity)
