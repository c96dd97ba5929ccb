"""The options of a `[sinks.NAME]` table with `type = "stdout"`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class StdoutOptions(BaseModel):
    """Where the lines go and what they look like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pretty: bool = Field(
        default=False, description="Spread each envelope over several lines, for people."
    )
    path: str | None = Field(
        default=None,
        min_length=1,
        description=(
            "Append to this file instead of standard output; it is created where it is missing."
        ),
    )
