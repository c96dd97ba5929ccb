"""The options of a `[sinks.NAME]` table with `type = "stdout"`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class StdoutOptions(BaseModel):
    """Where the lines go and what they look like.

    Attributes:
        pretty: spread each envelope over several lines, for people.
        path: append to this file instead of standard output; it is created where it is missing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pretty: bool = False
    path: str | None = Field(default=None, min_length=1)
