"""The `[source]` table of a Postgres deployment, and where its connection comes from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from flusso_core.config import Secret, SecretUrl, resolve_optional
from flusso_core.errors import ConfigError

if TYPE_CHECKING:
    from flusso_source_postgres.connection import ConnectionTarget

RESERVED_VARIABLE = "DATABASE_URL"
"""Overrides a literal `connection_url`, or stands in for one that is left out."""

logger = logging.getLogger(__name__)


class _Options(BaseModel):
    # A value that does not validate may be a secret: it is never quoted.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class EnvReference(_Options):
    """`{ env = "VAR" }`: the value is read from the environment when the pipeline runs."""

    env: str = Field(min_length=1, description="Name of the environment variable.")


def _text_or_reference(value: Any) -> str:
    return "reference" if isinstance(value, dict | EnvReference) else "text"


def _shape(value: Any) -> str:
    parts = isinstance(value, ConnectionParts) or (
        isinstance(value, dict) and not {"env", "omitted"} & value.keys()
    )
    return "parts" if parts else "url"


Text = Annotated[
    Annotated[str, Tag("text")] | Annotated[EnvReference, Tag("reference")],
    Discriminator(_text_or_reference),
]
Port = Annotated[
    Annotated[int, Field(ge=1, le=65535), Tag("text")] | Annotated[EnvReference, Tag("reference")],
    Discriminator(_text_or_reference),
]


class ConnectionParts(_Options):
    """A connection by its parts, each of them a literal or `{ env = "VAR" }`."""

    host: Text = Field(default="127.0.0.1", description="Host name, address or socket folder.")
    port: Port = Field(default=5432, description="TCP port.")
    user: Text = Field(default="postgres", description="Role to connect as.")
    password: Secret | None = Field(default=None, description="The role's password.")
    database: Text = Field(description="Database to connect to.")


class PostgresOptions(_Options):
    """Options of `[source]` with `type = "postgres"`."""

    connection_url: (
        Annotated[
            Annotated[SecretUrl, Tag("url")] | Annotated[ConnectionParts, Tag("parts")],
            Discriminator(_shape),
        ]
        | None
    ) = Field(
        default=None,
        description=(
            "postgresql:// URL, { env = VAR }, or a table of host, port, user, password, "
            f"database. {RESERVED_VARIABLE} overrides a literal."
        ),
    )
    slot: str = Field(
        default="flusso",
        pattern=r"^[a-z0-9_]{1,63}$",
        description="Replication slot; lower-case letters, digits and underscores.",
    )
    publication: str = Field(
        default="flusso", min_length=1, max_length=63, description="Publication to read."
    )
    manage_publication: bool = Field(
        default=True, description="Create and extend the publication where the role may."
    )
    manage_replica_identity: bool = Field(
        default=True,
        description=(
            "Set REPLICA IDENTITY FULL on tables whose identity lacks a foreign key, "
            "where the role may."
        ),
    )
    failover: bool = Field(
        default=False,
        description=(
            "Keep the slot on standbys too, so that a failover loses nothing; Postgres 17 and "
            "later, with sync_replication_slots on the standby."
        ),
    )
    backfill_workers: int = Field(
        default=4,
        ge=1,
        le=64,
        description="Pages that a backfill reads at once at most; fewer where more would not help.",
    )
    build_workers: int = Field(
        default=2, ge=1, le=64, description="Connections that build documents of live changes."
    )

    def target(self, environ: Mapping[str, str]) -> ConnectionTarget:
        """Where to connect, with every secret read.

        An explicit `{ env }` wins, then `DATABASE_URL`, then the literal.

        Args:
            environ: the environment, `os.environ` when the pipeline runs.

        Raises:
            ConfigError: a variable is not set, a URL is malformed, or there is no connection.
        """
        # The driver is imported when a connection is wanted, not when options are read.
        from flusso_source_postgres.connection import ConnectionTarget

        configured = self.connection_url
        if isinstance(configured, SecretUrl):
            url = configured.resolve(
                what="source.connection_url", reserved=RESERVED_VARIABLE, environ=environ
            )
            return ConnectionTarget.from_url(url)
        reserved = environ.get(RESERVED_VARIABLE)
        if reserved:
            if configured is not None:
                logger.info("%s overrides source.connection_url", RESERVED_VARIABLE)
            return ConnectionTarget.from_url(reserved)
        if configured is None:
            raise ConfigError(
                "[source] has no connection_url: set it, or the environment variable "
                f"{RESERVED_VARIABLE}"
            )
        return ConnectionTarget.from_parts(
            host=_read(configured.host, environ, "host"),
            port=_read(configured.port, environ, "port"),
            user=_read(configured.user, environ, "user"),
            database=_read(configured.database, environ, "database"),
            password=resolve_optional(
                configured.password, what="source.connection_url.password", environ=environ
            ),
        )


def _read(value: str | int | EnvReference, environ: Mapping[str, str], key: str) -> str:
    if isinstance(value, EnvReference):
        reference = Secret(env=value.env)
        return reference.resolve(what=f"source.connection_url.{key}", environ=environ)
    return str(value)
