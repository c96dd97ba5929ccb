"""What this package registers: a capture and a builder, both named `postgres`."""

from __future__ import annotations

from collections.abc import Sequence

from flusso_core.catalogue import CatalogueTable
from flusso_core.hookspecs import BuilderPlugin, CapturePlugin, SourceContext, hookimpl
from flusso_core.interfaces import ChangeCapture, DocumentBuilder
from flusso_source_postgres.options import PostgresOptions


@hookimpl
def flusso_capture() -> CapturePlugin:
    """Register the capture by logical replication."""
    return CapturePlugin(
        name="postgres",
        options=PostgresOptions,
        create=_create_capture,
        default_builder="postgres",
    )


@hookimpl
def flusso_builder() -> BuilderPlugin:
    """Register the builder that assembles documents inside the database."""
    return BuilderPlugin(
        name="postgres", options=PostgresOptions, create=_create_builder, introspect=_introspect
    )


# psycopg is imported by these modules only: listing plugins and `--help` stay fast.


def _create_capture(context: SourceContext[PostgresOptions]) -> ChangeCapture:
    from flusso_source_postgres.capture import PostgresCapture

    return PostgresCapture(context)


def _create_builder(context: SourceContext[PostgresOptions]) -> DocumentBuilder:
    from flusso_source_postgres.builder import PostgresBuilder

    return PostgresBuilder(context)


async def _introspect(context: SourceContext[PostgresOptions]) -> Sequence[CatalogueTable]:
    from flusso_source_postgres.introspection import introspect

    return await introspect(context.options)
