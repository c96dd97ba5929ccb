"""The `[source]` table of a deployment that polls."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from flusso_core.config import Secret, resolve_optional
from flusso_core.errors import ConfigError

RESERVED_VARIABLE = "DATABASE_URL"
"""Overrides a literal `connection_url`, or stands in for one that is left out."""


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
        default=5.0,
        gt=0,
        le=86400,
        allow_inf_nan=False,
        description="Seconds from the end of one poll to the next.",
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
    max_pending: int = Field(
        default=1_000_000,
        ge=1,
        description=(
            "Changes that wait in the state file while a destination is behind; with more than "
            "that, polls wait too."
        ),
    )

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
