"""The `[source]` table of a deployment that polls."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flusso_core.config import Secret, resolve_optional
from flusso_core.errors import ConfigError
from flusso_core.model import TableName

DEFAULT_OUTBOX = "flusso_outbox"

RESERVED_VARIABLE = "DATABASE_URL"
"""Overrides a literal `connection_url`, or stands in for one that is left out."""


class Deletes(StrEnum):
    """How deleted rows of a table are found."""

    OUTBOX = "outbox"
    DIFF = "diff"
    TOMBSTONE = "tombstone"
    NONE = "none"


class TableOptions(BaseModel):
    """How one table is followed: `[source.tables.NAME]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cursor: str | None = Field(
        default=None,
        min_length=1,
        description=(
            "A column that grows with each change of a row (a time, or a number over all rows), or "
            "xmin on Postgres. Without one, each poll compares the whole table."
        ),
    )
    deletes: Deletes | None = Field(
        default=None,
        description=(
            "outbox: triggers log every change of the table, deletes among them, and polls read "
            "the log alone. With a cursor: diff (the default) looks for deleted rows in passes "
            "over all keys; tombstone says that rows are marked and not deleted; none looks for "
            "nothing."
        ),
    )
    lag: float | None = Field(
        default=None,
        ge=0,
        le=86400,
        allow_inf_nan=False,
        description=(
            "Seconds that a row may be committed later than its cursor says. On Postgres, where "
            "open transactions are known, what clocks differ by at most (10); elsewhere the "
            "longest transaction as well (60)."
        ),
    )
    diff_interval: float | None = Field(
        default=None,
        gt=0,
        le=31 * 86400,
        allow_inf_nan=False,
        description="Overrides that of [source] for this table.",
    )

    @model_validator(mode="after")
    def _only_with_a_cursor(self) -> Self:
        logged = self.deletes is Deletes.OUTBOX
        if logged and self.cursor is not None:
            raise ValueError("the outbox has every change of the table: leave the cursor out")
        deletes = None if logged else self.deletes
        given = {"deletes": deletes, "lag": self.lag, "diff_interval": self.diff_interval}
        for name, value in given.items():
            if value is not None and self.cursor is None:
                raise ValueError(f"{name} needs a cursor: without one, the whole table is compared")
        return self


class PollingOptions(BaseModel):
    """Options of `[source]` with `type = "polling"`."""

    # A value that does not validate may be a secret: it is never quoted.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    connection_url: Secret | None = Field(
        default=None,
        description=(
            "SQLAlchemy URL (sqlite:///notes.db), or { env = VAR }. "
            f"{RESERVED_VARIABLE} overrides a literal."
        ),
    )
    interval: float = Field(
        default=1.0,
        gt=0,
        le=86400,
        allow_inf_nan=False,
        description=(
            "Seconds from the end of one poll to the next, while polls find changes; never less "
            "than the last one took."
        ),
    )
    max_interval: float = Field(
        default=5.0,
        gt=0,
        le=86400,
        allow_inf_nan=False,
        description="The same where nothing changes, approached by doubling. Not below `interval`.",
    )
    max_queries: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Statements a second that polls send at most; unbounded where it is left out.",
    )
    page_size: int = Field(
        default=5000, ge=1, le=1_000_000, description="Rows that one statement of a poll reads."
    )

    state: str = Field(
        default="flusso-polling.state",
        min_length=1,
        description=(
            "A file on a local disk where the stream is kept from run to run, of one deployment "
            "alone. Made where it is not; its folder is there."
        ),
    )
    tables: dict[str, TableOptions] = Field(
        default_factory=dict[str, TableOptions],
        description="How tables are followed, by name, with its schema unless that is `public`.",
    )
    outbox: str = Field(
        default=DEFAULT_OUTBOX,
        pattern=r"^[^.]+(\.[^.]+)?$",
        description=(
            "The table in which triggers log the changes of tables with deletes = outbox, with its "
            "schema unless that is `public`. One deployment reads it."
        ),
    )
    manage_outbox: bool = Field(
        default=False,
        description=(
            "Whether runs make the outbox and its triggers, and rewrite those that are outdated. "
            "Otherwise `flusso check` prints the SQL."
        ),
    )
    diff_interval: float = Field(
        default=300.0,
        gt=0,
        le=31 * 86400,
        allow_inf_nan=False,
        description=(
            "Seconds from the end of one pass over the keys of a table with a cursor to the next."
        ),
    )
    max_pending: int = Field(
        default=1_000_000,
        ge=1,
        description=(
            "Changes that wait in the state file while a destination is behind; with more than "
            "that, polls wait too."
        ),
    )

    def by_table(self, names: Sequence[TableName]) -> dict[TableName, TableOptions]:
        """The options of the tables that have some.

        Args:
            names: of every table that a schema reads.

        Raises:
            ConfigError: there are options for another one.
        """
        known = {str(name): name for name in names}
        known |= {name.name: name for name in names if name.schema == "public"}
        found: dict[TableName, TableOptions] = {}
        for text, options in self.tables.items():
            if text not in known:
                raise ConfigError(
                    f"[source.tables.{text}]: no schema reads a table of that name; they read "
                    + ", ".join(str(name) for name in names)
                )
            found[known[text]] = options
        return found

    def outbox_name(self) -> TableName:
        """The outbox's table."""
        schema, _, name = self.outbox.rpartition(".")
        return TableName(schema or "public", name)

    def url(self) -> str:
        """The database's URL, secrets included.

        Raises:
            ConfigError: a variable is not set, or there is no URL.
        """
        found = resolve_optional(
            self.connection_url, what="source.connection_url", reserved=RESERVED_VARIABLE
        )
        if not found:
            raise ConfigError(
                "[source] has no connection_url: set it, or the environment variable "
                f"{RESERVED_VARIABLE}"
            )
        return found
